from __future__ import annotations

import contextlib
import gc
import secrets
from collections import defaultdict
from typing import TYPE_CHECKING

import asyncpg  # type: ignore[import-untyped]
import pytest
from redis.asyncio import Redis
from sqlalchemy.engine import make_url

from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.data.migrations import migrate
from lockgate_shop.kit.settings import ServiceSettings
from lockgate_shop.orders.app import create_app as create_orders
from lockgate_shop.orders.models import SCHEMA as ORDERS
from lockgate_shop.orders.settings import OrdersSettings
from lockgate_shop.products.app import create_app as create_products
from lockgate_shop.products.models import SCHEMA as PRODUCTS
from lockgate_shop.products.settings import ProductsSettings
from lockgate_shop.users.app import create_app as create_users
from lockgate_shop.users.models import SCHEMA as USERS
from lockgate_shop.users.settings import UsersSettings
from tests.support.node import redis as running_redis
from tests.support.peers import Clock, Links, Peer, opened, served
from tests.support.postgres import PostgresMissingError, running_cluster
from tests.support.s3 import Bucket, Seaweed, SeaweedMissingError, bucket_in, running_seaweed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from fastapi import FastAPI

SCHEMAS = {schema.service: schema for schema in (USERS, PRODUCTS, ORDERS)}


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


class Databases:
    """A new database for each service of a test, on one engine.

    Migrating costs a tenth of a second. So on SQLite it is done once, and the file copied; on PostgreSQL a database is
    emptied and used again.

    Args:
        folder: for the files of SQLite.
        cluster: the URL of a PostgreSQL server; None for SQLite.
        migrated: kept over tests: by service, the file's bytes, or the names of databases that nobody uses.
    """

    def __init__(self, folder: Path, cluster: str | None, migrated: Migrated) -> None:
        self._folder = folder
        self._cluster = cluster
        self._migrated = migrated
        self._used: list[tuple[str, str]] = []
        self._new: list[str] = []

    @property
    def is_postgres(self) -> bool:
        return self._cluster is not None

    async def url(self, service: str, which: str = "") -> str:
        """A database that a service can be given; perhaps migrated already. Another one for each `which`."""
        if self._cluster is not None:
            return await self._emptied(service)
        file = self._folder / f"{service}{which}.db"
        url = f"sqlite:///{file}"
        if service not in self._migrated.files:
            await _migrate(url, service)
            self._migrated.files[service] = file.read_bytes()
        file.write_bytes(self._migrated.files[service])
        return url

    async def empty(self, service: str) -> str:
        """A database without a table."""
        if self._cluster is None:
            return f"sqlite:///{self._folder / service}.db"
        name = await self._create(service)
        self._new.append(name)
        return self._url(name)

    async def leave(self) -> None:
        """What was migrated may be used by other tests; the rest goes."""
        for service, name in self._used:
            self._migrated.names[service].append(name)
        for name in self._new:
            await self._run("postgres", f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _emptied(self, service: str) -> str:
        free = self._migrated.names[service]
        if free:
            name = free.pop()
            tables = ", ".join(f'"{table}"' for table in SCHEMAS[service].metadata.tables)
            await self._run(name, f"TRUNCATE {tables}")
        else:
            name = await self._create(service)
            await _migrate(self._url(name), service)
        self._used.append((service, name))
        return self._url(name)

    async def _create(self, service: str) -> str:
        name = f"lockgate_{service}_{secrets.token_hex(6)}"
        await self._run("postgres", f'CREATE DATABASE "{name}" STRATEGY file_copy')
        return name

    def _url(self, name: str) -> str:
        return make_url(str(self._cluster)).set(database=name).render_as_string(hide_password=False)

    async def _run(self, database: str, statement: str) -> None:
        connection = await asyncpg.connect(self._url(database))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


class Migrated:
    """What is kept from test to test, see `Databases`."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.names: defaultdict[str, list[str]] = defaultdict(list)


async def _migrate(url: str, service: str) -> None:
    database = Database(ServiceSettings(database_url=url))
    await migrate(database, SCHEMAS[service])
    await database.close()


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
async def users_app(databases: Databases, bucket: Bucket, links: Links, clock: Clock) -> FastAPI:
    settings = UsersSettings(database_url=await databases.url("users"), **bucket.settings)
    return create_users(settings, links.of("users"), clock)


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
