"""A pool of connections that lead into memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from lockgate.edge.ticker import Ticker
from lockgate.settings import UpstreamSettings
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.own_addresses import OwnAddresses
from lockgate.upstream.pool import UpstreamPool
from lockgate.upstream.response import ResponseHeadReader
from lockgate.upstream.upstream import Upstream
from tests.support.transports import Transport

HOST: Final = "192.0.2.1"


class MemoryNetwork:
    """Takes the place of the network for the running event loop: connections to an address lead into memory.

    Attributes:
        opened: the other ends, in the order in which they were opened.
        refuses: whether the address refuses connections.
        opening: connections come about when this is set.
    """

    def __init__(self, host: str) -> None:
        self._host = host
        self._others = asyncio.get_running_loop().create_connection
        self.opened: list[Transport] = []
        self.refuses = False
        self.opening = asyncio.Event()
        self.opening.set()
        asyncio.get_running_loop().create_connection = self._connect  # type: ignore[method-assign,assignment]

    async def _connect(
        self,
        make: Callable[[], asyncio.Protocol],
        host: str,
        port: int,
        **options: Any,  # noqa: ANN401 - the loop's
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        if host != self._host:
            return await self._others(make, host, port, **options)
        await self.opening.wait()
        if self.refuses:
            raise ConnectionRefusedError
        connection, transport = make(), Transport()
        transport.protocol = connection
        connection.connection_made(transport)
        self.opened.append(transport)
        return transport, connection


def memory_pool(ticker: Ticker, host: str = HOST, **settings: float) -> tuple[UpstreamPool, MemoryNetwork]:
    """A pool without sockets, and what its connections lead into."""
    url, configured = f"http://{host}:80", UpstreamSettings.model_validate(settings)
    pool = UpstreamPool(Endpoint.of_url(url), configured, ticker, ResponseHeadReader(OwnAddresses([url], "")))
    return pool, MemoryNetwork(host)


def upstream_of(pool: UpstreamPool, ticker: Ticker) -> Upstream:
    """The upstream that has this pool alone."""
    return Upstream(pool.endpoint, lambda _: pool, ticker)
