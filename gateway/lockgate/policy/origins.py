"""The rights of web pages: a single list of origins decides CORS and cross-site requests with cookies (R-181, R-182).

An origin is compared to the letter: scheme, host and port. There is no `*`, no suffix and no pattern. The gateway's
own origin is that of its public address and of nothing that a request says, such as Host. `Sec-Fetch-Site: none` (an
address typed into the browser) is no reason to believe an unsafe method, because a typed address is requested with GET.

**The gateway alone says which page may read a response.** A service may send `Access-Control-*` fields of its own. As
long as identity comes in `Authorization`, a careless `*` there costs little. With a cookie, a service that reflects any
origin with credentials hands the user's data to every page. Browsers also refuse two fields of one name, the service's
and the gateway's. So the gateway responds to every preflight and writes every CORS field, from one list of exact
origins (`server.allowed_origins`, or a route's own), also where cookie mode is off. The same list decides which pages
may open sockets, and which pages may change something by a cookie. A page that is listed for one route is not listed
for the others, nor for `/auth`. A service that did its own CORS moves its origins to the gateway's configuration; a
public resource that wants `*` has to be served around the gateway. The documents under `/.well-known` are the one
exception.

- A preflight of a page that is not listed is a 403 with a code rather than an empty 204: the browser treats both
  alike, and a developer that looks at the network panel sees why.
- `Vary: Origin` is on every response, or, where no origin is listed anywhere, on none: whether it is there must not
  depend on the request, or a cache could keep a response for the wrong page.
- One field of a service counts: the names in its `Access-Control-Expose-Headers`, without credentials and identity
  fields, are added for listed pages. These pages may read the response anyway; the names add fields to it.
- A request without `Origin` costs nothing: the CORS lines are computed where a browser names an origin, and a service's
  fields are removed once for each distinct response head, which stays in a memo.

**A preflight grants names that are then dropped** (`traceparent`, `X-Request-Id`, `api_key`). Only names that are the
gateway's identity or signature fields, in any spelling, are not granted. A name that is missing in
`Access-Control-Allow-Headers` makes the browser fail the whole call. Tracing libraries add their fields to every call
of a page, so one library would take the page down, while curl with the same field gets its 200. The grant protects
nothing: the gateway decides what a service may see when the request comes, and replaces or drops the field then. For
the same reason a preflight is granted where the request itself will be refused (a path without a route, a target that
is not acceptable): a page learns nothing of a refused preflight, and can read a 404 or a 400. The price: the browser
does not tell a page that relies on a dropped field. The guide says which fields are dropped.
"""

from __future__ import annotations

import re
from typing import Final

from lockgate.edge.connection import RefusedHead
from lockgate.edge.headers import is_reserved
from lockgate.edge.request import InboundRequest
from lockgate.edge.wire import is_token
from lockgate.errors import Reason, Refusal
from lockgate.identity.bearer import bearer
from lockgate.origin import origin_of_url
from lockgate.policy.route import SAFE_METHODS, Route
from lockgate.policy.routes import RouteTable
from lockgate.route_settings import PREFLIGHT_AGE_S
from lockgate.settings import Settings

