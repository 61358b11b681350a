"""Fields and tuning through the engine, and indexes that come by themselves."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.collections import IndexKind, IndexState, SearchTuning
from app.domain.fields import FieldState, FieldType
from app.engine import housekeeping
from app.engine.housekeeping import Housekeeper
from app.engine.indexes import IndexAdministration
from app.engine.recent import RecentCollections
from app.errors import InvalidInput, NotFound
from app.settings import SearchSettings, Settings
from app.store.collections import CollectionStore
from app.store.fields import FieldIndexStore
from app.store.indexes import IndexStore
from app.store.names import vectors_table
from app.store.outbox import Outbox
from tests.engine.factories import a_collection, put, random_vectors, reloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from app.domain.collections import Collection
    from app.store.database import Database


class NoMedia:
    async def delete(self, keys: list[str]) -> None: ...


def a_housekeeper(database: Database, settings: Settings, index_quiet: float) -> Housekeeper:
    settings = replace(
        settings,
        search=SearchSettings(exact_rows=50, hnsw_rows=100, fresh_rows=40, index_quiet=index_quiet),
        media=replace(settings.media, sweep_interval=0.05),
    )
    media: Any = NoMedia()
    return Housekeeper(
        settings,
        media,
        CollectionStore(database),
        Outbox(database),
        IndexStore(database),
        FieldIndexStore(database),
    )


@pytest.fixture
async def housekeeper(
    database: Database, database_settings: Settings
) -> AsyncIterator[Housekeeper]:
    made = a_housekeeper(database, database_settings, index_quiet=0.0)
    yield made
    await made.close()


@pytest.fixture
async def under_load(
    database: Database, database_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Housekeeper]:
    """One that never sees a collection at rest."""
    monkeypatch.setattr(housekeeping, "POLL", 0.05)
    made = a_housekeeper(database, database_settings, index_quiet=1000.0)
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


async def test_what_is_written_later_is_indexed_when_writing_pauses(
    database: Database, housekeeper: Housekeeper, collection: Collection
) -> None:
    store = IndexStore(database)
    assert await store.build(collection)
    more = random_vectors(15, seed=1)
    await put(database, collection, {f"new {n}": vector for n, vector in enumerate(more[:4])})
    await asyncio.wait_for(considered(housekeeper, await reloaded(database, collection)), 20)
    current = await reloaded(database, collection)
    assert (current.space.indexed, await store.fresh(current, current.space, 99)) == ((1,), 4)
    await put(database, collection, {f"newer {n}": vector for n, vector in enumerate(more)})
    housekeeper.start()  # as after a crash: whatever was written and when

    async def indexed() -> bool:
        return (await reloaded(database, collection)).space.indexed == (1, 2)

    await until(indexed)
    current = await reloaded(database, collection)
    assert await store.fresh(current, current.space, 99) == 0


async def test_under_load_only_what_is_too_much_is_indexed(
    database: Database, under_load: Housekeeper, collection: Collection
) -> None:
    store = IndexStore(database)
    assert await store.build(collection)
    await put(database, collection, {str(n): v for n, v in enumerate(random_vectors(40, 1))})
    under_load.consider_index(await reloaded(database, collection))
    await asyncio.sleep(0.5)
    assert (await reloaded(database, collection)).space.indexed == (1,)
    await put(database, collection, {"one": random_vectors(1, 2)[0]})

    async def indexed() -> bool:
        return (await reloaded(database, collection)).space.indexed == (1, 2)

    await until(indexed)


async def test_a_new_tuning_does_not_wait_for_the_load_to_end(
    database: Database, under_load: Housekeeper, collection: Collection
) -> None:
    under_load.consider_index(collection)
    await asyncio.sleep(0.2)
    assert (await reloaded(database, collection)).space.index_state is IndexState.NONE
    under_load.consider_index(collection, anew=True)

    async def ready() -> bool:
        return (await reloaded(database, collection)).space.index_state is IndexState.READY

    await until(ready)


async def considered(housekeeper: Housekeeper, collection: Collection) -> None:
    """Wait for what a write has set off."""
    housekeeper.consider_index(collection)
    name = f"index {collection.space.key}"
    await asyncio.gather(*(task for task in asyncio.all_tasks() if task.get_name() == name))


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
