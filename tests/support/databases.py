"""New databases for tests of the services, on SQLite and on PostgreSQL."""

from __future__ import annotations

import secrets
from collections import defaultdict
from typing import TYPE_CHECKING

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.engine import make_url

from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.data.migrations import migrate_database
from lockgate_shop.kit.settings import ServiceSettings
from lockgate_shop.orders.models import SCHEMA as ORDERS
from lockgate_shop.products.models import SCHEMA as PRODUCTS
from lockgate_shop.users.models import SCHEMA as USERS

if TYPE_CHECKING:
    from pathlib import Path

SCHEMAS = {schema.service: schema for schema in (USERS, PRODUCTS, ORDERS)}


class Databases:
    """A new database for each service of a test, on one engine.

    Migrating costs a tenth of a second. So on SQLite it is done once, and the file copied; on PostgreSQL a database is
    emptied and used again.

    Args:
        folder: for the files of SQLite.
        cluster: the URL of a PostgreSQL server; None for SQLite.
        migrated: kept over tests: by service, the file's bytes, or the names of unused databases.
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
    await migrate_database(database, SCHEMAS[service])
    await database.close()
