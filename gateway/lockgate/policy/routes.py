"""The route table: each path has at most one route, found by the same function for every purpose."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote

from lockgate.edge.draining import BodyBounds
from lockgate.edge.path import ENCODED_SLASH, ROOT, SERVER_WIDE, canonical_path
from lockgate.edge.request import InboundRequest
from lockgate.edge.wire import WireError
from lockgate.errors import ConfigurationError, Reason, Refusal
from lockgate.policy.authorize import Demand
from lockgate.policy.limits import parse_limit
from lockgate.policy.spread import EVEN, Spread, compile_spread
from lockgate.settings import PREFLIGHT_AGE_S, LimitSettings, RouteSettings, Settings

OWN_PREFIXES: Final = (
    "/auth",
    "/.well-known",
    "/admin",
    "/console",
    "/openapi.json",
    "/healthz",
    "/readyz",
    "/metrics",
)
"""The paths of the gateway's own calls, which no route may have. `/internal` has neither route nor call."""
_OWN: Final = frozenset({*OWN_PREFIXES, SERVER_WIDE})
NEVER_ROUTED: Final = (*OWN_PREFIXES, "/internal")
KNOWN_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
REFUSED_METHODS: Final = frozenset({"TRACE", "TRACK", "CONNECT"})
ANY_METHOD: Final = "*"
_SLASHES: Final = re.compile("/{2,}")
_PARAMETERS: Final = re.compile(";[^/]*")
_WRITTEN_PLAIN: Final = re.compile(r"(?:[^\x00-\x7f]| )+")


@dataclass(frozen=True, slots=True)
class Route:
    """A compiled entry of the table.

    Attributes:
        service: the service; its link key signs the requests.
        demands: the demand of each allowed method.
        allow: the value of an Allow field.
        sockets: the paths where a client may open a WebSocket.
        origins: the origins of pages that may read responses and open WebSockets.
        exposed: the response fields that these pages may read beyond the usual ones.
        preflight_age_s: how long a browser may cache a preflight's response.
        encoded_slashes: `%2F` in a path is an ordinary character.
        preserve_host: the service gets the client's Host.
        finish_unsized: a response without a length may finish after its token has expired.
        spread: how requests are spread over the upstreams.
    """

    name: str
    prefix: str
    service: str
    upstreams: tuple[str, ...]
    auth: Literal["required", "optional", "public"]
    demands: Mapping[str, Demand] = field(repr=False)
    allow: str
    timeout_s: float
    health: str | None
    body_bounds: BodyBounds
    forward_authorization: bool
    sockets: frozenset[str] = frozenset()
    origins: frozenset[bytes] = frozenset()
    encoded_slashes: bool = False
    exposed: tuple[str, ...] = ()
    preflight_age_s: int = PREFLIGHT_AGE_S
    preserve_host: bool = False
    finish_unsized: bool = False
    spread: Spread = EVEN


class RouteTable:
    """Finds the route of a path: the longest prefix that ends at a segment border wins."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._by_prefix = {route.prefix: route for route in routes}
        self.routes = tuple(self._by_prefix.values())

    @classmethod
    def from_settings(cls, settings: Settings) -> RouteTable:
        """Check the configured routes and build the table.

        Raises:
            ConfigurationError: two routes share a prefix or name, a prefix is the gateway's own, a scope is granted by
                no role, a method is unknown, or a route takes unsafe methods without identity and `public_write`.
        """
        granted = frozenset(scope for scopes in settings.roles.values() for scope in scopes)
        routes = [_compile_route(entry, settings, granted) for entry in settings.route]
        for kind, values in (("prefix", [r.prefix for r in routes]), ("name", [r.name for r in routes])):
            twice = {value for value in values if values.count(value) > 1}
            if twice:
                raise ConfigurationError(f"route: two routes have the {kind} {min(twice)!r}")
        table = cls(routes)
        for route in routes:
            hidden = {path for path in route.sockets if table.match_path(path) is not route}
            if hidden:
                raise ConfigurationError(f"route {route.name!r}: {min(hidden)} belongs to a route with a longer prefix")
        return table

    def match_path(self, path: str) -> Route | None:
        """The route of a canonical path; `None` for a path that no request may reach."""
        prefix = path
        while prefix:
            route = self._by_prefix.get(prefix)
            if route is not None:
                return route
            prefix = prefix[: prefix.rfind("/")]
        return None


def find_route(table: RouteTable, method: str, path: str) -> Route | Refusal:
    """The route for a request, or the refusal where there is none."""
    route = table.match_path(path)
    if ("%" in path or ";" in path) and not _is_one_route_for_services(table, route, path):
        return Refusal(Reason.BAD_TARGET)
    if route is not None and method in route.demands:
        return route
    if method in REFUSED_METHODS:
        return Refusal(Reason.METHOD_NOT_ALLOWED, headers=(("Allow", ", ".join(sorted(KNOWN_METHODS))),))
    if method not in KNOWN_METHODS:
        return Refusal(Reason.UNKNOWN_METHOD)
    if route is None:
        return Refusal(Reason.NO_ROUTE)
    return Refusal(Reason.METHOD_NOT_ALLOWED, headers=(("Allow", route.allow),))


def _is_one_route_for_services(table: RouteTable, route: Route | None, path: str) -> bool:
    """Whether a service that decodes `%2F`, or drops path parameters (RFC 3986 section 3.3), sees the same route.

    Otherwise `/files/admin%2Fx` and `/files/admin;v=1` would be judged by the route of `/files`, and served as
    `/files/admin/x` and `/files/admin`. `%2F` also needs a route that takes it.
    """
    if route is None:
        return ENCODED_SLASH not in path
    if ENCODED_SLASH in path and not route.encoded_slashes:
        return False
    decoded = _SLASHES.sub("/", path.replace("%3B", ";").replace(ENCODED_SLASH, "/"))
    without_parameters = _SLASHES.sub("/", _PARAMETERS.sub("", decoded))
    return table.match_path(decoded) is route and table.match_path(without_parameters) is route


def is_options_probe(request: InboundRequest) -> bool:
    """Whether a request is the `OPTIONS /` by which load balancers probe a server; a page's request has an `Origin`."""
    return request.path == ROOT and request.method == "OPTIONS" and request.headers.origin is None


