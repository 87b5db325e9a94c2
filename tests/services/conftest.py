from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from services.kit.database import Database
from services.kit.migrations import migrate
from services.kit.settings import ServiceSettings
from services.orders.app import create_app as create_orders
from services.orders.models import SCHEMA as ORDERS
from services.orders.settings import OrdersSettings
from services.products.app import create_app as create_products
from services.products.models import SCHEMA as PRODUCTS
from services.products.settings import ProductsSettings
from services.users.app import create_app as create_users
from services.users.models import SCHEMA as USERS
from services.users.settings import UsersSettings
from tests.services.rig import Clock, Links, Peer, opened, served

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from fastapi import FastAPI

POSTGRES_URL = os.environ.get("POSTGRES_URL")
SCHEMAS = {schema.service: schema for schema in (USERS, PRODUCTS, ORDERS)}
ENGINES = ("sqlite", "postgresql") if POSTGRES_URL else ("sqlite",)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def links(tmp_path: Path) -> Links:
    return Links(tmp_path / "links")


class Databases:
    """A new database for each service of a test, on one engine.

    Migrating costs a tenth of a second: on SQLite it is done once, and the file is copied.
    """

    def __init__(self, engine: str, folder: Path, migrated: dict[str, bytes]) -> None:
        self._engine = engine
        self._folder = folder
        self._migrated = migrated
        self._made: list[str] = []

    async def url(self, service: str) -> str:
        """A database that a service can be given; perhaps migrated already."""
        url = await self.empty(service)
        if self._engine == "sqlite":
            file = self._folder / f"{service}.db"
            if service not in self._migrated:
                database = Database(ServiceSettings(database_url=url))
                await migrate(database, SCHEMAS[service])
                await database.close()
                self._migrated[service] = file.read_bytes()
            file.write_bytes(self._migrated[service])
        return url

    async def empty(self, service: str) -> str:
        """A database without a table."""
        if self._engine == "sqlite":
            return f"sqlite:///{self._folder / service}.db"
        name = f"lockgate_{service}_{secrets.token_hex(6)}"
        await self._run(f'CREATE DATABASE "{name}"')
        self._made.append(name)
        return make_url(str(POSTGRES_URL)).set(database=name).render_as_string(hide_password=False)

    async def drop(self) -> None:
        for name in self._made:
            await self._run(f'DROP DATABASE "{name}" WITH (FORCE)')

    async def _run(self, statement: str) -> None:
        url = make_url(str(POSTGRES_URL)).set(drivername="postgresql+asyncpg")
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection:
            await connection.execute(text(statement))
        await engine.dispose()


@pytest.fixture(scope="session")
def migrated() -> dict[str, bytes]:
    return {}


@pytest.fixture(params=ENGINES)
async def databases(
    request: pytest.FixtureRequest, tmp_path: Path, migrated: dict[str, bytes]
) -> AsyncIterator[Databases]:
    made = Databases(request.param, tmp_path, migrated)
    yield made
    await made.drop()


@pytest.fixture
async def users_app(databases: Databases, links: Links, clock: Clock) -> FastAPI:
    settings = UsersSettings(database_url=await databases.url("users"))
    return create_users(settings, links.of("users"), clock)


@pytest.fixture
async def users(users_app: FastAPI, links: Links, clock: Clock) -> AsyncIterator[Peer]:
    """The users service, as the gateway calls it."""
    async with opened(users_app) as http:
        yield Peer(http, links, "gateway", "users", clock)


@pytest.fixture
async def products_app(databases: Databases, links: Links, clock: Clock) -> FastAPI:
    settings = ProductsSettings(database_url=await databases.url("products"), pool_wait_s=30)
    return create_products(settings, links.of("products"), clock)


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


@pytest.fixture
async def orders(databases: Databases, links: Links, clock: Clock, products_url: str) -> AsyncIterator[Peer]:
    """The orders service, as the gateway calls it; it calls products over a socket."""
    settings = OrdersSettings(database_url=await databases.url("orders"), products_url=products_url)
    async with opened(create_orders(settings, links.of("orders"), clock)) as http:
        yield Peer(http, links, "gateway", "orders", clock)
