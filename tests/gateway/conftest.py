"""A real Redis for the whole run, and a worker of its own for each test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
import uvloop
from redis.asyncio import Redis

from tests.support import node as nodes
from tests.support import upstream as upstreams
from tests.support.node import Node
from tests.support.redis_groups import Cluster
from tests.support.upstream import Upstream


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that a worker runs on in production."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Redis server that lives as long as the test run."""
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("REDIS_URL", raising=False)  # it would win over what a test configures
        with nodes.redis(tmp_path_factory.mktemp("redis")) as url:
            yield url


@pytest.fixture
def cluster_url(redis_cluster: Cluster) -> str:
    """The address of the Cluster."""
    return redis_cluster.url


@pytest_asyncio.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    """A client of an empty Redis."""
    async with Redis.from_url(redis_url) as client:
        await client.flushall()
        yield client


@pytest_asyncio.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A service that records what it gets and answers 200."""
    async with upstreams.running(upstreams.recorder()) as service:
        yield service


@pytest_asyncio.fixture
async def node(redis: Redis, redis_url: str, upstream: Upstream, tmp_path: Path) -> AsyncIterator[Node]:
    """A gateway worker in front of `upstream`, with a route of each kind; Redis is empty."""
    del redis
    async with nodes.running(nodes.settings(tmp_path, redis_url, upstream.url)) as running:
        yield running