def is_own_path(path: str) -> bool:
    """Whether a canonical path belongs to the gateway's own calls."""
    second_slash = path.find("/", 1)
    return (path if second_slash < 0 else path[:second_slash]) in _OWN


def _compile_route(entry: RouteSettings, settings: Settings, granted: frozenset[str]) -> Route:
    place = f"route {entry.name!r}"
    prefix = _parse_path(entry.prefix, f"{place}: the prefix").rstrip("/")
    if not prefix:
        raise ConfigurationError(f"{place}: the prefix must have a first segment")
    if any(prefix == own or prefix.startswith(f"{own}/") for own in NEVER_ROUTED):
        raise ConfigurationError(f"{place}: {prefix} is never routed")
    unknown = set(entry.methods) - KNOWN_METHODS
    if unknown or not entry.methods:
        raise ConfigurationError(f"{place}: methods must be among {', '.join(sorted(KNOWN_METHODS))}")
    stray = set(entry.scopes) - set(entry.methods) - {ANY_METHOD}
    if stray:
        raise ConfigurationError(f"{place}: scopes for {min(stray)}, which is not among its methods")
    ungranted = {scope for scopes in entry.scopes.values() for scope in scopes} - granted
    if ungranted:
        raise ConfigurationError(f"{place}: no role grants the scope {min(ungranted)!r}")
    if entry.auth == "public" and entry.scopes:
        raise ConfigurationError(f"{place}: a public route cannot ask for scopes")
    required = {
        method: frozenset(entry.scopes.get(method, entry.scopes.get(ANY_METHOD, ()))) for method in entry.methods
    }
    for_anybody = {method for method, scopes in required.items() if not scopes and entry.auth != "required"}
    if not for_anybody <= SAFE_METHODS and not entry.public_write:
        raise ConfigurationError(f"{place}: unsafe methods that need no identity need public_write = true")
    limits = tuple(parse_limit(text, entry.name) for text in entry.rate)
    return Route(
        name=entry.name,
        prefix=prefix,
        service=entry.service_name,
        upstreams=settings.upstreams_of(entry),
        auth=entry.auth,
        demands={method: Demand(entry.auth, scopes, limits) for method, scopes in required.items()},
        allow=", ".join(sorted(entry.methods)),
        timeout_s=entry.timeout_s,
        health=entry.health,
        body_bounds=_body_bounds(entry, settings.limits),
        forward_authorization=entry.forward_authorization,
        sockets=_socket_paths(entry, prefix),
        origins=_allowed_origins(entry, settings),
        encoded_slashes=entry.encoded_slashes,
        exposed=entry.expose_headers,
        preflight_age_s=entry.preflight_age_s,
        preserve_host=entry.preserve_host,
        finish_unsized=entry.finish_unsized,
        spread=compile_spread(entry, settings.upstreams_of(entry)),
    )


def _parse_path(text: str, place: str) -> str:
    """A configured path in its canonical spelling; blanks and characters beyond ASCII may be written plain.

    Raises:
        ConfigurationError: no request could have this path.
    """
    try:
        path = canonical_path(_WRITTEN_PLAIN.sub(lambda found: quote(found[0]), text).encode("ascii"))
    except (WireError, UnicodeEncodeError) as error:
        raise ConfigurationError(
            f"{place} {text!r} is no path: it begins with one slash and has no dot segments, backslashes, '?' or '#'"
        ) from error
    if "//" in text or ENCODED_SLASH in path:
        raise ConfigurationError(f"{place} {text!r} has an empty segment or a coded slash, which no route can have")
    return path


def _body_bounds(entry: RouteSettings, limits: LimitSettings) -> BodyBounds:
    size = limits.body_bytes if entry.body_bytes is None else entry.body_bytes
    rate = limits.body_rate if entry.body_rate is None else entry.body_rate
    return BodyBounds(size, size, rate, math.inf)


def _socket_paths(entry: RouteSettings, prefix: str) -> frozenset[str]:
    paths = frozenset(_parse_path(path, f"route {entry.name!r}: the path of a WebSocket") for path in entry.websocket)
    for path in paths:
        if path.endswith("/") or not (path == prefix or path.startswith(f"{prefix}/")):
            raise ConfigurationError(f"route {entry.name!r}: {path!r} is not a path below {prefix}")
    if entry.websocket and "GET" not in entry.methods:
        raise ConfigurationError(f"route {entry.name!r}: a WebSocket is opened with GET, not among its methods")
    return paths


def _allowed_origins(entry: RouteSettings, settings: Settings) -> frozenset[bytes]:
    origins = settings.server.allowed_origins if entry.allowed_origins is None else entry.allowed_origins
    return frozenset(origin.encode("ascii") for origin in origins)
