from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lockgate.settings import TokenSettings
from lockgate_common.redis.client import RedisClient
from tests.support.clock import ManualClock
from tests.support.each_store import redis, store_url
from tests.support.session_node import Node

__all__ = ["clock", "node", "redis", "store_url", "token"]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def token() -> TokenSettings:
    return TokenSettings()


@pytest_asyncio.fixture
async def node(redis: RedisClient, tmp_path: Path, clock: ManualClock, token: TokenSettings) -> AsyncIterator[Node]:
    """A node's sessions on an empty Redis."""
    made = Node(redis, tmp_path / "keys", clock, token)
    await made.link.open()
    yield made
    await made.link.close()
