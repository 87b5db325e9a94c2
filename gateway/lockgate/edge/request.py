"""A request as the stages after the edge see it: parsed, bounded, canonical; and still from somebody unknown."""

from __future__ import annotations

from typing import NamedTuple

from lockgate.edge.headers import HeaderFacts
from lockgate.edge.trace import Trace


class InboundRequest(NamedTuple):
    """One request's head.

    Attributes:
        method: as sent; methods are case-sensitive.
        path: canonical; the only path there is. `*` for an OPTIONS that is about the server.
        query: as sent, without the question mark; `None` where there was none.
        http11: HTTP/1.1, otherwise 1.0.
        host: canonical, and without the scheme's own port; empty where an HTTP/1.0 client names none.
        headers: what the fields say.
        client: the address the request is accounted to.
        scheme: what the client spoke to the first of our machines.
        request_id: by which client, services and logs know the request: a trusted peer's, or `own_id`.
        own_id: made here for this request alone, 32 hexadecimal digits.
        trusted_peer: it came from a front proxy whose X-Forwarded-* fields are believed.
        trace: the trace that a trusted peer has it take part in; `None` where it begins one.
    """

    method: str
    path: str
    query: str | None
    http11: bool
    host: str
    headers: HeaderFacts
    client: str
    scheme: str
    request_id: str
    own_id: str
    trusted_peer: bool = False
    trace: Trace | None = None

    @property
    def trace_parent(self) -> str | None:
        """The `traceparent` of the trace it takes part in."""
        return None if self.trace is None else self.trace.parent

    @property
    def has_body(self) -> bool:
        """Whether a body follows; an empty one is none."""
        return self.headers.chunked or bool(self.headers.content_length)

    @property
    def target(self) -> str:
        """The request target to send on."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def origin(self) -> str:
        """Whose page it says it comes from, as sent; empty where it does not say, or more than once."""
        return (self.headers.origin or b"").decode("latin-1")
