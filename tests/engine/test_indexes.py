"""Fields and tuning through the engine, and indexes that come by themselves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.collections import IndexKind, IndexState, SearchTuning
from app.domain.fields import FieldState, FieldType
from app.engine.housekeeping import Housekeeper
from app.engine.indexes import IndexAdministration
from app.engine.recent import RecentCollections
from app.errors import InvalidInput, NotFound
from app.store.collections import CollectionStore
from app.store.fields import FieldIndexStore
from app.store.indexes import IndexStore
from app.store.names import vectors_table
from app.store.outbox import Outbox
from tests.engine.factories import a_collection, put, random_vectors, reloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from app.domain.collections import Collection
    from app.settings import Settings
    from app.store.database import Database


class NoMedia:
    async def delete(self, keys: list[str]) -> None: ...


@pytest.fixture
async def housekeeper(
    database: Database, database_settings: Settings
) -> AsyncIterator[Housekeeper]:
    settings = replace(
        database_settings,
        search=replace(database_settings.search, exact_rows=50, hnsw_rows=100, index_quiet=0.0),
        media=replace(database_settings.media, sweep_interval=0.05),
    )
    media: Any = NoMedia()
    made = Housekeeper(
        settings,
        media,
        CollectionStore(database),
        Outbox(database),
        IndexStore(database),
        FieldIndexStore(database),
    )
    yield made
    await made.close()


@pytest.fixture
def indexes(database: Database, housekeeper: Housekeeper) -> IndexAdministration:
    store = CollectionStore(database)
    fields, vectors = FieldIndexStore(database), IndexStore(database)
    return IndexAdministration(store, RecentCollections(store), fields, vectors, housekeeper)


@pytest.fixture
async def collection(database: Database) -> Collection:
    made = await a_collection(database)
    await put(database, made, {str(n): vector for n, vector in enumerate(random_vectors(200))})
    return await reloaded(database, made)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 (the database tells no one)
            await asyncio.sleep(0.02)


async def test_fields_are_declared_listed_and_dropped(
    indexes: IndexAdministration, collection: Collection
) -> None:
    made = await indexes.create_field(
        "default", collection.id, ("a",), FieldType.KEYWORD, options='{"x": 1}', wait=True
    )
    assert made.state is FieldState.READY
    assert await indexes.list_fields("default", collection.id) == (made,)
    await indexes.drop_field("default", collection.id, ("a",), wait=True)
    assert await indexes.list_fields("default", collection.id) == ()
    with pytest.raises(NotFound):
        await indexes.drop_field("default", collection.id, ("a",))
    with pytest.raises(NotFound):
        await indexes.create_field("other", collection.id, ("a",), FieldType.KEYWORD)


async def test_fields_declared_at_once_are_all_built(
    indexes: IndexAdministration, collection: Collection
) -> None:
    made = await asyncio.gather(
        *(
            indexes.create_field("default", collection.id, (name,), FieldType.FLOAT, wait=True)
            for name in "abcd"
        )
    )
    assert {field.state for field in made} == {FieldState.READY}


async def test_a_grown_collection_gets_its_index_by_itself(
    database: Database, housekeeper: Housekeeper, collection: Collection
) -> None:
    housekeeper.start()

    async def ready() -> bool:
        return (await reloaded(database, collection)).space.index_state is IndexState.READY

    await until(ready)


async def test_fields_left_unbuilt_are_built_later(
    database: Database, housekeeper: Housekeeper, collection: Collection
) -> None:
    await FieldIndexStore(database).declare(collection, ("a",), FieldType.KEYWORD)
    housekeeper.start()

    async def ready() -> bool:
        return (await reloaded(database, collection)).fields[0].state is FieldState.READY

    await until(ready)


async def test_tuning_makes_indexes_and_drops_them(
    database: Database, indexes: IndexAdministration, collection: Collection
) -> None:
    async def status() -> tuple[IndexState, IndexKind]:
        (only,) = await indexes.status("default", collection.id)
        return only.state, only.kind

    async def is_binary() -> bool:
        return await status() == (IndexState.READY, IndexKind.BINARY)

    async def is_gone() -> bool:
        return (await status())[0] is IndexState.NONE

    tuned = await indexes.tune("default", collection.id, SearchTuning(binary_rows=100))
    assert tuned.tuning.binary_rows == 100
    await until(is_binary)
    await indexes.tune("default", collection.id, SearchTuning(hnsw_rows=10_000))
    await until(is_gone)


async def test_the_last_of_two_tunings_counts_however_close_they_are(
    database: Database, indexes: IndexAdministration, collection: Collection
) -> None:
    async def has_an_index() -> bool:
        return bool(
            await database.pool.fetchval(
                "SELECT count(*) FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
                "JOIN pg_am ON pg_am.oid = relam "
                f"WHERE amname = 'hnsw' AND indrelid = '{vectors_table(collection.space.key)}'"
                "::regclass",
            )
        )

    async def is_gone() -> bool:
        (only,) = await indexes.status("default", collection.id)
        return only.state is IndexState.NONE and not await has_an_index()

    await indexes.tune("default", collection.id, SearchTuning(binary_rows=100))
    await indexes.tune("default", collection.id, SearchTuning(hnsw_rows=10_000))
    await asyncio.sleep(0.5)  # time for the first to be done, were it not undone
    await until(is_gone)


@pytest.mark.parametrize(
    "tuning", [SearchTuning(m=1), SearchTuning(ef_search=1001), SearchTuning(exact_rows=-1)]
)
async def test_tuning_has_bounds(
    indexes: IndexAdministration, collection: Collection, tuning: SearchTuning
) -> None:
    with pytest.raises(InvalidInput):
        await indexes.tune("default", collection.id, tuning)
