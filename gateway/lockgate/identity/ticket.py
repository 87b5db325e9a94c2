"""One-time tickets in the query of a request: for the requests in which a browser cannot set `Authorization`.

A ticket is taken out of the query before anything is signed, forwarded or logged; `sessions.tickets` redeems it.
Besides a WebSocket, a GET request whose `Accept` names `text/event-stream` may bring one, on every route: `EventSource`
always sends that `Accept`, so a list of paths would be one more setting that says nothing new. There the parameter
`ticket`, in any spelling, is the gateway's, and is redeemed unless the route is public. In every other request
`ticket` belongs to the service: taking it from every query would break services that sell tickets. Forward-auth takes
no ticket in the query of a stream, because the front proxy forwards the target that it holds, ticket included.

The holder of a ticket can send any GET request of the token's user, once, within 30 seconds; a ticket for a WebSocket
gives more. No page of another origin can make a ticket, so tickets add nothing to cross-site requests. A ticket that
is unknown, beside another credential, or there twice is refused, and never taken for no credential.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from lockgate.edge.request import InboundRequest

TICKET: Final = "ticket"
_EVENT_STREAM: Final = b"text/event-stream"


def without_tickets(query: str | None) -> tuple[str | None, list[str]]:
    """The query without its tickets, and these. A name that only reads as `ticket` once decoded is one, too."""
    if query is None or (TICKET not in query and "%" not in query):
        return query, []
    kept, tickets = [], []
    for parameter in query.split("&"):
        name, _, value = parameter.partition("=")
        if unquote(name) == TICKET:
            tickets.append(value)
        else:
            kept.append(parameter)
    return "&".join(kept) if kept else None, tickets


def taken_from_stream(request: InboundRequest) -> tuple[InboundRequest, list[str]]:
    """A request without its tickets, and these, where it asks for an event stream; any other as it is.

    In the query of other requests `ticket` is the service's own word. EventSource says what it wants in Accept.
    """
    query, tickets = without_tickets(request.query)
    if not tickets or request.method != "GET" or not _wants_events(request.headers.values_of(b"accept")):
        return request, []
    return request._replace(query=query), tickets


def _wants_events(accepted: list[bytes]) -> bool:
    ranges = (one.partition(b";")[0].strip(b" \t").lower() for value in accepted for one in value.split(b","))
    return _EVENT_STREAM in ranges
