"""The route table: each host, path and method has at most one route, found by the same function for every purpose.

The most specific host that has a route for the path decides: the exact host, then the longest wildcard, then the routes
without a host. Of its routes the one with the longest prefix decides, and of those with the same prefix the one that
takes the method. A method never leads on to a shorter prefix or a less specific host: otherwise a `DELETE` of
`/files/locked`, which its route does not take, would reach the route of `/files`.

The tables of all hosts are made at the start, each with the routes that count there. So a look-up is one for the host,
and one for each segment of the path. Where no setting names a host, there is one table and no look-up for the host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

from lockgate.edge.path import ENCODED_SLASH, SERVER_WIDE
from lockgate.edge.request import InboundRequest
from lockgate.errors import ConfigurationError, Reason, Refusal, collect_faults
from lockgate.policy.addresses import AddressRule, build_rule
from lockgate.policy.check_routes import check_routes
from lockgate.policy.compile_route import compile_route
from lockgate.policy.hosts import WILDCARD, covers_host, is_address, strip_port
from lockgate.policy.https_redirect import HttpsRedirect, build_https_redirect
from lockgate.policy.own_paths import ADMIN_PREFIXES, OWN_PREFIXES, PROBED, UNROUTED, VERIFY, is_below_any
from lockgate.policy.places import UNROUTED_PLACE, Place, Places, find_place, merge_places
from lockgate.policy.route import KNOWN_METHODS, REFUSED_METHODS, Route
from lockgate.settings import Settings

_OWN: Final = frozenset({*OWN_PREFIXES, SERVER_WIDE})
_SLASHES: Final = re.compile("/{2,}")
_PARAMETERS: Final = re.compile(";[^/]*")


class RouteTable:
    """Finds the route of a host, path and method.

    Args:
        routes: compiled and consistent, see `from_settings`.
        own_host: the only host of the gateway's own calls; empty where every host has them.
        allowed_hosts: the hosts that are served; empty for all.
        admin: the clients that may call `/admin`; `None` for all.
        https: redirects requests that came by plain http; `None` where http is served.

    Attributes:
        routes: in configured order.
        identity_names: names, as `fold_name` makes them, in which routes name a user to their services.
        told: what of an account the access tokens must tell, for these names and for conditions: `name`, `email`,
            `email_verified`.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        own_host: str = "",
        allowed_hosts: Sequence[str] = (),
        admin: AddressRule | None = None,
        https: HttpsRedirect | None = None,
    ) -> None:
        self.https = https
        self.routes = tuple(routes)
        naming = [route.identity_fields for route in self.routes if route.identity_fields is not None]
        self.identity_names = frozenset().union(*(fields.folded for fields in naming))
        self.told = frozenset().union(*(fields.told for fields in naming), *map(_list_asked, self.routes))
        self._by_name = {route.name: route for route in self.routes}
        self._admin = admin
        self._own_host = own_host
        patterns = {host for route in self.routes for host in route.hosts}
        named = {host for host in (*patterns, own_host) if host and not host.startswith(WILDCARD)}
        wildcards = {host for host in patterns if host.startswith(WILDCARD)}
        if allowed_hosts:
            named, wildcards = set(allowed_hosts), set()
        self._by_host = {host: self._places_of(host) for host in named}
        self._by_suffix = {wildcard[1:]: self._places_of(wildcard) for wildcard in wildcards}
        # The edge lets probes through that ask with a host that is not allowed. No route serves such a host.
        others = [] if allowed_hosts else [route for route in self.routes if not route.hosts]
        self._at_addresses = merge_places([others], self._unrouted_on(""))
        self._elsewhere = merge_places([others], self._unrouted_on(None))
        self._names_hosts = bool(self._by_host or self._by_suffix)

    @classmethod
    def from_settings(cls, settings: Settings) -> RouteTable:
        """Check the configured routes and build the table.

        Raises:
            ConfigurationError: a route is not acceptable; two routes share a name, or a host, prefix and method; no
                request can reach a route; or a route leads back to the gateway.
        """
        granted = frozenset(scope for scopes in settings.roles.values() for scope in scopes)
        routes: list[Route] = []
        faults: list[str] = []
        for entry in settings.route:
            try:
                routes.append(compile_route(entry, settings, granted))
            except ConfigurationError as error:
                faults += error.args
        server, admin = settings.server, build_rule(settings.admin.allow_addresses, settings.admin.deny_addresses)
        table = cls(routes, server.own_host or "", server.allowed_hosts, admin, build_https_redirect(settings))
        faults += collect_faults(lambda: check_routes(routes, table.tables(), settings))
        if faults:
            raise ConfigurationError(*faults)
        return table

    def named(self, name: str) -> Route | None:
        """The route of a name."""
        return self._by_name.get(name)

    def tables(self) -> dict[str, Places]:
        """The places of each kind of host, by its name or wildcard; `""` for all other hosts."""
        by_wildcard = {f"*{suffix}": places for suffix, places in self._by_suffix.items()}
        return {**self._by_host, **by_wildcard, "": self._elsewhere}

    def places_on(self, host: str) -> Places:
        """The places of a canonical host, with or without a port."""
        if not self._names_hosts:
            return self._elsewhere
        places = self._by_host.get(host)
        if places is not None:
            return places
        name = strip_port(host)
        places = self._by_host.get(name)
        if places is not None:
            return places
        if is_address(name):
            return self._at_addresses
        return self._places_by_wildcard(name) or self._elsewhere

    def find_route(self, host: str, path: str, method: str) -> Route | None:
        """The route of a canonical host and path; where none there takes the method, one that would refuse it."""
        place = find_place(self.places_on(host), path)
        return None if not place else place.get(method) or next(iter(place.values()))

    def find_service_call(self, service: str, path: str, method: str) -> tuple[str, Route] | None:
        """The path by which clients can call a canonical path of a service, on any host, and its route."""
        tables = self.tables().values()
        for route in self.routes:
            if route.service != service or method not in route.demands or route.reply is not None:
                continue
            asked = path if route.rewrite is None else route.rewrite.find_asked(path)
            if asked is None:
                continue
            if any((find_place(places, asked) or UNROUTED_PLACE).get(method) is route for places in tables):
                return asked, route
        return None

    def is_own(self, host: str, path: str) -> bool:
        """Whether the gateway itself answers a canonical path on a host."""
        second_slash = path.find("/", 1)
        if (path if second_slash < 0 else path[:second_slash]) not in _OWN:
            return False
        if not self._own_host:
            return True
        place = find_place(self.places_on(host), path)
        return place is not None and not place

    def refuse_own(self, request: InboundRequest) -> Refusal | None:
        """The refusal of one of the gateway's own calls whose client may not make it."""
        if self._admin is None or not is_below_any(request.path, ADMIN_PREFIXES) or self._admin.admits(request):
            return None
        return Refusal(Reason.ADDRESS_REFUSED)

    def _places_by_wildcard(self, name: str) -> Places | None:
        """The places of the longest wildcard that covers a host."""
        dot = name.find(".") if self._by_suffix else -1
        while dot >= 0:
            places = self._by_suffix.get(name[dot:])
            if places is not None:
                return places
            dot = name.find(".", dot + 1)
        return None

    def _places_of(self, host: str) -> Places:
        patterns = {pattern for route in self.routes for pattern in route.hosts if covers_host(pattern, host)}
        # A name is longer than the wildcards that cover it, and of two wildcards the longer one is narrower.
        layers = [
            [route for route in self.routes if pattern in route.hosts]
            for pattern in sorted(patterns, key=lambda pattern: (pattern == host, len(pattern)), reverse=True)
        ]
        everywhere = [route for route in self.routes if not route.hosts]
        return merge_places([*layers, everywhere], self._unrouted_on(host))

    def _unrouted_on(self, host: str | None) -> tuple[str, ...]:
        """The prefixes that no route has on a host, a wildcard, on addresses (`""`), or on any other host (`None`)."""
        if not self._own_host or host == self._own_host:
            return (*UNROUTED, *OWN_PREFIXES)
        probed = PROBED if host is not None and is_address(host) else ()
        return (*UNROUTED, VERIFY, *probed)


