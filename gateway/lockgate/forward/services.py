"""All services behind the gateway, and the connections to them; made from the route table, once for each worker."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType

from lockgate.edge.ticker import Ticker
from lockgate.forward.outbound import OutboundRequests
from lockgate.forward.service import Service
from lockgate.keys.current import Current
from lockgate.observe.tracing import Sampler
from lockgate.policy.route import Route
from lockgate.policy.routes import RouteTable
from lockgate.settings import UpstreamSettings
from lockgate.upstream.own_addresses import OwnAddresses
from lockgate.upstream.pool import UpstreamPool
from lockgate.upstream.response import ResponseHeadReader
from lockgate.upstream.tls import build_tls_context
from lockgate_trust import LinkKeys


class Services:
    """The services, by route, and a connection pool for each address that routes name.

    Args:
        settings: bounds and times of connections to services.
        links: the current link keys.
        ticker: the worker's coarse clock.
        sampler: selects the requests that are traced.
        prefix: the path that a front proxy removes, see `OwnAddresses`.

    Attributes:
        by_route: the service of each route that has one, by the route's name.
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
        self._routes = tuple(route for route in routes.routes if route.reply is None)
        self._settings = settings
        self._ticker = ticker
        self._prefix = prefix
        self.pools: dict[str, UpstreamPool] = {}
        self.by_route: Mapping[str, Service] = MappingProxyType(
            {route.name: self._build_service(route, links, sampler) for route in self._routes}
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the active checks of all routes with a health path; close all connections at the end of the context."""
        async with contextlib.AsyncExitStack() as stack:
            for pool in self.pools.values():
                stack.push_async_callback(pool.close)
            for route in self._routes:
                for url in route.upstreams if route.health else ():
                    await stack.enter_async_context(self.pools[url].checking(route.health or "/"))
            yield

    def open_requests(self) -> int:
        """The number of requests at services, or waiting for a connection."""
        return sum(pool.load for pool in self.pools.values())

    def upstream_states(self) -> dict[str, str]:
        """`up` or `down` for each address, by this worker's breakers."""
        return {url: "down" if pool.breaker.is_open else "up" for url, pool in self.pools.items()}

    def _build_service(self, route: Route, links: Current[LinkKeys], sampler: Sampler) -> Service:
        pools = [self._pool_for(url) for url in route.upstreams]
        return Service(
            pools,
            OutboundRequests(links, route.service, sampler),
            forward_authorization=route.forward_authorization,
            preserve_host=route.preserve_host,
            finish_unsized=route.finish_unsized,
        )

    def _pool_for(self, url: str) -> UpstreamPool:
        if url not in self.pools:
            tls = build_tls_context([url], self._settings)
            together = [other for route in self._routes if url in route.upstreams for other in route.upstreams]
            heads = ResponseHeadReader(OwnAddresses(together, self._prefix))
            self.pools[url] = UpstreamPool(url, self._settings, self._ticker, heads, tls)
        return self.pools[url]
