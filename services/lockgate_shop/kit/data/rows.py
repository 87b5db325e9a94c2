"""Single rows, read past the ORM: for the few look-ups that every login and every refresh makes.

SQLAlchemy compiles the statement once and says how each column is read, so that a value means here what it means in a
model. The driver is asked by itself, on a connection of the same pool and outside any transaction: one statement is
one. A session takes eight turns of the connection's thread for it on SQLite, and BEGIN and ROLLBACK on PostgreSQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy.util import await_only, greenlet_spawn

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy import Select
    from sqlalchemy.engine import Dialect
    from sqlalchemy.types import TypeEngine

    from lockgate_shop.kit.data.database import Database


class RowQuery:
    """A SELECT that finds one row or none.

    Args:
        database: where it reads; never the replica.
        statement: with a `bindparam` for each value, all of them different.
    """

    def __init__(self, database: Database, statement: Select[Any]) -> None:
        dialect = database.engine.dialect
        compiled = statement.compile(dialect=dialect)
        self._database: Final = database
        self._engine: Final = database.engine.sync_engine
        self._text: Final = compiled.string
        self._writers: Final = [_writer(compiled.binds[name].type, dialect) for name in compiled.positiontup or ()]
        self._readers: Final = [_reader(column.type, dialect) for column in statement.selected_columns]

    async def fetch_row(self, *values: object) -> Sequence[Any] | None:
        """The columns of the row, as the statement names them; None when there is none.

        Args:
            values: in the order in which the statement uses them.

        Raises:
            StoreUnavailableError: the database is away, or no connection became free in time.
        """
        bound = [write(value) if write else value for write, value in zip(self._writers, values, strict=True)]
        with self._database.translate_faults():
            # The pool is made for code that blocks, so what uses it runs in one of SQLAlchemy's coroutines.
            row = await greenlet_spawn(self._fetch, bound)
        if row is None:
            return None
        return [read(value) if read else value for read, value in zip(self._readers, row, strict=True)]

    def _fetch(self, bound: list[Any]) -> Sequence[Any] | None:
        connection = self._engine.raw_connection()
        try:
            row = await_only(self._ask(connection.driver_connection, bound))
        except BaseException:
            # It may be broken, or in the middle of a reply.
            connection.invalidate()
            raise
        connection.close()
        return row

    async def _ask(self, driver: Any, bound: list[Any]) -> Sequence[Any] | None:  # noqa: ANN401 - of either driver
        if self._database.is_postgres:
            row: Sequence[Any] | None = await driver.fetchrow(self._text, *bound)
            return row
        rows: Sequence[Sequence[Any]] = await driver.execute_fetchall(self._text, bound)
        return rows[0] if rows else None


def _writer(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _reader(kind: TypeEngine[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)
