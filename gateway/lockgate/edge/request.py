"""A request for the stages after the edge: parsed, bounded, canonical, and not authenticated yet."""

from __future__ import annotations

from typing import NamedTuple

from lockgate.edge.headers import HeaderFacts
from lockgate.edge.trace import Trace


class InboundRequest(NamedTuple):
    """The head of a request.

    Attributes:
        method: as sent; methods are case-sensitive.
        path: canonical. Every stage judges and forwards this path and no other. `*` for an OPTIONS about the server.
        query: as sent, without the question mark; `None` where the target has no question mark.
        http11: HTTP/1.1, otherwise 1.0.
        host: canonical, without the scheme's default port; empty where an HTTP/1.0 client sends no Host.
        headers: the facts in the header fields.
        client: the address that the request counts for.
        scheme: `http` or `https`, between client and first proxy.
        request_id: the id that client, services and logs share: a trusted peer's, or `own_id`.
        own_id: made by this worker for this request alone, 32 hexadecimal digits.
        trusted_peer: a trusted front proxy sent the request, so its X-Forwarded-* fields are believed.
        trace: the trace that a trusted peer began; `None` where the request begins a trace.
        authorization: the values of all Authorization fields; none where a single field is empty.
        client_stated: `client` is the client's address by the connection or by its proxies. Otherwise it is the address
            of a trusted proxy that stated none; it counts the request and allows nothing.
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
    authorization: tuple[bytes, ...] = ()
    client_stated: bool = True

    @property
    def trace_parent(self) -> str | None:
        """The `traceparent` of the trace that a trusted peer began."""
        return None if self.trace is None else self.trace.parent

    @property
    def has_body(self) -> bool:
        """Whether a body follows; an empty body counts as none."""
        return self.headers.chunked or bool(self.headers.content_length)

    @property
    def target(self) -> str:
        """The request target for the upstream."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def origin(self) -> str:
        """The `Origin` field as sent; empty where the request has none, or several."""
        return (self.headers.origin or b"").decode("latin-1")
