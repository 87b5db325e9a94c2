"""A request as the stages after the edge see it: parsed, bounded, canonical; and still from somebody unknown."""

from __future__ import annotations

from typing import NamedTuple

from gateway.edge.headers import HeaderFacts


class InboundRequest(NamedTuple):
    """One request's head.

    Attributes:
        method: as sent; methods are case-sensitive.
        path: canonical; the only path there is. `*` for an OPTIONS that is about the server.
        query: as sent, without the question mark; `None` where there was none.
        http11: HTTP/1.1, otherwise 1.0.
        host: lower case, of the target where that is absolute, else of the Host field.
        headers: what the fields say.
        client: the address the request is accounted to.
        scheme: what the client spoke to the first of our machines.
        request_id: made here, 32 hexadecimal digits.
        trusted_peer: it came from a front proxy whose X-Forwarded-* fields are believed.
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
    trusted_peer: bool = False

    @property
    def has_body(self) -> bool:
        """Whether a body follows; an empty one is none."""
        return self.headers.chunked or bool(self.headers.content_length)

    @property
    def target(self) -> str:
        """The request target to send on."""
        return self.path if self.query is None else f"{self.path}?{self.query}"
