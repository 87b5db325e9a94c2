"""One-time tickets in the query of a request: what a browser sends that cannot set Authorization.

Its WebSocket and its EventSource cannot. A ticket is taken out of the query before anything is signed, forwarded or
written down; what it stands for, `sessions.tickets` knows.
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
    if not tickets or request.method != "GET" or not _wants_events(request.headers.values(b"accept")):
        return request, []
    return request._replace(query=query), tickets


def _wants_events(accepted: list[bytes]) -> bool:
    ranges = (one.partition(b";")[0].strip(b" \t").lower() for value in accepted for one in value.split(b","))
    return _EVENT_STREAM in ranges
