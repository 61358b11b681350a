"""Searches against the same arithmetic in numpy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose

from app.domain.collections import Metric, SpaceSpec, VectorPrecision
from app.domain.filters import Equals, Range
from app.domain.modality import Modality
from app.domain.search import Branch, SearchPlan, Strategy
from app.errors import InvalidInput
from app.store.indexes import IndexStore
from app.store.items import ItemStore
from app.store.search import SearchStore
from app.store.search_statement import SearchStatement
from tests.store.factories import MODEL, a_collection, an_item, reloaded, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.items import Hit
    from app.store.database import Database

N = 600
KINDS = (Modality.IMAGE, Modality.TEXT, Modality.AUDIO)
IMAGE = Branch(Modality.IMAGE)
TEXT = Branch(Modality.TEXT, slope=2.0, intercept=0.3)
AUDIO = Branch(Modality.AUDIO, slope=0.5, intercept=1.0)


@dataclass
class Shelf:
    """A collection of N items, `i0` to `i599`: kinds take turns, `n` is the number."""

    database: Database
    collection: Collection
    vectors: NDArray[np.float32]

    async def search(self, plan: SearchPlan) -> list[Hit]:
        return list((await SearchStore(self.database).search(self.collection, plan)).hits)

    def expected(
        self, plan: SearchPlan, keep: Callable[[int], bool] = lambda n: True
    ) -> list[tuple[str, float]]:
        similarities = self.vectors.astype(np.float64) @ plan.vector
        ranked = []
        for branch in plan.branches:
            for n in range(N):
                rank = branch.slope * similarities[n] + branch.intercept
                if KINDS[n % 3] is not branch.modality or not keep(n):
                    continue
                if plan.least_rank is None or rank >= plan.least_rank:
                    ranked.append((-rank, n))
        page = sorted(ranked)[plan.offset : plan.offset + plan.limit]
        return [(f"i{n}", similarities[n]) for _, n in page]


def assert_found(hits: list[Hit], expected: list[tuple[str, float]]) -> None:
    assert [hit.item.id for hit in hits] == [item_id for item_id, _ in expected]
    assert_allclose([hit.similarity for hit in hits], [s for _, s in expected], atol=2e-3)


@pytest.fixture
async def shelf(database: Database) -> Shelf:
    collection = await a_collection(database, replace(MODEL, dimensions=32))
    # What halfvec holds, so that ranks can be compared exactly.
    vectors = unit_vectors(N, 32).astype(np.float16).astype(np.float32)
    items = [
        an_item(f"i{n}", vectors[n], KINDS[n % 3], f'{{"n": {n}, "ten": {n % 10}}}')
        for n in range(N)
    ]
    await ItemStore(database).put(collection, items)
    return Shelf(database, collection, vectors)


@pytest.fixture
def query() -> NDArray[np.float32]:
    vector: NDArray[np.float16] = unit_vectors(1, 32, seed=77)[0].astype(np.float16)
    return vector.astype(np.float32)


def hnsw(plan: SearchPlan) -> SearchPlan:
    return replace(plan, strategy=Strategy.HNSW)


async def test_one_modality(shelf: Shelf, query: NDArray[np.float32]) -> None:
    plan = SearchPlan(query, (IMAGE,), 10)
    hits = await shelf.search(plan)
    assert_found(hits, shelf.expected(plan))
    assert hits[0].item.modality is Modality.IMAGE
    assert hits[0].vector is None


async def test_modalities_merge_in_the_order_of_their_ranks(
    shelf: Shelf, query: NDArray[np.float32]
) -> None:
    plan = SearchPlan(query, (IMAGE, TEXT, AUDIO), 50, offset=7)
    hits = await shelf.search(plan)
    assert_found(hits, shelf.expected(plan))
    assert {hit.item.modality for hit in hits} >= {Modality.TEXT, Modality.AUDIO}


async def test_least_rank_cuts_off_the_rest(shelf: Shelf, query: NDArray[np.float32]) -> None:
    plan = SearchPlan(query, (IMAGE, TEXT, AUDIO), 300, least_rank=0.5)
    hits = await shelf.search(plan)
    assert_found(hits, shelf.expected(plan))
    assert 200 < len(hits) < 300


async def test_filter_exclusion_and_offset(shelf: Shelf, query: NDArray[np.float32]) -> None:
    plan = SearchPlan(
        query,
        (IMAGE, TEXT),
        5,
        offset=2,
        filter=Equals(("ten",), 3),
        exclude_ids=("i3", "i13", "i33", "unknown"),
    )
    kept = shelf.expected(plan, lambda n: n % 10 == 3 and n not in {3, 13, 33})
    assert_found(await shelf.search(plan), kept)


async def test_filter_that_few_items_pass_finds_them_all(
    shelf: Shelf, query: NDArray[np.float32]
) -> None:
    plan = SearchPlan(query, (IMAGE, TEXT, AUDIO), 20, filter=Range(("n",), lt=4))
    assert_found(await shelf.search(plan), shelf.expected(plan, lambda n: n < 4))


async def test_vectors_come_along_when_asked_for(shelf: Shelf, query: NDArray[np.float32]) -> None:
    plan = SearchPlan(query, (TEXT,), 3, with_vectors=True)
    for hit in await shelf.search(plan):
        assert hit.vector is not None
        assert_allclose(hit.vector, shelf.vectors[int(hit.item.id[1:])])


async def test_nothing_asked_nothing_found(shelf: Shelf, query: NDArray[np.float32]) -> None:
    assert await shelf.search(SearchPlan(query, (), 3)) == []
    assert await shelf.search(SearchPlan(query, (TEXT,), 0)) == []
    assert await shelf.search(SearchPlan(query, (Branch(None),), 3)) == []


async def test_equals_are_ranked_by_age(database: Database) -> None:
    collection = await a_collection(database)
    vector = unit_vectors(1)[0]
    items = ItemStore(database)
    for name in "zebra":
        await items.put(collection, [an_item(name, vector)])
    plan = SearchPlan(vector, (Branch(Modality.TEXT),), 10)
    hits = list((await SearchStore(database).search(collection, plan)).hits)
    assert [hit.item.id for hit in hits] == list("zebra")


async def test_a_query_of_other_dimensions_is_invalid_input(shelf: Shelf) -> None:
    for vector in (np.ones(3, np.float32), np.full(32, np.nan, np.float32)):
        with pytest.raises(InvalidInput):
            await shelf.search(SearchPlan(vector, (TEXT,), 3))


@pytest.mark.parametrize("precision", list(VectorPrecision))
@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("strategy", [Strategy.EXACT, Strategy.HNSW])
async def test_raw_vectors_by_every_metric(
    database: Database, metric: Metric, precision: VectorPrecision, strategy: Strategy
) -> None:
    collection = await a_collection(database, SpaceSpec(None, 8, metric, precision))
    rng = np.random.default_rng(5)
    vectors = rng.standard_normal((200, 8)).astype(np.float32)
    vectors[17] = 0
    await ItemStore(database).put(
        collection, [an_item(f"i{n}", vector, None) for n, vector in enumerate(vectors)]
    )
    if strategy is not Strategy.EXACT:
        assert await IndexStore(database).build(collection)
        collection = await reloaded(database, collection)
    query = rng.standard_normal(8).astype(np.float32)
    plan = SearchPlan(query, (Branch(None),), 30, strategy=strategy)
    hits = list((await SearchStore(database).search(collection, plan)).hits)
    dots = vectors @ query
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    similarities = {
        Metric.DOT: dots,
        Metric.COSINE: np.divide(dots, norms, out=np.zeros_like(dots), where=norms > 0),
        Metric.EUCLIDEAN: -np.linalg.norm(vectors - query, axis=1),
        Metric.MANHATTAN: -np.abs(vectors - query).sum(axis=1),
    }[metric]
    best = np.sort(similarities)[::-1][:30]
    tolerance = 1e-5 if precision is VectorPrecision.FLOAT32 else 2e-2
    assert_allclose([hit.similarity for hit in hits], best, atol=tolerance)
    assert_allclose([similarities[int(hit.item.id[1:])] for hit in hits], best, atol=tolerance)


async def uses_index(shelf: Shelf, plan: SearchPlan) -> bool:
    statement = SearchStatement(shelf.collection, plan)
    rows = await shelf.database.pool.fetch("EXPLAIN " + statement.text, *statement.values)
    return "_hnsw" in "\n".join(row[0] for row in rows)


@pytest.fixture
async def indexed(shelf: Shelf) -> Shelf:
    await IndexStore(shelf.database).build(shelf.collection)
    shelf.collection = await reloaded(shelf.database, shelf.collection)
    # A shelf as small as this is not worth an index to the planner, rightly.
    name = shelf.database.url.split("/")[3].split("?")[0]
    await shelf.database.pool.execute(f"ALTER DATABASE {name} SET enable_seqscan = off")
    await shelf.database.pool.execute(f"ALTER DATABASE {name} SET enable_sort = off")
    await shelf.database.pool.expire_connections()
    return shelf


async def test_each_span_is_walked_by_its_own_index(
    indexed: Shelf, query: NDArray[np.float32]
) -> None:
    await ItemStore(indexed.database).put(indexed.collection, [an_item("new", query)])
    await IndexStore(indexed.database).build(indexed.collection, busy=True)
    indexed.collection = await reloaded(indexed.database, indexed.collection)
    plan = SearchPlan(query, (TEXT,), 20, strategy=Strategy.HNSW)
    statement = SearchStatement(indexed.collection, plan)
    rows = await indexed.database.pool.fetch("EXPLAIN " + statement.text, *statement.values)
    told = "\n".join(row[0] for row in rows)
    for index in ("m2_g1_hnsw", "m2_g2_hnsw", "generation"):
        assert told.count(f"vectors_s{indexed.collection.space.key}_{index}") == 1


async def test_hnsw_merges_modalities_like_exact(
    indexed: Shelf, query: NDArray[np.float32]
) -> None:
    plan = SearchPlan(query, (IMAGE, TEXT, AUDIO), 20, offset=3, with_vectors=True)
    plan = hnsw(replace(plan, exclude_ids=("i1", "i2"), least_rank=0.3))
    assert await uses_index(indexed, plan)
    assert_found(await indexed.search(plan), indexed.expected(plan, lambda n: n not in {1, 2}))


@pytest.mark.parametrize("strategy", [Strategy.EXACT, Strategy.HNSW])
async def test_hnsw_walks_on_until_enough_pass_the_filter(
    indexed: Shelf, query: NDArray[np.float32], strategy: Strategy
) -> None:
    plan = SearchPlan(query, (IMAGE, TEXT), 10, filter=Equals(("ten",), 7), ef_search=1)
    plan = replace(plan, strategy=strategy)
    assert_found(await indexed.search(plan), indexed.expected(plan, lambda n: n % 10 == 7))


async def test_ef_search_holds_for_one_statement(
    indexed: Shelf, query: NDArray[np.float32]
) -> None:
    async def recall(ef_search: int) -> float:
        found = 0
        for seed in range(20):
            vector = unit_vectors(1, 32, seed=1000 + seed)[0].astype(np.float16)
            plan = hnsw(SearchPlan(vector.astype(np.float32), (IMAGE,), 5, ef_search=ef_search))
            hits = {hit.item.id for hit in await indexed.search(plan)}
            found += len(hits & {item_id for item_id, _ in indexed.expected(plan)})
        return found / 100

    assert await recall(1) < await recall(200)
    assert await recall(200) >= 0.98
    assert await indexed.database.pool.fetchval("SHOW hnsw.ef_search") == "40"


async def test_plans_of_one_shape_share_their_statement(
    shelf: Shelf, query: NDArray[np.float32]
) -> None:
    def text(plan: SearchPlan) -> str:
        return SearchStatement(shelf.collection, plan).text

    one = SearchPlan(
        query, (Branch(Modality.IMAGE),), 10, filter=Equals(("a",), 1), exclude_ids=("a",)
    )
    other = SearchPlan(
        -query, (Branch(Modality.TEXT),), 20, 5, filter=Equals(("b",), "x"), exclude_ids=("b", "c")
    )
    assert text(one) == text(other)
