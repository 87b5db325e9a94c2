from __future__ import annotations

import contextlib
import gc
from typing import TYPE_CHECKING

import pytest
from redis.asyncio import Redis

from lockgate_shop.orders.app import create_app as create_orders
from lockgate_shop.orders.settings import OrdersSettings
from lockgate_shop.products.app import create_app as create_products
from lockgate_shop.products.settings import ProductsSettings
from lockgate_shop.users.app import create_app as create_users
from lockgate_shop.users.settings import UsersSettings
from tests.support.databases import Databases, Migrated
from tests.support.node import redis as running_redis
from tests.support.peers import CHEAP, Clock, Links, Peer, opened, served
from tests.support.postgres import PostgresMissingError, running_cluster
from tests.support.s3 import Bucket, Seaweed, SeaweedMissingError, bucket_in, running_seaweed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from fastapi import FastAPI

    from lockgate_shop.users.passwords import Cost


@pytest.fixture
def unclosed_streams() -> Iterator[None]:
    """coredis drops streams of a closed connection: that is said in this test, which ignores it, not in the next."""
    yield
    gc.collect()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def links(tmp_path: Path) -> Links:
    return Links(tmp_path / "links")


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The URL of a real PostgreSQL server that lives as long as the test run."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(running_cluster())
        except PostgresMissingError as missing:
            pytest.skip(str(missing))
        yield url


@pytest.fixture(scope="session")
def migrated() -> Migrated:
    return Migrated()


@pytest.fixture(params=["sqlite", "postgresql"])
async def databases(request: pytest.FixtureRequest, tmp_path: Path, migrated: Migrated) -> AsyncIterator[Databases]:
    """Every test that has a database runs on both engines."""
    cluster = request.getfixturevalue("postgres") if request.param == "postgresql" else None
    made = Databases(tmp_path, cluster, migrated)
    yield made
    await made.leave()


@pytest.fixture
async def bucket(tmp_path: Path) -> AsyncIterator[Bucket]:
    """An empty bucket of a real S3 server."""
    async with bucket_in(tmp_path / "s3") as made:
        yield made


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real SeaweedFS that lives as long as the test run."""
    with contextlib.ExitStack() as stack:
        try:
            running = stack.enter_context(running_seaweed(tmp_path_factory.mktemp("seaweed")))
        except SeaweedMissingError as missing:
            pytest.skip(str(missing))
        yield running


@pytest.fixture
def cost() -> Cost | None:
    """Of a hash of a password; a test that is about hashing has it `None`, today's."""
    return CHEAP


@pytest.fixture
async def users_app(databases: Databases, bucket: Bucket, links: Links, clock: Clock, cost: Cost | None) -> FastAPI:
    settings = UsersSettings(database_url=await databases.url("users"), **bucket.settings)
    return create_users(settings, links.of("users"), clock, cost)


@pytest.fixture
async def users(users_app: FastAPI, links: Links, clock: Clock) -> AsyncIterator[Peer]:
    """The users service, as the gateway calls it."""
    async with opened(users_app) as http:
        yield Peer(http, links, "gateway", "users", clock)


@pytest.fixture
async def products_settings(databases: Databases, bucket: Bucket, redis_url: str) -> ProductsSettings:
    """Those of a products service; every app made with them is another node of it."""
    url = await databases.url("products")
    return ProductsSettings(database_url=url, pool_wait_s=30, redis_url=redis_url, **bucket.settings)


@pytest.fixture
def products_app(products_settings: ProductsSettings, links: Links, clock: Clock) -> FastAPI:
    return create_products(products_settings, links.of("products"), clock)


@pytest.fixture
async def products(products_app: FastAPI, links: Links, clock: Clock) -> AsyncIterator[Peer]:
    """The products service, as the gateway calls it."""
    async with opened(products_app) as http:
        yield Peer(http, links, "gateway", "products", clock)


@pytest.fixture
def buyer(products: Peer, links: Links, clock: Clock) -> Peer:
    """The products service, as the orders service calls it."""
    return Peer(products.http, links, "orders", "products", clock)


@pytest.fixture
async def products_url(products: Peer, products_app: FastAPI) -> AsyncIterator[str]:
    """The products service on a real socket, open already: the server leaves the lifespan alone."""
    assert products
    async with served(products_app) as url:
        yield url


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a real Redis server that lives as long as the test run."""
    with running_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture
async def orders_settings(databases: Databases, products_url: str, redis_url: str) -> OrdersSettings:
    """Those of an orders service with an empty Redis; every app made with them is another node of it."""
    async with Redis.from_url(redis_url) as redis:
        await redis.flushall()
    return OrdersSettings(
        database_url=await databases.url("orders"), products_url=products_url, redis_url=redis_url, beat_s=0.2
    )


@pytest.fixture
async def orders(orders_settings: OrdersSettings, links: Links, clock: Clock) -> AsyncIterator[Peer]:
    """The orders service, as the gateway calls it; it calls products over a socket."""
    async with opened(create_orders(orders_settings, links.of("orders"), clock)) as http:
        yield Peer(http, links, "gateway", "orders", clock)
