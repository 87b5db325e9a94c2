"""What the gateway itself responds on a route: a redirect, or a fixed response.

No part of a `Location` is the client's, except the rest of the canonical path and the query. The host is a configured
one. The rest of the path begins with a single slash or is empty, and a canonical path has no backslash, no dot segment
and no control character. So a browser cannot read another host out of the `Location` (open redirect).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from lockgate.edge.own_call import Reply, field_lines
from lockgate.edge.path import ROOT
from lockgate.edge.request import InboundRequest
from lockgate.edge.responses import NO_SNIFFING

_PLAIN_TEXT: Final = "text/plain; charset=utf-8"


class RouteReply(Protocol):
    """What a route responds without a service."""

    def respond_to(self, request: InboundRequest) -> Reply:
        """The response to a request of the route."""


@dataclass(frozen=True, slots=True)
class Redirect:
    """A redirect of a route.

    Attributes:
        to: `https://host`, `https://host/path`, `/path`, or empty for the root; without a slash at its end where
            the rest of the path follows.
        status: 301, 302, 303, 307 or 308.
        prefix: the part of the path that `to` replaces, without a slash at its end.
        keep_path: the rest of the path and the query follow `to`.
    """

    to: str
    status: int
    prefix: str
    keep_path: bool

    def locate(self, path: str, query: str | None) -> str:
        """The value of `Location` for a canonical path of the route."""
        if not self.keep_path:
            return self.to or ROOT
        place = f"{self.to}{path[len(self.prefix) :]}" or ROOT
        return place if query is None else f"{place}?{query}"

    def respond_to(self, request: InboundRequest) -> Reply:
        """The redirect of a request of the route."""
        return redirect_to(self.locate(request.path, request.query), self.status)


@dataclass(frozen=True, slots=True)
class FixedResponse:
    """A response that is the same for every request of a route."""

    reply: Reply

    def respond_to(self, _request: InboundRequest) -> Reply:
        """The response."""
        return self.reply


def fix_response(status: int, body: str, headers: Mapping[str, str]) -> FixedResponse:
    """A fixed response; its content is plain text unless `headers` says otherwise."""
    fields = {**NO_SNIFFING, **({"Content-Type": _PLAIN_TEXT} if body else {})}
    named = {name.lower() for name in headers}
    kept = {name: value for name, value in fields.items() if name.lower() not in named}
    return FixedResponse(Reply(status, field_lines({**kept, **headers}.items()), body.encode("utf-8")))


def redirect_to(location: str, status: int) -> Reply:
    """A redirect without content."""
    return Reply(status, field_lines([("Location", location), *NO_SNIFFING.items()]))
