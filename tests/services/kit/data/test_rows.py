"""Rows that are read past the ORM mean what the ORM would say, and leave the pool as they found it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

import pytest
from sqlalchemy import bindparam, literal_column, select, text
from sqlalchemy.pool import QueuePool
from sqlalchemy.util import greenlet_spawn

from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.data.rows import RowQuery
from lockgate_shop.kit.errors import StoreUnavailableError
from lockgate_shop.users.models import Account
from lockgate_shop.users.settings import UsersSettings
from tests.support.databases import Databases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.databases import Migrated

COLUMNS = Account.__table__.c


@pytest.fixture
async def database(databases: Databases) -> AsyncIterator[Database]:
    made = Database(UsersSettings(database_url=await databases.url("users"), pool_size=1, pool_wait_s=0.2))
    yield made
    await made.close()


def by_id(database: Database) -> RowQuery:
    return RowQuery(database, select(*COLUMNS).where(COLUMNS.id == bindparam("id")))


def in_use(database: Database) -> int:
    return cast("QueuePool", database.engine.sync_engine.pool).checkedout()


async def stored(database: Database, **values: object) -> UUID:
    now = datetime(2030, 3, 17, 23, 46, 40, 123_456, tzinfo=timezone(timedelta(hours=6)))
    account = Account(
        id=uuid4(),
        username="zo\u00eb",
        password_hash="$argon2id$",
        display_name="\U0001f600 \u6f22",
        email=None,
        roles=["customer", "r\u00f6le"],
        status="active",
        created_at=now,
        password_changed_at=now.replace(microsecond=0),
        **values,
    )
    async with database.write_session() as session:
        session.add(account)
    return account.id


@pytest.mark.parametrize("avatar", [None, UUID("00000000-0000-4000-8000-00000000000a")])
async def test_each_column_is_read_as_a_model_reads_it(database: Database, avatar: UUID | None) -> None:
    account_id = await stored(database, avatar_id=avatar)
    async with database.read_session() as session:
        account = await session.get_one(Account, account_id)
    row = await by_id(database).fetch_row(account_id)
    assert row == [getattr(account, column.name) for column in COLUMNS]
    assert row[7] == datetime(2030, 3, 17, 17, 46, 40, 123_456, tzinfo=UTC)
    assert row[7].tzinfo is UTC


async def test_no_row_is_none(database: Database) -> None:
    assert await by_id(database).fetch_row(uuid4()) is None


@pytest.mark.parametrize("values", [(), (uuid4(), uuid4())])
async def test_a_missing_or_further_value_is_a_mistake_of_ours(database: Database, values: tuple[object, ...]) -> None:
    with pytest.raises(ValueError, match="zip"):
        await by_id(database).fetch_row(*values)


async def test_a_row_is_read_as_it_is_now_and_holds_no_connection(database: Database) -> None:
    account_id = await stored(database)
    query = by_id(database)
    for status in ("blocked", "active"):
        async with database.write_session() as session:
            (await session.get_one(Account, account_id)).status = status
        row = await query.fetch_row(account_id)
        assert row is not None
        assert row[6] == status
        assert in_use(database) == 0


async def test_a_statement_that_fails_gives_its_connection_back(database: Database) -> None:
    account_id = await stored(database)
    broken = RowQuery(database, select(literal_column("no_such_function(1)")))
    for _ in range(3):
        with pytest.raises(Exception, match=r"no_such_function|OperationalError"):
            await broken.fetch_row()
        assert in_use(database) == 0
    assert await by_id(database).fetch_row(account_id) is not None


async def test_a_read_that_is_given_up_gives_its_connection_back(database: Database) -> None:
    account_id = await stored(database)
    query = by_id(database)
    for turns in range(12):
        reading = asyncio.ensure_future(query.fetch_row(account_id))
        for _ in range(turns):
            await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait([reading])
        assert await query.fetch_row(account_id) is not None
        assert in_use(database) == 0


async def test_a_read_waits_for_a_connection_no_longer_than_a_session_does(database: Database) -> None:
    async with database.read_session() as session:
        await session.execute(text("SELECT 1"))
        with pytest.raises(StoreUnavailableError, match="TimeoutError"):
            await by_id(database).fetch_row(uuid4())


async def test_a_connection_that_the_server_ended_is_replaced(
    tmp_path: Path, postgres: str, migrated: Migrated
) -> None:
    databases = Databases(tmp_path, postgres, migrated)
    settings = UsersSettings(database_url=await databases.url("users"), pool_size=1)
    database, other = Database(settings), Database(settings)
    backend = RowQuery(database, select(literal_column("pg_backend_pid()")))
    (pid,) = await backend.fetch_row() or ()
    async with other.read_session() as session:
        await session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
    row = await backend.fetch_row()
    assert row is not None
    assert row != [pid]
    for opened in (database, other):
        await opened.close()
    await databases.leave()


async def test_a_database_that_is_away_says_so(database: Database, databases: Databases) -> None:
    query = by_id(database)
    await database.close()
    gone = Database(UsersSettings(database_url=_gone(database, databases)))
    away = RowQuery(gone, select(*COLUMNS).where(COLUMNS.id == bindparam("id")))
    with pytest.raises(StoreUnavailableError):
        await away.fetch_row(uuid4())
    await gone.close()
    assert await query.fetch_row(uuid4()) is None


def _gone(database: Database, databases: Databases) -> str:
    url = database.engine.url
    if databases.is_postgres:
        return url.set(query={"host": "/nowhere"}).render_as_string(hide_password=False)
    return "sqlite:////dev/null"


async def test_a_connection_comes_back_to_the_pool_without_a_transaction(database: Database) -> None:
    """Whatever left one open on it: else the next request would read what nothing has committed."""
    account_id = await stored(database)
    connection = await database.engine.raw_connection()
    cursor = await greenlet_spawn(connection.cursor)
    if not database.is_postgres:
        await greenlet_spawn(cursor.execute, "BEGIN")
    await greenlet_spawn(cursor.execute, "UPDATE accounts SET status = 'blocked'")
    await greenlet_spawn(connection.close)
    row = await by_id(database).fetch_row(account_id)
    assert row is not None
    assert row[6] == "active"