def _list_asked(route: Route) -> frozenset[str]:
    """What the conditions of a route ask that a token tells only where it is asked."""
    conditions = (demand.conditions for demand in route.demands.values())
    asked = any(one is not None and one.email_verified for one in conditions)
    return frozenset({"email_verified"} if asked else ())


def find_route(table: RouteTable, request: InboundRequest) -> Route | Refusal:
    """The route of a request whose client may use it, or the refusal of the request."""
    path, method = request.path, request.method
    places = table.places_on(request.host)
    place = find_place(places, path)
    if ("%" in path or ";" in path) and not _is_one_place_for_services(places, place, path, method):
        return Refusal(Reason.BAD_TARGET)
    route = None if place is None else place.get(method)
    if route is None:
        return _refuse_unrouted(place, method)
    if route.addresses is None or route.addresses.admits(request):
        return route
    return Refusal(Reason.ADDRESS_REFUSED)


def _refuse_unrouted(place: Place | None, method: str) -> Refusal:
    """The refusal of a method that no route of a place takes."""
    if method in REFUSED_METHODS:
        return Refusal(Reason.METHOD_NOT_ALLOWED, headers=(("Allow", ", ".join(sorted(KNOWN_METHODS))),))
    if method not in KNOWN_METHODS:
        return Refusal(Reason.UNKNOWN_METHOD)
    if not place:
        return Refusal(Reason.NO_ROUTE)
    return Refusal(Reason.METHOD_NOT_ALLOWED, headers=(("Allow", ", ".join(sorted(place))),))


def _is_one_place_for_services(places: Places, place: Place | None, path: str, method: str) -> bool:
    """Whether a service that decodes `%2F`, or drops path parameters (RFC 3986 section 3.3), sees the same routes.

    Otherwise `/files/admin%2Fx` and `/files/admin;v=1` would be judged by the route of `/files`, and served as
    `/files/admin/x` and `/files/admin`; with a route of `/`, `/internal;x` would reach a service's internal calls.
    `%2F` also needs a route that takes it.
    """
    if not place:
        return ENCODED_SLASH not in path
    asked = place.get(method)
    if ENCODED_SLASH in path and not any(one.encoded_slashes for one in ([asked] if asked else place.values())):
        return False
    decoded = _SLASHES.sub("/", path.replace("%3B", ";").replace(ENCODED_SLASH, "/"))
    without_parameters = _SLASHES.sub("/", _PARAMETERS.sub("", decoded))
    return find_place(places, decoded) is place and find_place(places, without_parameters) is place
