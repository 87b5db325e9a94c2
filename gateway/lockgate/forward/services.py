"""All services behind the gateway, and the connections to them; made from the route table, once for each worker."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from types import MappingProxyType

from lockgate.edge.ticker import Ticker
from lockgate.forward.outbound import OutboundRequests
from lockgate.forward.retries import Outcome, Retries
from lockgate.forward.service import Service
from lockgate.keys.current import Current
from lockgate.observe.tracing import Sampler
from lockgate.policy.routes import Route, RouteTable
from lockgate.settings import UpstreamSettings
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.own_addresses import OwnAddresses
from lockgate.upstream.pool import UpstreamPool
from lockgate.upstream.response import ResponseHeadReader
from lockgate.upstream.tls import build_tls_context
from lockgate.upstream.upstream import LookUp, Upstream, look_up
from lockgate_trust import LinkKeys


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
        by_route: the service of each route, by the route's name.
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
        self._routes = routes.routes
        self._settings = settings
        self._ticker = ticker
        self._prefix = prefix
        self._find = find
        self._retries: dict[str, Retries] = {}
        self.upstreams: dict[str, Upstream] = {}
        self.by_route: Mapping[str, Service] = MappingProxyType(
            {route.name: self._build_service(route, links, sampler) for route in self._routes}
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the active checks of all routes with a health path; close all connections at the end of the context."""
        async with contextlib.AsyncExitStack() as stack:
            for upstream in self.upstreams.values():
                stack.push_async_callback(upstream.close)
            for route in self._routes:
                for url in route.upstreams if route.health else ():
                    self.upstreams[url].start_checking(route.health or "/")
            yield

    def open_requests(self) -> int:
        """The number of requests at services, or waiting for a connection."""
        return sum(upstream.load for upstream in self.upstreams.values())

    def upstream_states(self) -> dict[str, str]:
        """`up` or `down` for each upstream, by this worker's breakers; `up` with one working address."""
        return {url: "down" if upstream.is_down else "up" for url, upstream in self.upstreams.items()}

    def count_retries(self) -> Iterator[tuple[str, str, int]]:
        """How often each outcome of a second try was: service, outcome, number since the start."""
        for service, retries in self._retries.items():
            for outcome in Outcome:
                yield service, outcome.value, retries.counts[outcome]

    def _build_service(self, route: Route, links: Current[LinkKeys], sampler: Sampler) -> Service:
        if route.service not in self._retries:
            self._retries[route.service] = Retries(route.service, self._ticker)
        return Service(
            [self._upstream_for(url) for url in route.upstreams],
            OutboundRequests(links, route.service, sampler),
            self._retries[route.service],
            route.spread,
            forward_authorization=route.forward_authorization,
            preserve_host=route.preserve_host,
            finish_unsized=route.finish_unsized,
        )

    def _upstream_for(self, url: str) -> Upstream:
        if url not in self.upstreams:
            together = [other for route in self._routes if url in route.upstreams for other in route.upstreams]
            heads = ResponseHeadReader(OwnAddresses(together, self._prefix))
            self.upstreams[url] = Upstream(
                Endpoint.of_url(url, build_tls_context([url], self._settings)),
                lambda endpoint: UpstreamPool(endpoint, self._settings, self._ticker, heads),
                self._ticker,
                self._find,
            )
        return self.upstreams[url]
