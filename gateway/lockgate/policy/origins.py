"""Which pages may do what: the one list of origins behind CORS and behind the rule that cookies need (R-181, R-182).

An origin is compared to the letter: scheme, host and port. There is no `*`, no suffix and no pattern. The gateway's
own origin is that of its public address and of nothing that a request says, such as Host. `Sec-Fetch-Site: none` (an
address typed into the browser) is no reason to believe an unsafe method, because nothing that is typed sends one.

**The gateway alone says which page may read a response.** A service may send `Access-Control-*` fields of its own. As
long as identity comes in `Authorization`, a careless `*` there costs little. With a cookie, a service that reflects
any origin with credentials hands the user's data to every page; and browsers refuse two fields of one name, the
service's and the gateway's. So the gateway answers every preflight and writes every CORS field, from one list of exact
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
  fields, are added for listed pages. They say what a page may read of a response that it may read anyway.
- A request without `Origin` costs nothing: the lines of CORS are computed where a browser names an origin, and the
  fields that are taken out of a service's response are looked for once for each distinct head, which is remembered.

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
from lockgate.policy.routes import SAFE_METHODS, Route, RouteTable, is_own_path
from lockgate.settings import PREFLIGHT_AGE_S, Settings

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
    "RateLimit-Limit",
    "RateLimit-Remaining",
    "RateLimit-Reset",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)
"""What a listed page may read of every response, beyond what the Fetch standard lets it read of any."""
_ASKED_METHOD: Final = b"access-control-request-method"
_ASKED_HEADERS: Final = b"access-control-request-headers"
_FETCH_SITE: Final = b"sec-fetch-site"
_PUBLIC_DOCUMENTS: Final = "/.well-known/"
"""Public documents, which say of themselves that any page may read them."""
_VARY: Final = "Vary: Origin\r\n"
_NOT_IDENTITY: Final = frozenset({b"x-request-id", b"traceparent"})
"""The gateway signs its own to services; what a page sends is replaced, and tells nobody who it is."""
_THIS_MACHINE: Final = ("127.0.0.1", "localhost", "[::1]")
_MAX_HEADERS: Final = 100
"""As many as a request may have by default; a page that needs more names is refused when it sends them."""
# In a head that was refused, nothing but these is looked at; both are compared with what is listed.
_ORIGIN_LINE: Final = re.compile(rb"\r\norigin:[ \t]*+([\x21-\x7e]*+)[ \t]*+(?=\r\n)", re.IGNORECASE)
_ORIGIN_NAME: Final = re.compile(rb"\norigin[ \t]*+:", re.IGNORECASE)
_PREFLIGHT: Final = re.compile(rb"\AOPTIONS .*?\r\naccess-control-request-method:", re.IGNORECASE | re.DOTALL)


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
        self._any = self._own.union(*(route.origins for route in routes.routes))
        self._itself = _own_origins(settings)
        self._credentials = settings.server.session_cookie != "off"
        self._exposed = {route.name: _expose_line(route.exposed) for route in routes.routes if route.exposed}
        self.vary = _VARY if self._any else ""

    def cors_lines(self, request: InboundRequest) -> str:
        """The field lines of CORS for the answer to a request that says an origin, whatever the answer is."""
        origin = request.headers.origin
        if origin is None or request.path.startswith(_PUBLIC_DOCUMENTS):
            return self.vary
        route = self._route_of(request.path)
        if origin not in self._listed_origins(route):
            return self.vary
        return f"{self._grant_lines(origin)}{_EXPOSE if route is None else self._exposed.get(route.name, _EXPOSE)}"

    def read_refused_head(self, head: bytes) -> RefusedHead:
        """What may be told to the page behind a head that was refused, so that it is unknown where it was to go.

        The response holds nothing of any user, so that every page that is listed anywhere may read it.

        Args:
            head: the bytes of it that have come.
        """
        head = head.partition(b"\r\n\r\n")[0] + b"\r\n"
        found = _ORIGIN_LINE.findall(head)
        if len(found) != 1 or len(_ORIGIN_NAME.findall(head)) != 1 or found[0] not in self._any:
            return RefusedHead(preflight=False, cors=self.vary)
        if _PREFLIGHT.match(head) is None:
            return RefusedHead(preflight=False, cors=f"{self._grant_lines(found[0])}{_EXPOSE}")
        asked = [line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(_ASKED_HEADERS)]
        return RefusedHead(preflight=True, cors=self._preflight_lines(found[0], OWN_METHODS, asked, PREFLIGHT_AGE_S))

    def judge_preflight(self, request: InboundRequest) -> str | Refusal | None:
        """The answer to a browser that asks first.

        Returns:
            Its field lines; a refusal for an origin that is not listed; `None` where the request is no preflight.
        """
        facts = request.headers
        asked = facts.values_of(_ASKED_METHOD)
        if request.method != "OPTIONS" or facts.origin is None or not asked:
            return None
        route = self._route_of(request.path)
        if facts.origin not in self._listed_origins(route):
            return Refusal(Reason.ORIGIN_REFUSED)
        # Asked for any method that the route has: what is not in the list, the browser refuses by itself. Where nothing
        # is routed the page may ask, and reads the 404.
        methods, age_s = (OWN_METHODS, PREFLIGHT_AGE_S) if route is None else (route.allow, route.preflight_age_s)
        return self._preflight_lines(facts.origin, methods, facts.values_of(_ASKED_HEADERS), age_s)

    def refuse_cross_site(self, request: InboundRequest) -> Refusal | None:
        """Why a request must not be believed that it is its user's wish, where a cookie speaks for them.

        Browsers send the cookie along whoever asks them to. So whatever changes something has to show where it comes
        from: by `Sec-Fetch-Site`, which no page can set, or by `Origin`. A request that shows neither is refused.
        """
        if request.method in SAFE_METHODS or self._is_from_allowed_page(
            request, self._listed_origins(self._route_of(request.path))
        ):
            return None
        return Refusal(Reason.CROSS_SITE)

    def refuse_foreign_socket(self, request: InboundRequest, route: Route, *, carries_token: bool) -> Refusal | None:
        """Why a page may not open a WebSocket: any page may try, with the user's cookies (RFC 6455 section 10.2).

        No page can set `Authorization` on a socket, so where that alone authenticates, no page needs to be looked at:
        apps send an Origin, too. A request without Origin is not a browser's, and then nothing but a credential of its
        own may speak for it: a cookie that comes without an Origin is not taken for one.

        Args:
            request: the handshake.
            route: of its path.
            carries_token: a token or ticket comes with it in one of the ways that pages have.
        """
        facts = request.headers
        if route.auth != "public" and not carries_token and isinstance(bearer(facts.authorization), str):
            return None
        if facts.origin is not None:
            return None if self._is_from_allowed_page(request, route.origins) else Refusal(Reason.ORIGIN_REFUSED)
        by_cookie = bool(facts.values_of(b"cookie")) and bearer(facts.authorization) is None
        refused = by_cookie and route.auth != "public" and not carries_token
        return Refusal(Reason.ORIGIN_REFUSED) if refused else None

    def _is_from_allowed_page(self, request: InboundRequest, listed: frozenset[bytes]) -> bool:
        """Whether a page of a listed origin, or of the gateway's own, makes this request."""
        origin, sites = request.headers.origin, request.headers.values_of(_FETCH_SITE)
        if origin is not None and origin in listed:
            return True
        return sites == [b"same-origin"] if sites else origin in self._itself

    def _route_of(self, path: str) -> Route | None:
        return None if is_own_path(path) else self._routes.match_path(path)

    def _listed_origins(self, route: Route | None) -> frozenset[bytes]:
        return self._own if route is None else route.origins

    def _preflight_lines(self, origin: bytes, methods: str, asked: list[bytes], age_s: int) -> str:
        return (
            f"{self._grant_lines(origin)}Access-Control-Allow-Methods: {methods}\r\n"
            f"{_granted_headers(asked)}Access-Control-Max-Age: {age_s}\r\n"
        )

    def _grant_lines(self, origin: bytes) -> str:
        with_cookies = "Access-Control-Allow-Credentials: true\r\n" if self._credentials else ""
        return f"{_VARY}Access-Control-Allow-Origin: {origin.decode('ascii')}\r\n{with_cookies}"


