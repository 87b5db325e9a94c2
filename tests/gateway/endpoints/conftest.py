from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from tests.support import node as nodes
from tests.support import shop as shops
from tests.support import upstream as upstreams
from tests.support.shop import Shop
from tests.support.shop_rig import Caller, Users
from tests.support.upstream import Upstream


@pytest.fixture(scope="session")
def people(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The users service's database with alice, bob and ada in it, to be copied: hashing their passwords takes time."""
    folder = tmp_path_factory.mktemp("people")

    async def register() -> None:
        async with shops.running(folder, redis_url, "http://127.0.0.1:9") as running:
            await running.add_user("alice")
            await running.add_user("bob")
            await running.add_user("ada", admin=True)

    asyncio.run(register())
    return folder / shops.DATABASE


@pytest_asyncio.fixture
async def shop(redis: Redis, redis_url: str, upstream: Upstream, people: Path, tmp_path: Path) -> AsyncIterator[Shop]:
    """A node with the real users service behind it; alice and bob are customers, ada is an administrator."""
    del redis
    shutil.copy(people, tmp_path)
    async with shops.running(tmp_path, redis_url, upstream.url) as running:
        yield running


@pytest.fixture
def users() -> Users:
    return Users()


@pytest_asyncio.fixture
async def service(users: Users) -> AsyncIterator[Upstream]:
    """Users and orders in one listener, in the test's hands."""
    async with upstreams.running(users.script()) as running:
        yield running


@pytest_asyncio.fixture
async def caller(redis: Redis, redis_url: str, service: Upstream, tmp_path: Path) -> AsyncIterator[Caller]:
    """A client of a node in front of `service`; Redis is empty."""
    del redis
    async with nodes.running(nodes.settings(tmp_path, redis_url, service.url)) as node:
        yield Caller(node)
