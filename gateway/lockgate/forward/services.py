"""All services behind the gateway, and the connections to them; made anew from each route table."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from lockgate.edge.ticker import Ticker
from lockgate.forward.outbound import OutboundRequests
from lockgate.forward.retries import Outcome, Retries
from lockgate.forward.service import Service
from lockgate.keys.current import Current
from lockgate.observe.tracing import Sampler
from lockgate.policy.route import Route
from lockgate.policy.routes import RouteTable
from lockgate.settings import UpstreamSettings
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.own_addresses import Beginnings, OwnAddresses
from lockgate.upstream.pool import UpstreamPool
from lockgate.upstream.response import ResponseHeadReader
from lockgate.upstream.tls import build_tls_context
from lockgate.upstream.upstream import LookUp, Upstream, look_up
from lockgate_common.background import BackgroundTasks
from lockgate_trust import LinkKeys


class _Use(NamedTuple):
    """What the routes say of an upstream.

    Attributes:
        together: the upstreams of the same routes, which services may name in addresses.
        checks: the paths of active checks.
        hidden: the names in which any route names a user, which no response may show.
    """

    together: tuple[str, ...]
    checks: tuple[str, ...]
    hidden: frozenset[bytes]


class NextServices(NamedTuple):
    """The services of a route table that is not in use yet, with the same members as `Services`."""

    uses: dict[str, _Use]
    upstreams: dict[str, Upstream]
    by_route: Mapping[str, Service]


class Services:
    """The services, by route, and the connections to each upstream that routes name.

    Args:
        settings: bounds and times of connections to services.
        links: the current link keys.
        ticker: the worker's coarse clock.
        sampler: selects the requests that are traced.
        prefix: the path that a front proxy removes, see `OwnAddresses`.
        find: tells the addresses of a name.

    Attributes:
        by_route: the service of each route that has one, by the route's name.
        upstreams: the connections to each upstream, by its URL.
    """

    def __init__(  # noqa: PLR0913 - the last by name
        self,
        routes: RouteTable,
        settings: UpstreamSettings,
        links: Current[LinkKeys],
        ticker: Ticker,
        sampler: Sampler,
        *,
        prefix: str = "",
        find: LookUp = look_up,
    ) -> None:
        self._settings = settings
        self._links = links
        self._ticker = ticker
        self._sampler = sampler
        self._prefix = prefix
        self._find = find
        self._retries: dict[str, Retries] = {}
        self._retired: list[Upstream] = []
        self._tasks = BackgroundTasks()
        self._uses: dict[str, _Use] = {}
        self.upstreams: dict[str, Upstream] = {}
        first = self.prepare(routes)
        self._uses, self.upstreams, self.by_route = first.uses, first.upstreams, first.by_route

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the active checks of all routes with a health path; close all connections at the end of the context."""
        self._start_checks(self.upstreams)
        self._ticker.add_listener(self._close_drained)
        try:
            yield
        finally:
            self._ticker.remove_listener(self._close_drained)
            await self._tasks.close()
            for upstream in (*self.upstreams.values(), *self._retired):
                await upstream.close()

    def prepare(self, routes: RouteTable) -> NextServices:
        """Make the services of a new route table, which `take` puts in the place of those in use.

        An upstream is kept, with its connections and what its breakers know, where all routes say the same of it.

        Raises:
            ConfigurationError: a certificate file cannot be used.
        """
        forwarding = [route for route in routes.routes if route.reply is None]
        uses = {
            url: _find_use(url, forwarding, routes.identity_names) for route in forwarding for url in route.upstreams
        }
        # What can fail comes before the upstreams, which hang on the ticker as soon as they are made.
        new = {url: build_tls_context([url], self._settings) for url, use in uses.items() if self._uses.get(url) != use}
        upstreams = {
            url: self._build_upstream(url, use, new[url]) if url in new else self.upstreams[url]
            for url, use in uses.items()
        }
        services = {route.name: self._build_service(route, upstreams, uses) for route in forwarding}
        return NextServices(uses, upstreams, MappingProxyType(services))

    def take(self, prepared: NextServices) -> None:
        """Send requests from now on to prepared services; requests under way end where they are."""
        kept, before = set(prepared.upstreams.values()), self.upstreams
        new = {url: upstream for url, upstream in prepared.upstreams.items() if before.get(url) is not upstream}
        for service in self.by_route.values():
            service.stop_following()
        self.retire_later(upstream for upstream in before.values() if upstream not in kept)
        self._uses, self.upstreams, self.by_route = prepared.uses, prepared.upstreams, prepared.by_route
        self._start_checks(new)

    def drop(self, prepared: NextServices) -> None:
        """Give up prepared services that were not taken."""
        for service in prepared.by_route.values():
            service.stop_following()
        for upstream in set(prepared.upstreams.values()) - set(self.upstreams.values()):
            self._tasks.start(upstream.close())

    def retire_later(self, upstreams: Iterable[Upstream]) -> None:
        """Close upstreams when their last request has ended."""
        for upstream in upstreams:
            upstream.retire()
            self._retired.append(upstream)

    def open_requests(self) -> int:
        """The number of requests at services, or waiting for a connection."""
        return sum(upstream.load for upstream in (*self.upstreams.values(), *self._retired))

    def upstream_states(self) -> dict[str, str]:
        """`up` or `down` for each upstream, by this worker's breakers; `up` with one working address."""
        return {url: "down" if upstream.is_down else "up" for url, upstream in self.upstreams.items()}

    def count_retries(self) -> Iterator[tuple[str, str, int]]:
        """How often each outcome of a second try was: service, outcome, number since the start."""
        for service, retries in self._retries.items():
            for outcome in Outcome:
                yield service, outcome.value, retries.counts[outcome]

    def _start_checks(self, upstreams: Mapping[str, Upstream]) -> None:
        for url, upstream in upstreams.items():
            for path in self._uses[url].checks:
                upstream.start_checking(path)

    def _close_drained(self, _: float) -> None:
        for upstream in [upstream for upstream in self._retired if not upstream.load]:
            self._retired.remove(upstream)
            self._tasks.start(upstream.close())

    def _build_service(self, route: Route, upstreams: Mapping[str, Upstream], uses: Mapping[str, _Use]) -> Service:
        if route.service not in self._retries:
            self._retries[route.service] = Retries(route.service, self._ticker)
        return Service(
            [upstreams[url] for url in route.upstreams],
            OutboundRequests(
                self._links,
                route.service,
                self._sampler,
                route.request_rules,
                route.identity_fields,
                route.rewrite,
                self._prefix,
            ),
            self._retries[route.service],
            route.spread,
            route=route,
            forward_authorization=route.forward_authorization,
            preserve_host=route.preserve_host,
            finish_unsized=route.finish_unsized,
            addresses=self._map_addresses(route, uses),
        )

    def _map_addresses(self, route: Route, uses: Mapping[str, _Use]) -> OwnAddresses | None:
        """What maps the addresses in responses of a route that rewrites; its upstreams may have other routes, too."""
        rewrite = route.rewrite
        if rewrite is None:
            return None
        asked, sent = f"{self._prefix}{rewrite.prefix}".encode("ascii"), rewrite.target.encode("ascii")
        together = dict.fromkeys(other for url in route.upstreams for other in uses[url].together)
        return OwnAddresses(together, self._prefix, Beginnings(asked, sent, told=rewrite.strips))

    def _build_upstream(self, url: str, use: _Use, tls: ssl.SSLContext | None) -> Upstream:
        heads = ResponseHeadReader(OwnAddresses(use.together, self._prefix), use.hidden)
        return Upstream(
            Endpoint.of_url(url, tls),
            lambda endpoint: UpstreamPool(endpoint, self._settings, self._ticker, heads),
            self._ticker,
            self._find,
        )


def _find_use(url: str, routes: Iterable[Route], hidden: frozenset[bytes]) -> _Use:
    using = [route for route in routes if url in route.upstreams]
    together = dict.fromkeys(other for route in using for other in route.upstreams)
    return _Use(tuple(sorted(together)), tuple(sorted({route.health for route in using if route.health})), hidden)