def _own_origins(settings: Settings) -> frozenset[bytes]:
    """Of the public address; on the machine itself, where only that is reached, by each of its names."""
    origin = origin_of_url(settings.public_url)
    if settings.server.session_cookie != "localhost":
        return frozenset({origin.encode("ascii")})
    scheme, _, rest = origin.partition("://")
    port = rest[rest.rfind("]") + 1 :].partition(":")[2]
    names = {f"{scheme}://{name}" + (f":{port}" if port else "") for name in _THIS_MACHINE}
    return frozenset(one.encode("ascii") for one in names | {origin})


def _granted_headers(asked: list[bytes]) -> str:
    """The fields that are asked for, but for those that only the gateway may set.

    One that is then replaced or dropped is granted, too: refused, it would take the whole call away from the page,
    while any other client is served. `*` is no field: granted, it would stand for all of them.
    """
    names = dict.fromkeys(name.strip(b" \t").lower() for value in asked for name in value.split(b","))
    granted = [name.decode("ascii") for name in names if is_token(name) and name != b"*" and _may_be_granted(name)]
    return f"Access-Control-Allow-Headers: {', '.join(granted[:_MAX_HEADERS])}\r\n" if granted else ""


def _may_be_granted(name: bytes) -> bool:
    return name in _NOT_IDENTITY or not is_reserved(name)


def _expose_line(more: tuple[str, ...] = ()) -> str:
    return f"Access-Control-Expose-Headers: {', '.join((*EXPOSED, *more))}\r\n"


_EXPOSE: Final = _expose_line()
