"""A pool of connections that lead into memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from lockgate.edge.ticker import Ticker
from lockgate.settings import UpstreamSettings
from lockgate.upstream.own_addresses import OwnAddresses
from lockgate.upstream.pool import SomeProtocol, UpstreamPool
from lockgate.upstream.response import ResponseHeadReader
from tests.support.transports import Transport

URL = "http://192.0.2.1:80"


class MemoryPool(UpstreamPool):
    """A pool without sockets.

    Attributes:
        opened: the other ends, in the order in which they were opened.
        refuses: whether the address refuses connections.
        opening: connections come about when this is set.
    """

    def __init__(self, ticker: Ticker, **settings: float) -> None:
        configured = UpstreamSettings.model_validate(settings)
        super().__init__(URL, configured, ticker, ResponseHeadReader(OwnAddresses([URL], "")))
        self.opened: list[Transport] = []
        self.refuses = False
        self.opening = asyncio.Event()
        self.opening.set()

    async def open_connection(self, make: Callable[[], SomeProtocol]) -> SomeProtocol:
        await self.opening.wait()
        if self.refuses:
            raise ConnectionRefusedError
        connection, transport = make(), Transport()
        transport.protocol = connection
        connection.connection_made(transport)
        self.opened.append(transport)
        return connection
