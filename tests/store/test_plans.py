"""Searches by every strategy against brute force."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.domain import filters as f
from app.domain.collections import (
    Collection,
    IndexKind,
    IndexState,
    Metric,
    SearchTuning,
    SpaceSpec,
    VectorPrecision,
)
from app.domain.fields import FieldType
from app.domain.items import NewItem
from app.domain.modality import Modality
from app.domain.search import Branch, FilterFirst, SearchPlan, Strategy
from app.errors import NotFound
from app.store.collections import CollectionStore
from app.store.fields import FieldIndexStore
from app.store.indexes import IndexStore
from app.store.items import ItemStore
from app.store.search import SearchStore

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.domain.search import Found
    from app.store.database import Database

ROWS, DIMENSIONS = 1500, 16
RAW = (Branch(None),)
ALL = tuple(Branch(modality) for modality in Modality)
VECTORS = np.random.default_rng(3).normal(size=(ROWS, DIMENSIONS)).astype(np.float16)
QUERY = np.random.default_rng(4).normal(size=DIMENSIONS).astype(np.float32)


class Bench:
    """One filled collection: item `n` has vector `n` and metadata `{"n": n}`."""

    def __init__(self, database: Database, collection: Collection) -> None:
        self.database = database
        self.collection = collection
        self.rows = SearchStore(database)

    async def fill(self, vectors: NDArray[Any], modalities: Any = (None,)) -> None:
        items = [
            NewItem(str(n), modalities[n % len(modalities)], v, metadata=json.dumps({"n": n}))
            for n, v in enumerate(vectors.astype(np.float32))
        ]
        await ItemStore(self.database).put(self.collection, items)
        await self.refresh()

    async def refresh(self) -> None:
        store = CollectionStore(self.database)
        self.collection = await store.get("default", self.collection.id)

    async def index(self, kind: IndexKind = IndexKind.FLOAT16) -> None:
        assert await IndexStore(self.database).build(self.collection, kind=kind)
        await self.refresh()
        assert self.collection.space.index_state is IndexState.READY
        assert self.collection.space.index_kind is kind

    async def declare(self) -> None:
        fields = FieldIndexStore(self.database)
        await fields.declare(self.collection, ("n",), FieldType.INTEGER)
        await fields.build(self.collection)
        await self.refresh()

    async def search(self, plan: SearchPlan) -> Found:
        return await self.rows.search(self.collection, plan)

    async def ids(self, plan: SearchPlan) -> list[int]:
        return [int(hit.item.id) for hit in (await self.search(plan)).hits]


async def bench(database: Database, spec: SpaceSpec) -> Bench:
    collection = await CollectionStore(database).create("default", "search", None, spec)
    return Bench(database, collection)


@pytest.fixture
async def raw(database: Database) -> Bench:
    made = await bench(database, SpaceSpec(None, DIMENSIONS))
    await made.fill(VECTORS)
    return made


@pytest.fixture
async def indexed(raw: Bench) -> Bench:
    await raw.index()
    return raw


def nearest(metric: Metric, kept: NDArray[Any] | None = None) -> list[int]:
    wide, query = VECTORS.astype(np.float64), QUERY.astype(np.float16).astype(np.float64)
    match metric:
        case Metric.COSINE:
            scores = wide @ query / np.linalg.norm(wide, axis=1)
        case Metric.DOT:
            scores = wide @ query
        case Metric.EUCLIDEAN:
            scores = -np.linalg.norm(wide - query, axis=1)
        case Metric.MANHATTAN:
            scores = -np.abs(wide - query).sum(axis=1)
    order = [int(n) for n in np.argsort(-scores, kind="stable")]
    return order if kept is None else [n for n in order if kept[n]]


PLAN = SearchPlan(QUERY, RAW, limit=10)
HNSW = replace(PLAN, strategy=Strategy.HNSW, ef_search=400)


@pytest.mark.parametrize("metric", Metric)
@pytest.mark.parametrize("precision", VectorPrecision)
async def test_exact_and_indexed_searches_find_the_nearest(
    database: Database, metric: Metric, precision: VectorPrecision
) -> None:
    made = await bench(database, SpaceSpec(None, DIMENSIONS, metric, precision))
    await made.fill(VECTORS)
    query = QUERY.astype(np.float16).astype(np.float32)
    exact = await made.search(replace(PLAN, vector=query))
    assert exact.report.strategy is Strategy.EXACT
    assert [int(hit.item.id) for hit in exact.hits] == nearest(metric)[:10]
    await made.index()
    found = await made.search(replace(HNSW, vector=query, offset=3))
    assert found.report.strategy is Strategy.HNSW
    assert [int(hit.item.id) for hit in found.hits] == nearest(metric)[3:13]
    assert found.complete


async def test_a_binary_index_is_reranked_by_the_vectors_themselves(raw: Bench) -> None:
    await raw.index(IndexKind.BINARY)
    plan = replace(PLAN, strategy=Strategy.BINARY, ef_search=1000, walked=800)
    found = await raw.ids(plan)
    assert len(set(found) & set(nearest(Metric.COSINE)[:10])) >= 8
    assert found == [n for n in nearest(Metric.COSINE) if n in found]


async def test_an_index_of_another_kind_takes_the_place_of_the_first(raw: Bench) -> None:
    await raw.index()
    await raw.index(IndexKind.BINARY)
    names = await raw.database.pool.fetch(
        "SELECT indexname FROM pg_indexes WHERE tablename = $1",
        f"vectors_s{raw.collection.space.key}",
    )
    assert {row["indexname"].rpartition("_")[2] for row in names} == {"pkey", "generation", "bits"}


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.99])
async def test_filtered_searches_find_k_where_k_exist(
    indexed: Bench, *, declared: bool, share: float
) -> None:
    if declared:
        await indexed.declare()
    below = int(share * ROWS)
    plan = replace(
        HNSW,
        filter=f.Range(("n",), lt=below),
        walked=100,
        filter_first=FilterFirst(100, sample_first=not declared),
    )
    found = await indexed.search(plan)
    expected = nearest(Metric.COSINE, np.arange(ROWS) < below)[:10]
    assert [int(hit.item.id) for hit in found.hits] == expected
    assert found.complete
    few = below <= 100
    if not few:
        assert found.report.strategy is Strategy.HNSW
        assert found.report.estimated is not None
        assert 0.5 * below < found.report.estimated < 2 * below
    elif declared or found.report.strategy is Strategy.EXACT:
        assert found.report.strategy is Strategy.EXACT
        assert found.report.matching == below
        assert not found.report.matching_capped


async def test_an_index_that_finds_too_few_says_so(indexed: Bench) -> None:
    """Its walk ends after 20,000 rows, or here after all of them."""
    plan = replace(HNSW, filter=f.Range(("n",), lt=5), limit=10)
    found = await indexed.search(plan)
    assert not found.complete
    assert sorted(int(hit.item.id) for hit in found.hits) == [0, 1, 2, 3, 4]


async def test_a_cut_leaves_a_search_complete(indexed: Bench) -> None:
    best = (await indexed.search(PLAN)).hits[2].similarity
    for plan in (PLAN, HNSW):
        found = await indexed.search(replace(plan, least_rank=best))
        assert len(found.hits) == 3
        assert found.complete


async def test_excluded_items_and_vectors_asked_for(indexed: Bench) -> None:
    first, second = nearest(Metric.COSINE)[:2]
    for plan in (PLAN, HNSW):
        found = await indexed.search(
            replace(plan, exclude_ids=(str(first),), with_vectors=True, limit=1)
        )
        assert [hit.item.id for hit in found.hits] == [str(second)]
        vector = found.hits[0].vector
        assert vector is not None
        assert np.array_equal(vector, VECTORS[second].astype(np.float32))


async def test_modalities_rank_together_by_their_scores(database: Database) -> None:
    made = await bench(database, SpaceSpec("a-model", DIMENSIONS))
    unit = VECTORS / np.linalg.norm(VECTORS.astype(np.float32), axis=1, keepdims=True)
    await made.fill(unit, tuple(Modality))
    slopes = {Modality.IMAGE: 1.0, Modality.TEXT: 9.0, Modality.AUDIO: 3.0}
    branches = tuple(Branch(kind, slope, -slope / 4) for kind, slope in slopes.items())
    plan = replace(PLAN, branches=branches, vector=QUERY / np.linalg.norm(QUERY))
    exact = await made.ids(plan)
    await made.index()
    assert await made.ids(replace(plan, strategy=Strategy.HNSW, ef_search=400)) == exact
    texts = await made.ids(replace(plan, branches=branches[1:2]))
    kinds = tuple(Modality)
    assert {kinds[n % 3] for n in texts} == {Modality.TEXT}


async def test_a_search_with_an_old_view_of_the_collection_is_still_right(
    raw: Bench, database: Database
) -> None:
    old = raw.collection
    await raw.index()
    await raw.declare()
    plan = replace(PLAN, filter=f.Range(("n",), lt=700))
    found = await SearchStore(database).search(old, plan)
    expected = nearest(Metric.COSINE, np.arange(ROWS) < 700)[:10]
    assert [int(hit.item.id) for hit in found.hits] == expected
    await IndexStore(database).drop(raw.collection)
    assert await raw.ids(HNSW) == nearest(Metric.COSINE)[:10]  # sorted by hand


async def test_a_deleted_collection_never_answers(raw: Bench, database: Database) -> None:
    await CollectionStore(database).delete("default", raw.collection.id)
    with pytest.raises(NotFound):  # its tables are still there
        await raw.search(PLAN)
    await CollectionStore(database).drop_leftovers()
    with pytest.raises(NotFound):
        await raw.search(PLAN)


async def test_a_replaced_space_never_answers(raw: Bench, database: Database) -> None:
    copy = "INSERT INTO spaces (collection_key, name, dimensions, metric, precision) VALUES "
    other = await database.pool.fetchval(
        f"{copy} ($1, 'other', $2, 'cosine', 'float16') RETURNING key",
        raw.collection.key,
        DIMENSIONS,
    )
    await database.pool.execute(
        "UPDATE collections SET current_space = $2 WHERE key = $1", raw.collection.key, other
    )
    with pytest.raises(NotFound):
        await raw.search(PLAN)


async def test_an_empty_collection_is_no_missing_one(database: Database) -> None:
    made = await bench(database, SpaceSpec(None, DIMENSIONS))
    found = await made.search(PLAN)
    assert found.hits == []
    assert found.report.rows == 0


async def test_what_is_acknowledged_is_found_at_once(indexed: Bench, database: Database) -> None:
    """Four writers put, move and delete while an index is there; each finds its own at once."""
    items = ItemStore(database)

    async def write(writer: int) -> None:
        random = np.random.default_rng(100 + writer)
        for turn in range(15):
            vector = (3 * random.normal(size=DIMENSIONS)).astype(np.float32)
            name = f"w{writer}"
            await items.put(indexed.collection, [NewItem(name, None, vector)])
            for plan in (PLAN, replace(HNSW, ef_search=100)):
                found = await indexed.search(replace(plan, vector=vector, limit=1))
                assert found.hits[0].item.id == name, turn
            await items.delete(indexed.collection, [name])
            for plan in (PLAN, HNSW):
                found = await indexed.search(replace(plan, vector=vector))
                assert name not in {hit.item.id for hit in found.hits}

    await asyncio.gather(*map(write, range(4)))


async def test_indexes_are_made_as_the_collection_is_tuned(raw: Bench, database: Database) -> None:
    indexes = IndexStore(database)
    options = "SELECT reloptions FROM pg_class WHERE relname = $1"
    name = f"vectors_s{raw.collection.space.key}_m0_g{{}}_hnsw"
    await raw.index()
    made = await database.pool.fetchval(options, name.format(1))
    assert made == ["m=16", "ef_construction=64"]
    await indexes.tune(raw.collection, SearchTuning(m=8, ef_construction=40, exact_rows=7))
    await raw.refresh()
    assert raw.collection.tuning == SearchTuning(m=8, ef_construction=40, exact_rows=7)
    await raw.index()
    made = await database.pool.fetchval(options, name.format(2))
    assert made == ["m=8", "ef_construction=40"]
    assert await database.pool.fetchval(options, name.format(1)) is None
    assert await raw.ids(HNSW) == nearest(Metric.COSINE)[:10]


async def test_one_process_builds_at_a_time_and_tells_how_far_it_is(
    raw: Bench, database: Database
) -> None:
    indexes = IndexStore(database)
    assert await indexes.progress(raw.collection, raw.collection.space) is None
    builds = [asyncio.create_task(indexes.build(raw.collection)) for _ in range(3)]
    seen = set()
    while not all(build.done() for build in builds):
        progress = await indexes.progress(raw.collection, raw.collection.space)
        seen.add(None if progress is None else progress.phase)
        await asyncio.sleep(0)
    assert sorted([await build for build in builds]) == [False, False, True]
    assert any(phase and phase.startswith("building index") for phase in seen)


async def test_spaces_that_no_index_can_serve(database: Database) -> None:
    made = await bench(database, SpaceSpec(None, 4001))
    assert not await IndexStore(database).build(made.collection)
    flat = await CollectionStore(database).create(
        "default", "flat", None, SpaceSpec(None, 8, Metric.EUCLIDEAN)
    )
    assert not await IndexStore(database).build(flat, kind=IndexKind.BINARY)
