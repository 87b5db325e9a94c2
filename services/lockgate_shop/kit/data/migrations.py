"""Bringing a database to the schema that the code expects, at start, also when several replicas start at once."""

from __future__ import annotations

import importlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from lockgate_shop.kit.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import MetaData
    from sqlalchemy.engine import Connection

    from lockgate_shop.kit.data.database import Database


@dataclass(frozen=True, slots=True)
class Schema:
    """Where a service's migrations lie, and what they lead to.

    Attributes:
        service: its name; the version table is called after it, so that services may share a PostgreSQL database.
        head: the newest revision. Said here as well, so that a start with nothing to do need not import Alembic.
        metadata: the tables as the models declare them.
    """

    service: str
    head: str
    metadata: MetaData

    @property
    def version_table(self) -> str:
        """The table that holds the revision a database is at."""
        return f"{self.service}_alembic_version"

    def alembic_config(self) -> Config:
        """What Alembic needs to find the migrations."""
        config = importlib.import_module("alembic.config").Config()
        package = importlib.import_module(f"lockgate_shop.{self.service}.migrations")
        config.set_main_option("script_location", str(Path(str(package.__file__)).parent))
        config.attributes["schema"] = self
        return config  # type: ignore[no-any-return] # imported late, see `head`


async def migrate_database(database: Database, schema: Schema) -> bool:
    """Upgrade to `schema.head`; whether there was anything to do.

    One transaction, under a lock that other replicas wait for: the write lock on SQLite, an advisory lock on
    PostgreSQL. Both end with the transaction, also when the process is killed.

    Raises:
        StoreUnavailableError: the database does not answer.
        ConfigurationError: the database belongs to a newer version.
    """
    await database.check_connection()
    if await _current_revision(database, schema) == schema.head:
        return False
    async with database.migration_connection() as connection:
        if database.is_postgres:
            lock = zlib.crc32(schema.version_table.encode())
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})
        await connection.run_sync(_upgrade_schema, schema)
    return True


async def _current_revision(database: Database, schema: Schema) -> str | None:
    async with database.engine.connect() as connection:
        try:
            found = await connection.execute(text(f"SELECT version_num FROM {schema.version_table}"))  # noqa: S608 - our name
        except (OperationalError, ProgrammingError):  # no such table: a new database
            return None
        return found.scalar()


def _upgrade_schema(connection: Connection, schema: Schema) -> None:
    config = schema.alembic_config()
    config.attributes["connection"] = connection
    command: Any = importlib.import_module("alembic.command")
    refused: type[Exception] = importlib.import_module("alembic.util.exc").CommandError
    try:
        command.upgrade(config, "head")
    except refused as error:
        raise ConfigurationError(f"the database is at a revision that this version does not know: {error}") from error


def run_environment(context: Any) -> None:  # noqa: ANN401 - alembic.context, a module that poses as an object
    """What each service's `env.py` calls: run the migrations on the connection that was handed over."""
    schema: Schema = context.config.attributes["schema"]
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=schema.metadata,
        version_table=schema.version_table,
        render_as_batch=True,
    )
    with context.begin_transaction():
        context.run_migrations()
