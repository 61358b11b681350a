from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from app.errors import InvalidInput, NotFound, OmnivecError, Unavailable
from app.store.collections import CollectionStore
from app.store.database import Database
from app.store.errors import translated
from app.store.items import ItemStore
from tests.store.factories import MODEL, a_collection, an_item

if TYPE_CHECKING:
    from app.settings import Settings
    from tests.servers.postgres import PostgresServer


async def test_check_names_versions_and_revision(database: Database) -> None:
    status = await database.check()
    assert int(status.server_version.split(".")[0]) >= 16
    assert tuple(map(int, status.pgvector_version.split(".")[:2])) >= (0, 8)
    assert status.up_to_date


async def test_without_migration_an_empty_database_is_unavailable(
    postgres: PostgresServer, database_settings: Settings
) -> None:
    url = await postgres.create_database()
    empty = replace(database_settings.database, url=url, migrate=False)
    with pytest.raises(Unavailable, match="omnivec migrate"):
        await Database.open(replace(database_settings, database=empty))


async def test_a_server_that_does_not_answer_is_unavailable(database_settings: Settings) -> None:
    nowhere = replace(database_settings.database, url="postgresql://nobody@127.0.0.1:1/nothing")
    with pytest.raises(Unavailable) as caught:
        await Database.open(replace(database_settings, database=nowhere))
    assert caught.value.service == "database"


async def test_lost_connections_are_unavailable_and_then_replaced(
    database: Database, postgres: PostgresServer
) -> None:
    collection = await a_collection(database)
    name = database.url.split("/")[3].split("?")[0]
    await postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await postgres.execute(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    )
    store = CollectionStore(database)
    for _ in range(3):
        with pytest.raises(Unavailable):
            await store.get("default", collection.id)
        with pytest.raises(Unavailable):
            await ItemStore(database).put(collection, [an_item("a")])
        with pytest.raises(Unavailable):
            await store.create("default", "another", None, MODEL)
        with pytest.raises(Unavailable):
            await database.check()
    await postgres.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert await store.get("default", collection.id) == collection
    assert await store.create("default", "another", None, MODEL)


async def test_a_statement_that_takes_too_long_is_unavailable(database_settings: Settings) -> None:
    hasty = replace(database_settings.database, timeout=0.1)
    database = await Database.open(replace(database_settings, database=hasty))
    with pytest.raises(Unavailable), translated():
        await database.pool.execute("SELECT pg_sleep(5)")
    await database.close()


async def test_errors_of_ours_are_not_blamed_on_the_database(database: Database) -> None:
    with pytest.raises(OmnivecError) as caught, translated():
        await database.pool.execute("SELECT nonsense")
    assert not isinstance(caught.value, Unavailable | InvalidInput | NotFound)


async def test_a_closed_pool_is_unavailable(database_settings: Settings) -> None:
    database = await Database.open(database_settings)
    await database.close()
    with pytest.raises(Unavailable):
        await CollectionStore(database).get("default", "col_a")


async def test_cancellation_leaves_nothing_half_written(database: Database) -> None:
    collection = await a_collection(database)
    items = ItemStore(database)
    for delay in (0.0, 0.001, 0.002, 0.005, 0.01):
        task = asyncio.create_task(items.put(collection, [an_item(f"{i}") for i in range(300)]))
        await asyncio.sleep(delay)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        stored, total = await items.list(collection, limit=1000, offset=0)
        assert total in {0, 300}
        assert len(stored) == total
        assert len(await items.vectors(collection, [item.id for item in stored])) == total
