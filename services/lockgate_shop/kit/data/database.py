"""One service's own database: SQLite or PostgreSQL behind the same transactions, and a replica for some reads.

A replica takes load from a database and lags behind it. A caller that has just written must read the written value, on
any node. So the code says for each read whether a replica may respond (`Database.read_lagging`), by one rule: never
for a caller that can change what is read. The replica responds to lists and searches of the catalogue for callers
without `products:write`; every other read goes to the database itself. The cache follows the same rule. Not chosen:

- *A mark in Redis, "this user wrote N seconds ago"*: a round trip for each read, a guess about the lag, and a promise
  that ends with Redis.
- *Positions in the write-ahead log, handed to the client or kept*: exact, but PostgreSQL's alone, and every response
  and request would have to carry one.

So there is nothing to remember and nothing to set. A user's own data gains nothing from a replica: a read of it takes
one key of an index, and its writes need the database anyway. A customer may see a product in a list some milliseconds
after it was withdrawn; reading or buying it says that it is gone.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import structlog
from sqlalchemy import DateTime, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.types import TypeDecorator

from lockgate_shop.kit.errors import ConfigurationError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from sqlalchemy.engine import Connection, Dialect
    from sqlalchemy.pool import PoolResetState

    from lockgate_shop.kit.settings import ServiceSettings

T = TypeVar("T")

log = structlog.get_logger("service")

PATIENCE_S: Final = 5
"""How long SQLite waits for another writer, and PostgreSQL for a connection or a statement."""
MIGRATION_PATIENCE_S: Final = 300
"""The same during a migration: of this process, or of another one that holds the lock."""
_WAL_TRIES: Final = 20


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC time on every engine; SQLite by itself would drop the zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times, and store UTC."""
        del dialect
        if value is None:
            return None
        if value.tzinfo is None:
            raise TypeError("a stored time needs a zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        del dialect
        if value is None:
            return None
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


class Database:
    """The pool of connections to one database, and one to a replica where there is one.

    Args:
        settings: the URLs and the limits of each pool.
    """

    def __init__(self, settings: ServiceSettings) -> None:
        self.is_postgres = make_url(settings.database_url).get_backend_name() == "postgresql"
        self._faults = _faults_of(self.is_postgres)
        self._settings = settings
        self._engine = _create_engine(settings, settings.database_url, patience_s=PATIENCE_S)
        replica = settings.database_replica_url
        self._replica = _create_engine(settings, replica, patience_s=PATIENCE_S, read_only=True) if replica else None
        # SQLite upgrades a reading transaction to a writing one only without a write in between, and otherwise
        # fails at once: so writers say so at BEGIN, and wait there.
        self._writer = self._engine.execution_options(writes=True)

    @asynccontextmanager
    async def read_session(self) -> AsyncIterator[AsyncSession]:
        """A transaction that only reads.

        Raises:
            StoreUnavailableError: the database is away, or no connection became free in time.
        """
        with self.translate_faults():
            async with AsyncSession(self._engine, expire_on_commit=False) as session:
                yield session

    async def read_lagging(self, ask: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """Run a query that a replica may serve, so the result may be a moment old. Never for an authorization.

        Never for a user that can change the data: a writer expects to read its own write. While the replica is away,
        the database itself serves the query.

        Args:
            ask: reads, and returns what it read; perhaps called twice.

        Raises:
            StoreUnavailableError: as `read_session`.
        """
        if self._replica is not None:
            try:
                async with AsyncSession(self._replica, expire_on_commit=False) as session:
                    return await ask(session)
            except self._faults as error:
                log.warning("replica_unavailable", fault=type(error).__name__)
        async with self.read_session() as session:
            return await ask(session)

    @asynccontextmanager
    async def write_session(self) -> AsyncIterator[AsyncSession]:
        """A transaction that is committed at the end of the block, and rolled back when the block raises.

        Raises:
            StoreUnavailableError: as `read_session`.
        """
        with self.translate_faults():
            async with AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
                yield session

    @asynccontextmanager
    async def migration_connection(self) -> AsyncIterator[AsyncConnection]:
        """A writing transaction on a connection of its own, which may take as long as a migration does.

        Raises:
            StoreUnavailableError: as `read_session`.
        """
        engine = _create_engine(self._settings, self._settings.database_url, patience_s=MIGRATION_PATIENCE_S)
        try:
            with self.translate_faults():
                async with engine.execution_options(writes=True).begin() as connection:
                    yield connection
        finally:
            await engine.dispose()

    @property
    def engine(self) -> AsyncEngine:
        """The pool itself, for reading what is not a model's; its exceptions are not translated."""
        return self._engine

    async def check_connection(self) -> None:
        """Run a cheap query.

        Raises:
            StoreUnavailableError: it does not respond.
        """
        async with self.read_session() as session:
            await session.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Close every connection."""
        await self._engine.dispose()
        if self._replica is not None:
            await self._replica.dispose()

    @contextmanager
    def translate_faults(self) -> Iterator[None]:
        """Let the faults of a database that is away leave the block as `StoreUnavailableError`."""
        try:
            yield
        except self._faults as error:
            raise StoreUnavailableError(type(error).__name__) from error


def _faults_of(postgres: bool) -> tuple[type[Exception], ...]:  # noqa: FBT001 - which engine, not a switch
    """The exceptions that mean "the database is away", as opposed to "this statement is wrong"."""
    common = (OperationalError, InterfaceError, DisconnectionError, PoolTimeoutError, OSError)
    # Those of the drivers themselves come from a `RowQuery`.
    if not postgres:
        return (*common, sqlite3.OperationalError, sqlite3.InterfaceError)
    # 0.1 s at start that a service on SQLite does not pay.
    import asyncpg  # type: ignore[import-untyped] # noqa: PLC0415 - as said

    return (*common, asyncpg.PostgresConnectionError, asyncpg.CannotConnectNowError, asyncpg.InterfaceError)


def _create_engine(settings: ServiceSettings, url: str, *, patience_s: float, read_only: bool = False) -> AsyncEngine:
    common: dict[str, Any] = {
        "pool_size": settings.pool_size,
        "max_overflow": 0,
        "pool_timeout": settings.pool_wait_s,
        "hide_parameters": True,  # an error must not carry a password hash into a log
    }
    if make_url(url).get_backend_name() == "postgresql":
        limits: dict[str, Any] = {"timeout": PATIENCE_S, "command_timeout": patience_s}
        if read_only:
            limits["server_settings"] = {"default_transaction_read_only": "on"}
        engine = create_async_engine(url, connect_args=limits, **common)
        event.listen(engine.sync_engine, "checkout", _postgres_checked_out)
        return engine
    if not read_only:
        _make_file(url)
    engine = create_async_engine(url, connect_args={"timeout": patience_s}, pool_reset_on_return=None, **common)
    event.listen(engine.sync_engine, "connect", _sqlite_connected)
    event.listen(engine.sync_engine, "reset", _sqlite_reset)
    event.listen(engine.sync_engine, "begin", _sqlite_begin)
    if read_only:
        event.listen(engine.sync_engine, "connect", _sqlite_read_only)
    return engine


def _postgres_checked_out(connection: Any, _: object, __: object) -> None:  # noqa: ANN401 - as `_sqlite_connected`
    # The driver has seen the end of the connection, or knows no more than a query of ours would find out: a connection
    # that is cut off without an end lets that query wait as long as the statement itself.
    if connection.driver_connection.is_closed():
        raise DisconnectionError("the server has closed it")  # the pool makes another one


def _make_file(url: str) -> None:
    file = make_url(url).database
    if file and file != ":memory:":
        try:
            Path(file).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Made here, so that no other account can read it; SQLite gives the files beside it the same mode.
            os.close(os.open(file, os.O_RDONLY | os.O_CREAT, 0o600))
        except OSError as error:
            raise ConfigurationError(f"no folder or file can be made for the database: {error.strerror}") from error


def _sqlite_connected(connection: Any, _: object) -> None:  # noqa: ANN401 - the driver's connection, by SQLAlchemy's hook
    # The driver would begin transactions by itself, late, and commit before DDL; `_sqlite_begin` does it instead.
    connection.isolation_level = None
    cursor = connection.cursor()
    _switch_to_wal(cursor)
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _sqlite_reset(connection: Any, _: object, state: PoolResetState) -> None:  # noqa: ANN401 - as `_sqlite_connected`
    # The pool would roll back each connection that it gets back, which is a turn of its thread, though sessions have
    # done so themselves and a `RowQuery` begins nothing.
    if not state.terminate_only and connection.driver_connection.in_transaction:
        connection.rollback()


def _switch_to_wal(cursor: Any) -> None:  # noqa: ANN401 - as `_sqlite_connected`
    # Of several that do this to a new file at once, some fail without waiting; so these wait for the others' lock.
    for _ in range(_WAL_TRIES):
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("COMMIT")
        else:
            return
    cursor.execute("PRAGMA journal_mode = WAL")


def _sqlite_read_only(connection: Any, _: object) -> None:  # noqa: ANN401 - as `_sqlite_connected`
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only = ON")
    cursor.close()


def _sqlite_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
