"""Fixtures of tests that run on one Redis server and on a Cluster; a `conftest.py` imports them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from lockgate.stores.redis import connect
from lockgate_common.redis.client import RedisClient


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
