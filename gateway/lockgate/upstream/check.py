"""The optional active health check: a GET to an upstream every few seconds."""

from __future__ import annotations

import asyncio
from typing import Final

from lockgate.edge import wire
from lockgate.edge.wire import WireError
from lockgate.upstream.endpoint import Endpoint
from lockgate.upstream.health import Breaker

PERIOD_S: Final = 5.0
TIMEOUT_S: Final = 2.0
_MAX_LINE: Final = 512
_HEALTHY: Final = range(200, 300)


async def keep_checking(endpoint: Endpoint, path: str, breaker: Breaker) -> None:
    """Check an upstream until this is cancelled.

    Args:
        endpoint: where it listens.
        path: the path to GET; a status from 200 to 299 means healthy.
        breaker: records the results.
    """
    while True:
        breaker.record_check(healthy=await is_healthy(endpoint, path))
        await asyncio.sleep(PERIOD_S)


async def is_healthy(endpoint: Endpoint, path: str) -> bool:
    """Check once."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            reader, writer = await asyncio.open_connection(
                endpoint.address, endpoint.port, ssl=endpoint.tls, server_hostname=endpoint.tls_name, limit=_MAX_LINE
            )
            try:
                writer.write(
                    f"GET {path} HTTP/1.1\r\nHost: {endpoint.host}\r\nConnection: close\r\n\r\n".encode("ascii")
                )
                status, _ = wire.parse_status_line((await reader.readuntil(b"\r\n"))[:-2])
            finally:
                writer.transport.abort()
    except (OSError, WireError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    return status in _HEALTHY
