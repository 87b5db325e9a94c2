"""Refuses a route table that says two things at once, has a route that no request reaches, or leads back to itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from lockgate.errors import ConfigurationError, collect_faults
from lockgate.policy.check_rewrites import check_rewrites
from lockgate.policy.hosts import WILDCARD, covers_host, is_address, strip_port
from lockgate.policy.own_paths import OWN_PREFIXES, is_below_any
from lockgate.policy.places import Places, find_place
from lockgate.policy.replies import Redirect
from lockgate.policy.route import Route
from lockgate.setting_values import is_loopback, upstream_address
from lockgate.settings import Settings

_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::", ""})  # noqa: S104 - compared, not bound
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
Tables = Mapping[str, Places]


def check_routes(routes: Sequence[Route], tables: Tables, settings: Settings) -> None:
    """Check a table as a whole.

    Args:
        routes: in configured order.
        tables: the places of each kind of host, by name or wildcard; `""` for all other hosts.
        settings: the rest of the configuration.

    Raises:
        ConfigurationError: the table is not consistent. Each line names the routes.
    """
    # What is wrong with the table may be why a route is not reached, and is not told twice.
    faults = collect_faults(
        partial(_check_server, settings),
        partial(_check_names, routes),
        partial(_check_hosts, routes, settings),
        partial(_check_overlaps, routes),
    )
    if not faults:
        own = _OwnAddresses(settings, tables)
        faults = collect_faults(
            *(partial(_check_route, route, tables, own, settings) for route in routes),
            partial(check_rewrites, routes, tables),
        )
    if faults:
        raise ConfigurationError(*faults)


def _check_route(route: Route, tables: Tables, own: _OwnAddresses, settings: Settings) -> None:
    _check_reached(route, tables, settings)
    _check_sockets(route, tables)
    _check_upstreams(route, own)
    if isinstance(route.reply, Redirect):
        hosts = [host for pattern in route.hosts or ("",) for host in _list_hosts(pattern, settings)]
        _check_redirect(route, route.reply, hosts, tables, own)


def _check_server(settings: Settings) -> None:
    server = settings.server
    if server.redirect_http and not settings.public_url.startswith("https:"):
        raise ConfigurationError("server.redirect_http: it needs a server.public_url that begins with https")
    if server.allowed_hosts and server.own_host is not None and server.own_host not in server.allowed_hosts:
        raise ConfigurationError(
            f"server.own_host: {server.own_host} is not among server.allowed_hosts, so no route and no call of the "
            "gateway itself would be reached there; add it"
        )


def _check_names(routes: Iterable[Route]) -> None:
    names = [route.name for route in routes]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ConfigurationError(f"route: two routes have the name {min(twice)!r}")


def _check_hosts(routes: Iterable[Route], settings: Settings) -> None:
    allowed = settings.server.allowed_hosts
    for route in routes:
        for pattern in route.hosts:
            if allowed and not any(covers_host(pattern, host) for host in allowed):
                raise ConfigurationError(
                    f"route {route.name!r}: no request reaches its host {pattern}, which server.allowed_hosts lacks"
                )


def _check_overlaps(routes: Iterable[Route]) -> None:
    """Two routes of the same host, prefix and method."""
    found: dict[tuple[str, str, str], Route] = {}
    for route in routes:
        for host in route.hosts or ("",):
            for method in route.demands:
                first = found.setdefault((host, route.prefix, method), route)
                if first is not route:
                    where = f" on {host}" if host else ""
                    raise ConfigurationError(
                        f"routes {first.name!r} and {route.name!r} both take {method} of the prefix "
                        f"{route.prefix!r}{where}; give them different hosts, prefixes or methods"
                    )


def _check_reached(route: Route, tables: Tables, settings: Settings) -> None:
    """Each host of a route leads to the route."""
    for pattern in route.hosts or ("",):
        hosts = _list_hosts(pattern, settings)
        places = [find_place(tables[host], route.prefix.rstrip("/")) or {} for host in hosts]
        if any(route in place.values() for place in places):
            continue
        others = sorted({other.name for place in places for other in place.values()})
        if others:
            raise ConfigurationError(
                f"route {route.name!r}: no request reaches it; on each of its hosts the route {others[0]!r} comes first"
            )
        if settings.server.own_host is None and is_below_any(route.prefix, OWN_PREFIXES):
            raise ConfigurationError(
                f"route {route.name!r}: {route.prefix} is never routed: it is the gateway's own; server.own_host moves "
                "the gateway's own calls to a host of their own"
            )
        where = f" on {pattern}" if pattern else ""
        raise ConfigurationError(f"route {route.name!r}: {route.prefix} is never routed{where}")


def _list_hosts(pattern: str, settings: Settings) -> list[str]:
    """The kinds of hosts that a route's host stands for; `""` for every host."""
    allowed = settings.server.allowed_hosts
    return [host for host in allowed if not pattern or covers_host(pattern, host)] if allowed else [pattern]


