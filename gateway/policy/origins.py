"""Whose pages may do what: the one list of origins behind CORS and behind the rule that cookies need (R-181, R-182).

An origin is compared to the letter: scheme, host and port. There is no `*`, no suffix and no pattern.
"""

from __future__ import annotations

from typing import Final

from gateway.edge.headers import is_forwardable
from gateway.edge.request import InboundRequest
from gateway.edge.wire import is_token
from gateway.errors import Reason, Refusal
from gateway.policy.routes import SAFE_METHODS, RouteTable, is_own
from gateway.settings import Settings

PREFLIGHT_AGE_S: Final = 600
OWN_METHODS: Final = "DELETE, GET, HEAD, PATCH, POST, PUT"
_ASKED_METHOD: Final = b"access-control-request-method"
_ASKED_HEADERS: Final = b"access-control-request-headers"
_FETCH_SITE: Final = b"sec-fetch-site"
_EXPOSED: Final = "RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-Id"
_FOR_EVERYBODY: Final = "/.well-known/"
"""Public documents, which say of themselves that any page may read them."""
_VARY: Final = "Vary: Origin\r\n"
_MAX_HEADERS: Final = 32


class Origins:
    """Knows whose pages are let near what.

    Args:
        routes: each with its list.
        settings: the list for the gateway's own calls, and whether there are cookies.

    Attributes:
        vary: field lines for an answer to somebody who says no origin: another one could have got another answer.
    """

    def __init__(self, routes: RouteTable, settings: Settings) -> None:
        self._routes = routes
        self._own = frozenset(origin.encode("ascii") for origin in settings.server.allowed_origins)
        self._credentials = settings.server.session_cookie != "off"
        self.vary = _VARY if self._own or any(route.origins for route in routes.routes) else ""

    def cors(self, request: InboundRequest) -> str:
        """The field lines of CORS for the answer to a request that says an origin, whatever the answer is."""
        origin = request.headers.origin
        for_everybody = request.path.startswith(_FOR_EVERYBODY)
        if for_everybody or origin is None or origin not in self._allowed(request.path):
            return self.vary
        return f"{self._grant(origin)}Access-Control-Expose-Headers: {_EXPOSED}\r\n"

    def preflight(self, request: InboundRequest) -> str | Refusal | None:
        """The answer to a browser that asks first.

        Returns:
            Its field lines; a refusal for an origin that is not listed or a path that leads nowhere; `None` where the
            request is no preflight.
        """
        facts = request.headers
        asked = facts.values(_ASKED_METHOD)
        if request.method != "OPTIONS" or facts.origin is None or not asked:
            return None
        methods = OWN_METHODS
        if not is_own(request.path):
            # Asked for any method that the route has: what is not in the list, the browser refuses by itself.
            route = self._routes.match(request.path)
            if route is None:
                return Refusal(Reason.NO_ROUTE)
            methods = route.allow
        if facts.origin not in self._allowed(request.path):
            return Refusal(Reason.ORIGIN_REFUSED)
        headers = _granted_headers(facts.values(_ASKED_HEADERS))
        return (
            f"{self._grant(facts.origin)}Access-Control-Allow-Methods: {methods}\r\n"
            f"{headers}Access-Control-Max-Age: {PREFLIGHT_AGE_S}\r\n"
        )

    def cross_site(self, request: InboundRequest) -> Refusal | None:
        """Why a request must not be believed that it is its user's wish, where a cookie speaks for them.

        Browsers send the cookie along whoever asks them to. So whatever changes something has to show where it comes
        from: by `Sec-Fetch-Site`, which no page can set, or by `Origin`. Who shows neither is refused.
        """
        if request.method in SAFE_METHODS:
            return None
        origin, sites = request.headers.origin, request.headers.values(_FETCH_SITE)
        if origin is not None and origin in self._allowed(request.path):
            return None
        if sites:
            return None if sites == [b"same-origin"] else Refusal(Reason.CROSS_SITE)
        itself = f"{request.scheme}://{request.host}".encode("latin-1")
        return None if origin == itself else Refusal(Reason.CROSS_SITE)

    def _allowed(self, path: str) -> frozenset[bytes]:
        route = None if is_own(path) else self._routes.match(path)
        return self._own if route is None else route.origins

    def _grant(self, origin: bytes) -> str:
        with_cookies = "Access-Control-Allow-Credentials: true\r\n" if self._credentials else ""
        return f"{_VARY}Access-Control-Allow-Origin: {origin.decode('ascii')}\r\n{with_cookies}"


def _granted_headers(asked: list[bytes]) -> str:
    """Those of the fields that are asked for which would be looked at, or reach a service."""
    names = [name.strip(b" \t").lower() for value in asked for name in value.split(b",")][:_MAX_HEADERS]
    granted = [name.decode("ascii") for name in names if is_token(name) and _may_send(name)]
    return f"Access-Control-Allow-Headers: {', '.join(granted)}\r\n" if granted else ""


def _may_send(name: bytes) -> bool:
    return name == b"authorization" or is_forwardable(name)
