from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.domain.collections import IndexState, SpaceSpec
from app.domain.modality import Modality
from app.domain.search import Branch, SearchPlan, Strategy
from app.errors import NotFound
from app.store import index_builder as module
from app.store.collections import CollectionStore
from app.store.indexes import IndexStore
from app.store.items import ItemStore
from app.store.search import SearchStore
from tests.store.factories import MODEL, a_collection, an_item, reloaded, unit_vectors

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.domain.items import NewItem
    from app.store.database import Database


@pytest.fixture
def indexes(database: Database) -> IndexStore:
    return IndexStore(database)


async def states(database: Database, collection: Collection) -> tuple[IndexState, list[bool]]:
    valid = await database.pool.fetch(
        "SELECT indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid "
        f"WHERE relname LIKE 'vectors\\_s{collection.space.key}\\_m%hnsw'"
    )
    state = (await reloaded(database, collection)).space.index_state
    return state, [row["indisvalid"] for row in valid]


async def test_build_makes_one_index_per_modality(database: Database, indexes: IndexStore) -> None:
    collection = await a_collection(database)
    assert await indexes.build(collection)
    assert await states(database, collection) == (IndexState.READY, [True] * 3)
    assert await indexes.build(collection)  # nothing left to do
    raw = await a_collection(database, SpaceSpec(None, 8))
    assert await indexes.build(raw)
    assert await states(database, raw) == (IndexState.READY, [True])


async def test_what_a_crash_left_is_built_again(database: Database, indexes: IndexStore) -> None:
    collection = await a_collection(database)
    await indexes.build(collection)
    key = collection.space.key
    await database.pool.execute("UPDATE spaces SET index_state = 'building' WHERE key = $1", key)
    await database.pool.execute(
        "UPDATE pg_index SET indisvalid = false "
        f"WHERE indexrelid = 'vectors_s{key}_m1_g1_hnsw'::regclass"
    )
    assert await states(database, collection) == (IndexState.BUILDING, [False, True, True])
    assert await indexes.build(collection)
    assert await states(database, collection) == (IndexState.READY, [True] * 3)


async def test_a_build_that_fails_leaves_the_state_none(
    database: Database, indexes: IndexStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = await a_collection(database)
    monkeypatch.setattr(module, "M", 1000)
    with pytest.raises(Exception, match="out of bounds"):
        await indexes.build(collection)
    assert await states(database, collection) == (IndexState.NONE, [])


async def test_a_build_that_is_cancelled_can_be_done_again(
    database: Database, indexes: IndexStore
) -> None:
    collection = await a_collection(database, replace(MODEL, dimensions=256))
    vectors = unit_vectors(3000, 256)
    await ItemStore(database).put(
        collection, [an_item(f"i{n}", vector) for n, vector in enumerate(vectors)]
    )
    for seconds in (0.02, 0.1, 0.3):
        building = asyncio.create_task(indexes.build(collection))
        await asyncio.sleep(seconds)
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)
        state, _ = await states(database, collection)
        assert state is (IndexState.NONE if building.cancelled() else IndexState.READY)
    assert await indexes.build(collection)
    assert await states(database, collection) == (IndexState.READY, [True] * 3)


async def test_one_process_builds(database: Database, indexes: IndexStore) -> None:
    collection = await a_collection(database)
    results = await asyncio.gather(*(indexes.build(collection) for _ in range(4)))
    assert any(results)
    assert await states(database, collection) == (IndexState.READY, [True] * 3)


async def test_more_dimensions_than_an_index_takes(database: Database, indexes: IndexStore) -> None:
    collection = await a_collection(database, SpaceSpec(None, 4001))
    assert not await indexes.build(collection)
    assert await states(database, collection) == (IndexState.NONE, [])


async def test_a_deleted_collection_is_not_found(database: Database, indexes: IndexStore) -> None:
    collection = await a_collection(database)
    store = CollectionStore(database)
    await store.delete("default", collection.id)
    await store.drop_leftovers()
    with pytest.raises(NotFound):
        await indexes.build(collection)


async def test_building_while_others_write_and_search(
    database: Database, indexes: IndexStore
) -> None:
    collection = await a_collection(database, replace(MODEL, dimensions=64))
    items, search = ItemStore(database), SearchStore(database)
    vectors = unit_vectors(4000, 64)

    def batch(start: int, stop: int) -> list[NewItem]:
        return [an_item(f"i{n}", vectors[n]) for n in range(start, stop)]

    await items.put(collection, batch(0, 3000))
    building = asyncio.create_task(indexes.build(collection))
    written = 3000
    while written < 4000:
        await items.put(collection, batch(written, written + 20))
        written += 20
        query = vectors[written - 1]
        plan = SearchPlan(query, (Branch(Modality.TEXT),), 1)
        (hit,) = (await search.search(collection, plan)).hits
        assert hit.item.id == f"i{written - 1}"  # what was written is found at once
    assert await building
    collection = await reloaded(database, collection)
    found = 0
    for n in range(0, 4000, 40):
        plan = SearchPlan(vectors[n], (Branch(Modality.TEXT),), 10, strategy=Strategy.HNSW)
        hits = {hit.item.id for hit in (await search.search(collection, plan)).hits}
        best = np.argsort(-(vectors @ vectors[n]))[:10]
        found += len(hits & {f"i{b}" for b in best})
    assert found / 1000 >= 0.95