OWN_METHODS: Final = "DELETE, GET, HEAD, PATCH, POST, PUT"
EXPOSED: Final = (
    "Accept-Ranges",
    "Allow",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Range",
    "Date",
    "ETag",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
"""The fields that a listed page may read of every response, beyond those that the Fetch standard allows always."""
_REQUEST_METHOD: Final = b"access-control-request-method"
_REQUEST_HEADERS: Final = b"access-control-request-headers"
_FETCH_SITE: Final = b"sec-fetch-site"
_PUBLIC_DOCUMENTS: Final = "/.well-known/"
"""Public documents, which write their own CORS fields: any page may read them."""
_VARY: Final = "Vary: Origin\r\n"
_NOT_IDENTITY: Final = frozenset({b"x-request-id", b"traceparent"})
"""Names that are reserved and carry no identity: the gateway replaces a page's value by its own, signed value."""
_THIS_MACHINE: Final = ("127.0.0.1", "localhost", "[::1]")
_MAX_HEADERS: Final = 100
"""The default bound for the fields of a request; a page's request with more fields would be refused anyway."""
# The only facts that are read from a refused head; the origin must equal a listed one.
_ORIGIN_LINE: Final = re.compile(rb"\r\norigin:[ \t]*+([\x21-\x7e]*+)[ \t]*+(?=\r\n)", re.IGNORECASE)
_ORIGIN_NAME: Final = re.compile(rb"\norigin[ \t]*+:", re.IGNORECASE)
_PREFLIGHT: Final = re.compile(rb"\AOPTIONS .*?\r\naccess-control-request-method:", re.IGNORECASE | re.DOTALL)


class Origins:
    """Decides the rights of an origin's pages.

    Args:
        routes: the routes, each with its list of origins.
        settings: the list for the gateway's own calls, and whether session cookies are on.

    Attributes:
        vary: the `Vary` line for responses to requests without `Origin`.
    """

    def __init__(self, routes: RouteTable, settings: Settings) -> None:
        self._routes = routes
        self._own = frozenset(origin.encode("ascii") for origin in settings.server.allowed_origins)
        self._any = self._own.union(*(route.origins for route in routes.routes))
        self._itself = _own_origins(settings)
        self._credentials = settings.server.session_cookie != "off"
        self._exposed = {route.name: _expose_line(route.exposed) for route in routes.routes if route.exposed}
        self.vary = _VARY if self._any else ""

    def cors_lines(self, request: InboundRequest) -> str:
        """The CORS field lines for the response to a request with `Origin`, for every status of the response."""
        origin = request.headers.origin
        if origin is None:
            return self.vary
        route = self._route_of(request)
        if origin not in self._listed_origins(route):
            return self.vary
        if route is None and request.path.startswith(_PUBLIC_DOCUMENTS):
            return self.vary
        return f"{self._grant_lines(origin)}{_EXPOSE if route is None else self._exposed.get(route.name, _EXPOSE)}"

    def read_refused_head(self, head: bytes) -> RefusedHead:
        """The facts for CORS in a refused head, for which no route is known.

        The response holds no user's data, so every page that is listed anywhere may read that response.

        Args:
            head: the bytes of the head that have come.
        """
        head = head.partition(b"\r\n\r\n")[0] + b"\r\n"
        found = _ORIGIN_LINE.findall(head)
        if len(found) != 1 or len(_ORIGIN_NAME.findall(head)) != 1 or found[0] not in self._any:
            return RefusedHead(preflight=False, cors=self.vary)
        if _PREFLIGHT.match(head) is None:
            return RefusedHead(preflight=False, cors=f"{self._grant_lines(found[0])}{_EXPOSE}")
        requested = [
            line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(_REQUEST_HEADERS)
        ]
        return RefusedHead(
            preflight=True, cors=self._preflight_lines(found[0], OWN_METHODS, requested, PREFLIGHT_AGE_S)
        )

    def judge_preflight(self, request: InboundRequest) -> str | Refusal | None:
        """The response to a CORS preflight.

        Returns:
            Its field lines; a refusal for an origin that is not listed; `None` where the request is no preflight.
        """
        facts = request.headers
        if request.method != "OPTIONS" or facts.origin is None:
            return None
        if not facts.values_of(_REQUEST_METHOD):
            return None
        route = self._route_of(request)
        if facts.origin not in self._listed_origins(route):
            return Refusal(Reason.ORIGIN_REFUSED)
        # The response lists all methods of the route, and the browser itself refuses any other. Without a route the
        # preflight is granted, so that the page can read the 404.
        methods, age_s = (OWN_METHODS, PREFLIGHT_AGE_S) if route is None else (route.allow, route.preflight_age_s)
        return self._preflight_lines(facts.origin, methods, facts.values_of(_REQUEST_HEADERS), age_s)

    def refuse_cross_site(self, request: InboundRequest) -> Refusal | None:
        """Refuse an unsafe request that is authenticated by a cookie and does not come from an allowed page.

        Attack (CSRF): a browser sends the cookie with every page's requests. So an unsafe request must show its origin
        by `Sec-Fetch-Site`, which no page can set, or by `Origin`. A request with neither is refused.
        """
        if request.method in SAFE_METHODS or self._is_from_allowed_page(
            request, self._listed_origins(self._route_of(request))
        ):
            return None
        return Refusal(Reason.CROSS_SITE)

    def refuse_foreign_socket(self, request: InboundRequest, route: Route, *, carries_token: bool) -> Refusal | None:
        """Refuse a WebSocket from a page that is not allowed (RFC 6455 section 10.2).

        Attack: any page can open a WebSocket with the user's cookies. No page can set `Authorization` on a WebSocket,
        so where that field alone authenticates, the origin does not matter: apps send an `Origin` too. A request
        without `Origin` is not from a browser and must bring a credential of its own: a cookie without an `Origin` is
        not accepted.

        Args:
            request: the handshake.
            route: the route of the request's path.
            carries_token: a token or ticket came in one of the ways that pages have.
        """
        facts = request.headers
        if route.auth != "public" and not carries_token and isinstance(bearer(request.authorization), str):
            return None
        if facts.origin is not None:
            return None if self._is_from_allowed_page(request, route.origins) else Refusal(Reason.ORIGIN_REFUSED)
        by_cookie = bool(facts.values_of(b"cookie")) and bearer(request.authorization) is None
        refused = by_cookie and route.auth != "public" and not carries_token
        return Refusal(Reason.ORIGIN_REFUSED) if refused else None

    def _is_from_allowed_page(self, request: InboundRequest, listed: frozenset[bytes]) -> bool:
        """Whether the request comes from a page of a listed origin, or of the gateway's own origin."""
        origin, sites = request.headers.origin, request.headers.values_of(_FETCH_SITE)
        if origin is not None and origin in listed:
            return True
        return sites == [b"same-origin"] if sites else origin in self._itself

    def _route_of(self, request: InboundRequest) -> Route | None:
        """The route of a request, or of the request that a preflight asks about; `None` for the gateway's own calls."""
        method = request.method
        if method == "OPTIONS":
            asked = request.headers.values_of(_REQUEST_METHOD)
            method = asked[0].decode("latin-1") if asked else method
        return self._routes.find_route(request.host, request.path, method)

    def _listed_origins(self, route: Route | None) -> frozenset[bytes]:
        return self._own if route is None else route.origins

    def _preflight_lines(self, origin: bytes, methods: str, requested: list[bytes], age_s: int) -> str:
        return (
            f"{self._grant_lines(origin)}Access-Control-Allow-Methods: {methods}\r\n"
            f"{_granted_headers(requested)}Access-Control-Max-Age: {age_s}\r\n"
        )

    def _grant_lines(self, origin: bytes) -> str:
        with_cookies = "Access-Control-Allow-Credentials: true\r\n" if self._credentials else ""
        return f"{_VARY}Access-Control-Allow-Origin: {origin.decode('ascii')}\r\n{with_cookies}"


def _own_origins(settings: Settings) -> frozenset[bytes]:
    """The origin of the public address; with `localhost` cookies also the other names of this machine."""
    origin = origin_of_url(settings.public_url)
    if settings.server.session_cookie != "localhost":
        return frozenset({origin.encode("ascii")})
    scheme, _, rest = origin.partition("://")
    port = rest[rest.rfind("]") + 1 :].partition(":")[2]
    names = {f"{scheme}://{name}" + (f":{port}" if port else "") for name in _THIS_MACHINE}
    return frozenset(one.encode("ascii") for one in names | {origin})


def _granted_headers(requested: list[bytes]) -> str:
    """The line that grants the requested fields, except those that only the gateway may set.

    A field that the gateway will replace or drop is granted too: without the grant the browser would fail the page's
    whole call, while any other client is served. `*` is no field: a granted `*` would stand for all fields.
    """
    names = dict.fromkeys(name.strip(b" \t").lower() for value in requested for name in value.split(b","))
    granted = [name.decode("ascii") for name in names if is_token(name) and name != b"*" and _may_be_granted(name)]
    return f"Access-Control-Allow-Headers: {', '.join(granted[:_MAX_HEADERS])}\r\n" if granted else ""


def _may_be_granted(name: bytes) -> bool:
    return name in _NOT_IDENTITY or not is_reserved(name)


def _expose_line(more: tuple[str, ...] = ()) -> str:
    return f"Access-Control-Expose-Headers: {', '.join((*EXPOSED, *more))}\r\n"


_EXPOSE: Final = _expose_line()
