"""A Redis server that bad luck happens to: killed, frozen, full, its connections cut."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from redis.asyncio import Redis

from lockgate_common.redis.client import RedisClient
from tests.support import node as nodes

FULL: Final = 1
"""Bytes: less than an empty server has in use, so nothing more can be written."""
NO_LIMIT: Final = 0


_TIMES: Final = {
    "lg:{*}:session:*": ("created", "rotated", "used", "ends"),
    "lg:login:{login}:account:*": ("at",),
    "lg:login:{login}:address:*": ("at",),
    "lg:login:{login}:all": ("at",),
    "lg:allowance:*": ("at",),
}
"""Where Redis writes its time down, in milliseconds: fields of hashes."""


async def time_passes_at(redis: RedisClient, seconds: float) -> None:
    """What Redis measures by its own clock is so much older: sessions, and counters of attempts and allowances.

    Its clock cannot be moved, so what it has written down is. A key that would be gone by then is still there.
    """
    ago_ms = -int(seconds * 1000)
    for pattern, names in _TIMES.items():
        async for key in redis.scan_iter(match=pattern):
            for name in names:
                await redis.hincrby(key, name, ago_ms)
    async for key in redis.scan_iter(match="lg:{*}:sessions"):
        sids: list[Any] = await redis.zrange(key, 0, -1)
        for sid in sids:
            await redis.zincrby(key, ago_ms, sid)


class Store:
    """A real server, which comes back at the same address and with the same data.

    Args:
        folder: for its socket and its data.

    Attributes:
        url: where it is, from the first start on.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = contextlib.ExitStack()
        self.url = ""

    async def start(self) -> None:
        """Bring it up, or back."""
        self.url = self._running.enter_context(nodes.redis(self._folder))

    def kill(self) -> None:
        """SIGKILL; does nothing where it is dead already."""
        self._running.close()

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        """A client of the test's own."""
        async with Redis.from_url(self.url) as client:
            yield client

    @contextlib.asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """SIGSTOP, and SIGCONT at the end: what was sent meanwhile is carried out late."""
        async with self.client() as client:
            pid = (await client.info("server"))["process_id"]
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    @contextlib.asynccontextmanager
    async def full(self) -> AsyncIterator[None]:
        """Without room for anything more; reading and deleting go on."""
        async with self.client() as client:
            await client.config_set("maxmemory", FULL)
            try:
                yield
            finally:
                await client.config_set("maxmemory", NO_LIMIT)

    async def cut_connections(self) -> None:
        """Break off every connection but the test's own, with all that is under way."""
        async with self.client() as client:
            await client.client_kill_filter(_type="normal", skipme=True)
            await client.client_kill_filter(_type="pubsub", skipme=True)
