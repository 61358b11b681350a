from __future__ import annotations

import asyncio
from statistics import median
from typing import TYPE_CHECKING

import pytest

from app.domain.collections import IndexState, Metric, SpaceSpec, VectorPrecision
from app.domain.modality import Modality
from app.domain.search import Branch, SearchPlan
from app.errors import NameTaken, NotFound
from app.store import collections
from app.store.collections import CollectionStore
from app.store.items import ItemStore
from app.store.outbox import Outbox
from app.store.search import SearchStore
from tests.store.factories import MODEL, RAW, a_collection, an_item, reserved_item, unit_vectors

if TYPE_CHECKING:
    from app.store.database import Database


@pytest.fixture
def store(database: Database) -> CollectionStore:
    return CollectionStore(database)


async def tables_of(database: Database) -> int:
    query = (
        "SELECT count(*) FROM pg_class "
        "WHERE relkind = 'r' AND relname ~ '^(items_c|vectors_s)[0-9]+$'"
    )
    return int(await database.pool.fetchval(query))


async def test_create_returns_what_get_returns(store: CollectionStore) -> None:
    spec = SpaceSpec(None, 3, Metric.DOT, VectorPrecision.FLOAT32)
    created = await store.create("default", "Bücher", "all of them", spec)
    assert created == await store.get("default", created.id)
    assert created.id.startswith("col_")
    assert (created.name, created.description) == ("Bücher", "all of them")
    assert (created.space.spec, created.space.index_state) == (spec, IndexState.NONE)
    assert created.item_count == 0


async def test_a_name_is_unique_in_its_project(store: CollectionStore, database: Database) -> None:
    await database.pool.execute("INSERT INTO projects (id) VALUES ('other')")
    await store.create("default", "one", None, MODEL)
    await store.create("other", "one", None, MODEL)
    tables = await tables_of(database)
    with pytest.raises(NameTaken):
        await store.create("default", "one", None, MODEL)
    assert await tables_of(database) == tables


async def test_of_two_creations_at_once_one_gets_the_name(store: CollectionStore) -> None:
    attempts = (store.create("default", "one", None, MODEL) for _ in range(5))
    results = await asyncio.gather(*attempts, return_exceptions=True)
    assert sum(isinstance(result, NameTaken) for result in results) == 4


async def test_an_unknown_project_is_not_found(store: CollectionStore) -> None:
    with pytest.raises(NotFound):
        await store.create("nobody", "one", None, MODEL)


async def test_another_projects_collection_is_not_found(store: CollectionStore) -> None:
    created = await store.create("default", "one", None, MODEL)
    for call in (store.get, store.delete, store.update):
        with pytest.raises(NotFound):
            await call("other", created.id)


async def test_list_pages_in_the_order_of_creation(store: CollectionStore) -> None:
    made = [await store.create("default", f"c{i}", None, MODEL) for i in range(5)]
    assert await store.list("default", limit=2, offset=1) == (made[1:3], 5)
    assert await store.list("default", limit=2, offset=9) == ([], 5)
    assert await store.list("default", limit=2, offset=0, name="c3") == ([made[3]], 1)
    assert await store.list("nobody", limit=2, offset=0) == ([], 0)


async def test_update_changes_only_what_is_given(store: CollectionStore) -> None:
    created = await store.create("default", "one", "first", MODEL)
    await store.create("default", "taken", None, MODEL)
    renamed = await store.update("default", created.id, name="uno")
    assert (renamed.name, renamed.description) == ("uno", "first")
    assert renamed.updated_at > created.updated_at
    cleared = await store.update("default", created.id, description=None)
    assert (cleared.name, cleared.description) == ("uno", None)
    assert await store.update("default", created.id) == cleared
    with pytest.raises(NameTaken):
        await store.update("default", created.id, name="taken")


async def test_deletion_is_seen_at_once_and_frees_the_name(
    store: CollectionStore, database: Database
) -> None:
    collection = await store.create("default", "one", None, MODEL)
    await store.delete("default", collection.id)
    with pytest.raises(NotFound):
        await store.get("default", collection.id)
    with pytest.raises(NotFound):
        await store.delete("default", collection.id)
    with pytest.raises(NotFound):
        await ItemStore(database).put(collection, [an_item("a")])
    await store.create("default", "one", None, MODEL)


