"""Plans by size, filter and depth; and searches that are never short of what exists."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
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
    Space,
    SpaceSpec,
)
from app.domain.fields import FieldIndex, FieldState, FieldType
from app.domain.items import NewItem
from app.domain.search import Branch, Strategy
from app.engine.housekeeping import wanted_index
from app.engine.nearest import NearestSearcher
from app.engine.planner import Wish, plan_search
from app.settings import SearchSettings
from app.store.collections import CollectionStore
from app.store.indexes import IndexStore
from app.store.items import ItemStore
from app.store.search import SearchStore

if TYPE_CHECKING:
    from app.store.database import Database

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WISH = Wish(np.ones(4, dtype=np.float32), (Branch(None),), limit=10)
SETTINGS = SearchSettings()


def a_collection(
    rows: int = 100_000,
    state: IndexState = IndexState.READY,
    kind: IndexKind = IndexKind.FLOAT16,
    **more: Any,
) -> Collection:
    space = Space(1, SpaceSpec(None, 1024), state, "", kind)
    return Collection(1, "col", "default", "c", None, space, rows, NOW, NOW, **more)


def declared(name: str) -> FieldIndex:
    return FieldIndex(1, (name,), FieldType.INTEGER, FieldState.READY, "{}", NOW)


def strategy(collection: Collection, wish: Wish = WISH) -> Strategy:
    return plan_search(collection, wish, SETTINGS).strategy


def test_few_rows_and_rows_without_an_index_are_compared_one_by_one() -> None:
    assert strategy(a_collection(rows=SETTINGS.exact_rows)) is Strategy.EXACT
    assert strategy(a_collection(state=IndexState.BUILDING)) is Strategy.EXACT
    assert strategy(a_collection()) is Strategy.HNSW
    assert strategy(a_collection(kind=IndexKind.BINARY)) is Strategy.BINARY


def test_exact_when_asked_for_and_for_pages_too_deep_for_an_index() -> None:
    assert strategy(a_collection(), replace(WISH, exact=True)) is Strategy.EXACT
    assert strategy(a_collection(), replace(WISH, offset=995)) is Strategy.EXACT


def test_a_collection_tunes_for_itself() -> None:
    small = a_collection(rows=500, tuning=SearchTuning(exact_rows=100, ef_search=321))
    plan = plan_search(small, WISH, SETTINGS)
    assert (plan.strategy, plan.ef_search) == (Strategy.HNSW, 321)
    assert wanted_index(small, small.space, SETTINGS) is None
    eager = replace(small, tuning=SearchTuning(hnsw_rows=499))
    assert wanted_index(eager, eager.space, SETTINGS) is IndexKind.FLOAT16
    compact = replace(small, tuning=SearchTuning(binary_rows=499))
    assert wanted_index(compact, compact.space, SETTINGS) is IndexKind.BINARY


def test_signs_serve_no_other_metric_than_the_cosine() -> None:
    huge = a_collection(rows=10**9)
    flat = replace(huge.space, spec=SpaceSpec(None, 1024, Metric.EUCLIDEAN))
    assert wanted_index(huge, huge.space, SETTINGS) is IndexKind.BINARY
    assert wanted_index(huge, flat, SETTINGS) is IndexKind.FLOAT16


def test_deeper_pages_walk_deeper() -> None:
    shallow = plan_search(a_collection(), WISH, SETTINGS)
    deep = plan_search(a_collection(), replace(WISH, limit=100, offset=300), SETTINGS)
    assert deep.ef_search == 800 > shallow.ef_search


def test_a_declared_field_is_worth_more_comparisons_and_no_sample() -> None:
    wish = replace(WISH, filter=f.Range(("n",), lt=5))
    unknown = plan_search(a_collection(), wish, SETTINGS).filter_first
    known = plan_search(a_collection(fields=(declared("n"),)), wish, SETTINGS).filter_first
    assert unknown is not None
    assert known is not None
    assert unknown.sample_first
    assert not known.sample_first
    assert known.rows > unknown.rows > 1000


def test_larger_collections_compare_more_before_they_walk() -> None:
    wish = replace(WISH, filter=f.Range(("n",), lt=5))
    rows = []
    for size in (30_000, 10**5, 10**6, 10**7):
        first = plan_search(a_collection(size, fields=(declared("n"),)), wish, SETTINGS)
        assert first.filter_first is not None
        rows.append(first.filter_first.rows)
    assert rows == sorted(rows)
    assert rows[-1] < 10**6


@pytest.fixture
async def clustered(database: Database) -> Collection:
    """500 items all over the sphere; those of group 1 are far away from any other."""
    store, spec = CollectionStore(database), SpaceSpec(None, 8)
    collection = await store.create("default", "clustered", None, spec)
    vectors = np.abs(np.random.default_rng(1).normal(size=(500, 8))).astype(np.float32)
    vectors[:40] *= -1
    items = [
        NewItem(str(n), None, vector, metadata=json.dumps({"group": int(n < 40)}))
        for n, vector in enumerate(vectors)
    ]
    await ItemStore(database).put(collection, items)
    tuning = SearchTuning(exact_rows=10, ef_search=10)
    await IndexStore(database).tune(collection, tuning)
    await IndexStore(database).build(collection)
    return await store.get("default", collection.id)


@pytest.mark.parametrize("limit", [1, 10, 40, 100])
async def test_never_fewer_than_exist(
    database: Database, clustered: Collection, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nearest = NearestSearcher(SETTINGS, SearchStore(database))
    wish = replace(WISH, vector=np.ones(8, dtype=np.float32), limit=limit)
    wish = replace(wish, filter=f.Equals(("group",), 1))
    for forced in (False, True):
        if forced:  # no filter first: the index walks away from the group
            monkeypatch.setattr("app.engine.planner._filter_first", lambda *_: None)
        found = await nearest.find(clustered, wish)
        assert len(found.hits) == min(limit, 40)
        assert {hit.item.metadata for hit in found.hits} == {'{"group": 1}'}
    plain = await nearest.find(clustered, replace(wish, filter=None))
    assert len(plain.hits) == limit


async def test_what_an_index_cannot_find_is_found_without(
    database: Database, clustered: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.engine.planner._filter_first", lambda *_: None)
    monkeypatch.setattr("app.engine.planner.FILTERED", 1)
    monkeypatch.setattr("app.store.search_statement.MAX_EF_SEARCH", 10)
    monkeypatch.setattr("app.store.search_statement.LEAST_SCANNED", 1)
    async with database.pool.acquire() as connection:
        await connection.execute("SET enable_seqscan = off")
    nearest = NearestSearcher(SETTINGS, SearchStore(database))
    wish = replace(WISH, vector=np.ones(8, dtype=np.float32), filter=f.Equals(("group",), 1))
    found = await nearest.find(clustered, wish)
    assert len(found.hits) == 10
    assert found.report.fallback
    assert found.report.strategy is Strategy.EXACT
