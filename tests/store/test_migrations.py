from __future__ import annotations

import asyncio
import sys
from subprocess import run
from typing import TYPE_CHECKING

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from app.settings import ROOT, Settings
from app.store import migrate, schema
from app.store.database import Database, admin_engine
from tests.store.factories import a_collection

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

    from tests.servers.postgres import PostgresServer


@pytest.fixture
async def url(postgres: PostgresServer) -> str:
    return await postgres.create_database()


@pytest.fixture
async def engine(url: str) -> AsyncIterator[AsyncEngine]:
    engine = admin_engine(url, Settings().database)
    yield engine
    await engine.dispose()


async def tables(engine: AsyncEngine) -> set[str]:
    query = (
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    async with engine.connect() as connection:
        return set((await connection.scalars(text(query))).all())


async def test_upgrade_brings_an_empty_database_to_head(engine: AsyncEngine) -> None:
    assert await migrate.current(engine) is None
    await migrate.migrate(engine)
    assert await migrate.current(engine) == migrate.head()
    assert await tables(engine) == {*schema.metadata.tables, "alembic_version"}


async def test_upgrade_twice_changes_nothing(engine: AsyncEngine) -> None:
    await migrate.migrate(engine)
    await migrate.migrate(engine)
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM projects")) == 1


async def test_downgrade_leaves_nothing_behind_and_upgrade_works_again(
    engine: AsyncEngine, database: Database
) -> None:
    await a_collection(database)
    await migrate.downgrade(database.engine, "base")
    assert await tables(database.engine) == {"alembic_version"}
    await migrate.migrate(database.engine)
    await a_collection(database)


async def test_schema_and_migrations_agree(database: Database) -> None:
    await a_collection(database)

    def differences(connection: Connection) -> list[object]:
        options = {
            "compare_type": True,
            "include_name": lambda name, kind, parents: (
                kind != "table" or name in schema.metadata.tables
            ),
        }
        context = MigrationContext.configure(connection, opts=options)
        return list(compare_metadata(context, schema.metadata))

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_processes_that_start_together_migrate_once(url: str, engine: AsyncEngine) -> None:
    program = """
import asyncio, sys
from dataclasses import replace
from app.settings import Settings
from app.store.database import Database

async def main():
    settings = Settings()
    settings = replace(settings, database=replace(settings.database, url=sys.argv[1]))
    database = await Database.open(settings)
    assert (await database.check()).up_to_date
    await database.close()

asyncio.run(main())
"""
    arguments = [sys.executable, "-W", "ignore", "-c", program, url]
    processes = (asyncio.to_thread(run, arguments, cwd=ROOT, check=False) for _ in range(3))
    assert [done.returncode for done in await asyncio.gather(*processes)] == [0, 0, 0]
    assert await migrate.current(engine) == migrate.head()
