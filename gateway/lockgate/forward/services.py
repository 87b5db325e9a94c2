"""All services behind the gateway, and the connections to them; made anew from each route table."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from lockgate.edge.ticker import Ticker
from lockgate.forward.outbound import OutboundRequests
from lockgate.forward.service import Service
from lockgate.keys.current import Current
from lockgate.observe.tracing import Sampler
from lockgate.policy.routes import Route, RouteTable
from lockgate.settings import UpstreamSettings
from lockgate.upstream.own_addresses import OwnAddresses
from lockgate.upstream.pool import UpstreamPool
from lockgate.upstream.response import ResponseHeadReader
from lockgate.upstream.tls import build_tls_context
from lockgate_common.background import BackgroundTasks
from lockgate_trust import LinkKeys


class _Use(NamedTuple):
    """What the routes say of an upstream.

    Attributes:
        together: the upstreams of the same routes, which services may name in addresses.
        checks: the paths of active checks.
    """

    together: tuple[str, ...]
    checks: tuple[str, ...]


class NextServices(NamedTuple):
    """The services of a route table that is not in use yet, with the same members as `Services`."""

    uses: dict[str, _Use]
    pools: dict[str, UpstreamPool]
    by_route: Mapping[str, Service]


class Services:
    """The services, by route, and a connection pool for each address that routes name.

    Args:
        settings: bounds and times of connections to services.
        links: the current link keys.
        ticker: the worker's coarse clock.
        sampler: selects the requests that are traced.
        prefix: the path that a front proxy removes, see `OwnAddresses`.

    Attributes:
        by_route: the service of each route, by the route's name.
        pools: the connections to each address, by its URL.
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
    ) -> None:
        self._settings = settings
        self._links = links
        self._ticker = ticker
        self._sampler = sampler
        self._prefix = prefix
        self._retired: list[UpstreamPool] = []
        self._tasks = BackgroundTasks()
        self._uses: dict[str, _Use] = {}
        self.pools: dict[str, UpstreamPool] = {}
        first = self.prepare(routes)
        self._uses, self.pools, self.by_route = first.uses, first.pools, first.by_route

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the active checks of all routes with a health path; close all connections at the end of the context."""
        self._start_checks(self.pools)
        self._ticker.add_listener(self._close_drained)
        try:
            yield
        finally:
            self._ticker.remove_listener(self._close_drained)
            await self._tasks.close()
            for pool in (*self.pools.values(), *self._retired):
                await pool.close()

    def prepare(self, routes: RouteTable) -> NextServices:
        """Make the services of a new route table, which `take` puts in the place of those in use.

        An upstream is kept, with its connections and what its breaker knows, where all routes say the same of it.

        Raises:
            ConfigurationError: a certificate file cannot be used.
        """
        uses = {url: _find_use(url, routes.routes) for route in routes.routes for url in route.upstreams}
        # What can fail comes before the pools, which hang on the ticker as soon as they are made.
        new = {url: build_tls_context([url], self._settings) for url, use in uses.items() if self._uses.get(url) != use}
        pools = {
            url: self._build_pool(url, use, new[url]) if url in new else self.pools[url] for url, use in uses.items()
        }
        services = {route.name: self._build_service(route, pools) for route in routes.routes}
        return NextServices(uses, pools, MappingProxyType(services))

    def take(self, prepared: NextServices) -> None:
        """Send requests from now on to prepared services; requests under way end where they are."""
        kept, before = set(prepared.pools.values()), self.pools
        new = {url: pool for url, pool in prepared.pools.items() if before.get(url) is not pool}
        for pool in before.values():
            if pool not in kept:
                pool.retire()
                self._retired.append(pool)
        self._uses, self.pools, self.by_route = prepared.uses, prepared.pools, prepared.by_route
        self._start_checks(new)

    def drop(self, prepared: NextServices) -> None:
        """Give up prepared services that were not taken."""
        for pool in set(prepared.pools.values()) - set(self.pools.values()):
            self._tasks.start(pool.close())

    def retire_later(self, pools: Iterable[UpstreamPool]) -> None:
        """Close pools of another user of connections, when their last request has ended."""
        for pool in pools:
            pool.retire()
            self._retired.append(pool)

    def open_requests(self) -> int:
        """The number of requests at services, or waiting for a connection."""
        return sum(pool.load for pool in (*self.pools.values(), *self._retired))

    def upstream_states(self) -> dict[str, str]:
        """`up` or `down` for each address, by this worker's breakers."""
        return {url: "down" if pool.breaker.is_open else "up" for url, pool in self.pools.items()}

    def _start_checks(self, pools: Mapping[str, UpstreamPool]) -> None:
        for url, pool in pools.items():
            for path in self._uses[url].checks:
                pool.start_checking(path)

    def _close_drained(self, _: float) -> None:
        for pool in [pool for pool in self._retired if not pool.load]:
            self._retired.remove(pool)
            self._tasks.start(pool.close())

    def _build_service(self, route: Route, pools: Mapping[str, UpstreamPool]) -> Service:
        return Service(
            [pools[url] for url in route.upstreams],
            OutboundRequests(self._links, route.service, self._sampler),
            route=route,
            forward_authorization=route.forward_authorization,
            preserve_host=route.preserve_host,
            finish_unsized=route.finish_unsized,
        )

    def _build_pool(self, url: str, use: _Use, tls: ssl.SSLContext | None) -> UpstreamPool:
        heads = ResponseHeadReader(OwnAddresses(use.together, self._prefix))
        return UpstreamPool(url, self._settings, self._ticker, heads, tls)


def _find_use(url: str, routes: Iterable[Route]) -> _Use:
    using = [route for route in routes if url in route.upstreams]
    together = dict.fromkeys(other for route in using for other in route.upstreams)
    return _Use(tuple(sorted(together)), tuple(sorted({route.health for route in using if route.health})))
