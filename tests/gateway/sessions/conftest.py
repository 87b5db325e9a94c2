from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lockgate.settings import TokenSettings
from lockgate.stores.redis import connect
from lockgate_common.redis.client import RedisClient
from tests.support.clock import ManualClock
from tests.support.session_node import Node


@pytest.fixture(params=["redis_url", "cluster_url"])
def store_url(request: pytest.FixtureRequest) -> str:
    """What holds on one server holds on a Cluster."""
    url: str = request.getfixturevalue(request.param)
    return url


@pytest_asyncio.fixture
async def redis(store_url: str) -> AsyncIterator[RedisClient]:
    """A client of an empty Redis, as a node makes it."""
    client = connect(store_url)
    await client.flushall()
    yield client
    await client.aclose()


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