def _check_sockets(route: Route, tables: Tables) -> None:
    for path in sorted(route.sockets):
        places = (find_place(table, path) or {} for table in tables.values())
        if not any(place.get("GET") is route for place in places):
            raise ConfigurationError(f"route {route.name!r}: {path} belongs to a route with a longer prefix")


class _OwnAddresses:
    """The addresses where the gateway itself listens, or where its clients reach it.

    Attributes:
        removed_prefix: a path of the public address, which a front proxy removes.
    """

    def __init__(self, settings: Settings, tables: Tables) -> None:
        server, operations = settings.server, settings.operations
        public = urlsplit(settings.public_url)
        self._listening = [(server.host, server.port), (operations.host, operations.port)]
        self._public_name = public.hostname or ""
        self._public_port = public.port or _DEFAULT_PORTS[public.scheme]
        self._ports = {self._public_port, server.port}
        self._patterns = [host for host in tables if host]
        self.removed_prefix = public.path.rstrip("/")

    def serves(self, name: str) -> bool:
        """Whether requests with this host come here."""
        return name == self._public_name or any(covers_host(pattern, name) for pattern in self._patterns)

    def includes(self, url: str) -> bool:
        """Whether an upstream's address is the gateway's own."""
        host, port = upstream_address(url)
        if any(port == own_port and _is_same_machine(host, own_host) for own_host, own_port in self._listening):
            return True
        if (host, port) == (self._public_name, self._public_port):
            return True
        return port in self._ports and not is_address(host) and self.serves(host)


def _is_same_machine(host: str, listening: str) -> bool:
    """Whether a connection to a host arrives where a server listens on an address."""
    if host == listening:
        return True
    return is_loopback(host) and (listening in _EVERY_ADDRESS or is_loopback(listening))


def _check_upstreams(route: Route, own: _OwnAddresses) -> None:
    for url in route.upstreams:
        if own.includes(url):
            raise ConfigurationError(
                f"route {route.name!r}: its upstream {url} is this gateway itself, so its requests would come back "
                f"and match the route {route.name!r} again"
            )


class _Step(NamedTuple):
    """A request of a client that follows redirects."""

    host: str
    path: str


def _check_redirect(route: Route, redirect: Redirect, hosts: Iterable[str], tables: Tables, own: _OwnAddresses) -> None:
    """No redirect leads a client back to the same route, by itself or by way of others."""
    method = min(route.demands, key=lambda name: (name != "GET", name))
    for host in hosts:
        names, step = [route.name], _follow(_Step(host, route.prefix), redirect, own)
        while step is not None:
            found = _find_route(tables, step, method)
            if found is None or not isinstance(found.reply, Redirect) or found.name in names[1:]:
                break
            names.append(found.name)
            if found is route:
                raise ConfigurationError(
                    f"route {route.name!r}: its redirect leads back to it, by {' -> '.join(names)}; from http to https "
                    "leads server.redirect_http"
                )
            step = _follow(step, found.reply, own)


def _follow(step: _Step, redirect: Redirect, own: _OwnAddresses) -> _Step | None:
    """The next request; `None` where the redirect leads to another server."""
    parts = urlsplit(redirect.locate(step.path, None))
    path = parts.path or "/"
    if not parts.netloc:
        return _Step(step.host, path.removeprefix(own.removed_prefix) or "/")
    name = strip_port(parts.netloc.lower())
    return _Step(name, path) if own.serves(name) else None


def _find_route(tables: Tables, step: _Step, method: str) -> Route | None:
    covering = [host for host in tables if host and covers_host(host, step.host)]
    closest = max(covering, key=lambda host: (not host.startswith(WILDCARD), len(host)), default="")
    place = find_place(tables[closest], step.path)
    return None if place is None else place.get(method)
