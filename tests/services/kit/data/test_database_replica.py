"""Reads that a replica may answer. A copy that never catches up shows which of the two was asked."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.settings import ServiceSettings
from lockgate_shop.products.app import create_app
from lockgate_shop.products.settings import ProductsSettings
from tests.support.peers import NOBODY, Peer, Who, closed_port, opened
from tests.support.shop_calls import ADMIN, added

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from sqlalchemy.ext.asyncio import AsyncSession

    from tests.support.databases import Databases
    from tests.support.peers import Clock, Links

USER = Who("user-id", scopes=frozenset({"orders:write"}))


@pytest.fixture
async def old_copy(databases: Databases, links: Links, clock: Clock) -> str:
    """A products database in which there is one product, "Old"."""
    url = await databases.url("products", "-copy")
    async with opened(create_app(ProductsSettings(database_url=url), links.of("products"), clock)) as http:
        await added(Peer(http, links, "gateway", "products", clock), name="Old")
    return url


@pytest.fixture
async def products(databases: Databases, old_copy: str, links: Links, clock: Clock) -> AsyncIterator[Peer]:
    """The products service with another database, and that copy as its replica."""
    settings = ProductsSettings(database_url=await databases.url("products"), database_replica_url=old_copy)
    async with opened(create_app(settings, links.of("products"), clock)) as http:
        yield Peer(http, links, "gateway", "products", clock)


async def names(products: Peer, who: Who) -> list[str]:
    answer = await products.call("GET", "/products", who=who)
    return [product["name"] for product in answer.json()["items"]]


async def test_whoever_writes_reads_it_at_once_and_only_others_are_answered_by_the_replica(products: Peer) -> None:
    new = await added(products, name="New")
    assert await names(products, ADMIN) == ["New"]
    assert await names(products, USER) == ["Old"]
    assert await names(products, NOBODY) == ["Old"]
    # One product is what a buyer decides by: never from the replica.
    assert (await products.call("GET", f"/products/{new['id']}", who=USER)).json() == new


async def test_a_replica_that_is_away_is_stood_in_for(
    databases: Databases, links: Links, clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    away = f"postgresql://nobody@127.0.0.1:{closed_port()}/x" if databases.is_postgres else f"sqlite:///{tmp_path}"
    settings = ProductsSettings(database_url=await databases.url("products"), database_replica_url=away)
    async with opened(create_app(settings, links.of("products"), clock)) as http:
        products = Peer(http, links, "gateway", "products", clock)
        await added(products, name="New")
        assert await names(products, USER) == ["New"]
    assert "replica_unavailable" in capsys.readouterr().out


async def test_nothing_can_be_written_through_a_replica(databases: Databases, old_copy: str) -> None:
    url = await databases.url("products")
    database = Database(ServiceSettings(database_url=url, database_replica_url=old_copy))

    async def write(session: AsyncSession) -> None:
        await session.execute(text("DELETE FROM products"))
        await session.commit()

    # Refused by both engines; on SQLite that looks like a replica that is away.
    with contextlib.suppress(DBAPIError):
        await database.read_lagging(write)
    await database.close()
    copy = Database(ServiceSettings(database_url=old_copy))
    async with copy.read_session() as session:
        assert (await session.execute(text("SELECT name FROM products"))).scalars().all() == ["Old"]
    await copy.close()


async def test_the_pool_is_bounded_and_whoever_waits_too_long_is_told(
    databases: Databases, links: Links, clock: Clock
) -> None:
    url = await databases.url("products")
    settings = ProductsSettings(database_url=url, pool_size=1, pool_wait_s=0.05)
    app = create_app(settings, links.of("products"), clock)
    async with opened(app) as http:
        products = Peer(http, links, "gateway", "products", clock)
        async with app.state.database.read_session() as session:
            await session.execute(text("SELECT 1"))
            answer = await products.call("GET", "/products")
            assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert (await products.call("GET", "/products")).status_code == 200
