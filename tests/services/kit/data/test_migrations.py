from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import insert, text

from lockgate_shop.kit.data.database import Database
from lockgate_shop.kit.data.migrations import Schema, migrate_database
from lockgate_shop.kit.errors import ConfigurationError
from lockgate_shop.kit.settings import ServiceSettings
from lockgate_shop.orders.models import SCHEMA as ORDERS
from lockgate_shop.products.models import SCHEMA as PRODUCTS
from lockgate_shop.products.models import Product
from lockgate_shop.products.store import Filter, ProductStore
from lockgate_shop.users.models import SCHEMA as USERS

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from tests.support.databases import Databases

SCHEMAS = pytest.mark.parametrize("schema", [USERS, PRODUCTS, ORDERS], ids=lambda schema: schema.service)


async def database_for(databases: Databases, schema: Schema) -> Database:
    return Database(ServiceSettings(database_url=await databases.empty(schema.service)))


@SCHEMAS
def test_the_head_in_the_code_is_the_newest_migration(schema: Schema) -> None:
    assert ScriptDirectory.from_config(schema.alembic_config()).get_current_head() == schema.head


@SCHEMAS
async def test_a_new_database_is_migrated_once(databases: Databases, schema: Schema) -> None:
    database = await database_for(databases, schema)
    assert await migrate_database(database, schema)
    assert not await migrate_database(database, schema)
    await database.close()


@SCHEMAS
async def test_migrations_make_what_the_models_declare(databases: Databases, schema: Schema) -> None:
    database = await database_for(databases, schema)
    await migrate_database(database, schema)

    def differences(connection: Connection) -> object:
        options = {"version_table": schema.version_table, "compare_type": True}
        return compare_metadata(MigrationContext.configure(connection, opts=options), schema.metadata)

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await database.close()


@SCHEMAS
async def test_replicas_that_start_at_once_migrate_once(databases: Databases, schema: Schema) -> None:
    url = await databases.empty(schema.service)
    replicas = [Database(ServiceSettings(database_url=url)) for _ in range(4)]
    await asyncio.gather(*(migrate_database(replica, schema) for replica in replicas))
    async with replicas[0].read_session() as session:
        versions = await session.execute(text(f"SELECT version_num FROM {schema.version_table}"))  # noqa: S608 - our name
        assert versions.all() == [(schema.head,)]
    for replica in replicas:
        await replica.close()


async def test_a_database_of_a_newer_version_is_left_alone(databases: Databases) -> None:
    database = await database_for(databases, USERS)
    await migrate_database(database, USERS)
    async with database.write_session() as session:
        await session.execute(text("UPDATE users_alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="does not know"):
        await migrate_database(database, USERS)
    async with database.read_session() as session:
        assert (await session.execute(text("SELECT version_num FROM users_alembic_version"))).scalar() == "9999"
    await database.close()


async def test_products_of_an_older_version_are_found_after_the_upgrade(databases: Databases) -> None:
    database = await database_for(databases, PRODUCTS)

    def first_version(connection: Connection) -> None:
        config = PRODUCTS.alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")

    async with database.migration_connection() as connection:
        await connection.run_sync(first_version)
        now = datetime(2026, 1, 1, tzinfo=UTC)
        row = {"id": uuid4(), "name": "Weiße KANNE", "description": "Alt", "price_minor": 1, "currency": "EUR"}
        await connection.execute(insert(Product).values(**row, stock=1, created_at=now, updated_at=now))
    assert await migrate_database(database, PRODUCTS)
    found = await ProductStore(database).list_products(Filter(words=("weisse", "alt")), 1, None, may_lag=False)
    assert [product.name for product in found] == ["Weiße KANNE"]
    await database.close()