@pytest.mark.parametrize("at_once", [0, 10_000])
async def test_deletion_queues_all_media(
    store: CollectionStore, database: Database, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collections, "QUEUE_AT_ONCE", at_once)
    collection = await a_collection(database)
    await ItemStore(database).put(
        collection, [await reserved_item(database, "a", "m/a"), an_item("b")]
    )
    await store.delete("default", collection.id)
    assert await store.drop_leftovers() == 1
    assert await Outbox(database).pending() == 1


async def test_leftovers_are_dropped_once(store: CollectionStore, database: Database) -> None:
    kept = await a_collection(database)
    for spec in (MODEL, RAW):
        await store.delete("default", (await a_collection(database, spec)).id)
    assert await tables_of(database) == 6
    assert await store.drop_leftovers() == 2
    assert await store.drop_leftovers() == 0
    assert await tables_of(database) == 2
    assert await ItemStore(database).list(kept, limit=1, offset=0) == ([], 0)


async def test_stale_collections_are_not_found_after_the_drop(
    store: CollectionStore, database: Database
) -> None:
    collection = await a_collection(database)
    await store.delete("default", collection.id)
    await store.drop_leftovers()
    items = ItemStore(database)
    plan = SearchPlan(unit_vectors(1)[0], (Branch(Modality.TEXT),), 1)
    for call in (
        items.put(collection, [an_item("a")]),
        items.list(collection, limit=1, offset=0),
        items.get(collection, ["a"]),
        items.vectors(collection, ["a"]),
        items.delete(collection, ["a"]),
        SearchStore(database).search(collection, plan),
    ):
        with pytest.raises(NotFound, match=collection.id):
            await call


async def test_a_drop_waits_for_nobody(store: CollectionStore, database: Database) -> None:
    """A long transaction elsewhere does not hold up a drop, nor does a drop hold up others."""
    doomed, busy = await a_collection(database), await a_collection(database)
    items = ItemStore(database)
    await items.put(busy, [an_item("a")])
    reader = await database.connect()
    async with reader.transaction():
        await reader.fetch(f"SELECT * FROM items_c{busy.key}")
        await store.delete("default", doomed.id)
        async with asyncio.timeout(5):
            assert await store.drop_leftovers() == 1
            await items.put(busy, [an_item("b")])
            await store.create("default", "meanwhile", None, MODEL)
    await reader.close()


async def test_tables_that_are_still_read_are_dropped_later(
    store: CollectionStore, database: Database
) -> None:
    collection = await a_collection(database)
    reader = await database.connect()
    async with reader.transaction():
        await reader.fetch(f"SELECT * FROM items_c{collection.key}")
        await store.delete("default", collection.id)
        assert await store.drop_leftovers() == 0
    await reader.close()
    assert await store.drop_leftovers() == 1


async def test_vectors_that_fit_a_page_lie_in_the_row(database: Database) -> None:
    async def storage(dimensions: int, precision: VectorPrecision) -> str:
        collection = await a_collection(
            database, SpaceSpec(None, dimensions, Metric.DOT, precision)
        )
        await ItemStore(database).put(
            collection, [an_item("a", unit_vectors(1, dimensions)[0], None)]
        )
        kind: str = await database.pool.fetchval(
            "SELECT attstorage::text FROM pg_attribute "
            f"WHERE attrelid = 'vectors_s{collection.space.key}'::regclass "
            "AND attname = 'embedding'"
        )
        return kind

    assert await storage(4000, VectorPrecision.FLOAT16) == "p"
    assert await storage(4001, VectorPrecision.FLOAT16) == "e"
    assert await storage(2000, VectorPrecision.FLOAT32) == "p"
    assert await storage(4096, VectorPrecision.FLOAT32) == "e"


async def test_many_collections_are_made_in_constant_time_each(store: CollectionStore) -> None:
    clock = asyncio.get_running_loop().time
    seconds = []
    for n in range(1000):
        started = clock()
        await store.create("default", f"c{n}", None, MODEL)
        seconds.append(clock() - started)
    assert (await store.list("default", limit=1, offset=0))[1] == 1000
    first, last = median(seconds[50:150]), median(seconds[-100:])
    assert last < 3 * first + 0.02
