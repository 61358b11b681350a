"""What is written after an index was built is found beside it, until it is in one itself."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.domain import filters as f
from app.domain.collections import IndexKind, IndexState, SpaceSpec
from app.domain.items import NewItem, WriteMode
from app.domain.modality import Modality
from app.domain.search import Branch, FilterFirst, SearchPlan, Strategy
from app.errors import OmnivecError
from app.store import generations, migrate
from app.store.generations import MOST_SPANS, kept
from app.store.indexes import IndexStore
from app.store.items import ItemStore
from app.store.search import SearchStore
from app.store.vectors import VectorStore
from tests.store.factories import MODEL, a_collection, an_item, reloaded, unit_vectors

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.store.database import Database

VECTORS, OTHERS = unit_vectors(600), unit_vectors(600, seed=1)
QUERY = unit_vectors(1, seed=5)[0]
PLAN = SearchPlan(QUERY, (Branch(Modality.TEXT),), 10)
HNSW = replace(PLAN, strategy=Strategy.HNSW, ef_search=1000)


def items(numbers: Iterable[int], vectors: NDArray[np.float32] = VECTORS) -> list[NewItem]:
    return [an_item(str(n), vectors[n], metadata=f'{{"n": {n}}}') for n in numbers]


@pytest.fixture
async def indexed(database: Database) -> Collection:
    """300 items, all in an index."""
    collection = await a_collection(database)
    await ItemStore(database).put(collection, items(range(300)))
    assert await IndexStore(database).build(collection)
    return await reloaded(database, collection)


async def found(database: Database, collection: Collection, plan: SearchPlan) -> list[str]:
    answer = await SearchStore(database).search(collection, plan)
    assert answer.report.strategy is plan.strategy
    return [hit.item.id for hit in answer.hits]


async def ann_indexes(database: Database, collection: Collection) -> set[str]:
    rows = await database.pool.fetch(
        "SELECT indexname FROM pg_indexes WHERE tablename = $1 AND indexdef LIKE '%hnsw%'",
        f"vectors_s{collection.space.key}",
    )
    return {row["indexname"].partition("_m")[2] for row in rows}


@pytest.mark.parametrize(
    ("sizes", "fresh", "stay"),
    [
        ([], 10, 0),
        ([100], 10, 1),
        ([100], 40, 0),
        ([100, 20], 5, 2),
        ([100, 20], 10, 1),
        ([100, 20, 20], 0, 0),
        ([1000, 20, 20], 5, 1),
    ],
)
def test_small_indexes_are_joined_and_large_ones_stay(
    sizes: list[int], fresh: int, stay: int
) -> None:
    assert kept(sizes, fresh, busy=False) == stay


def test_while_writes_go_on_the_least_is_built() -> None:
    assert kept([100] * (MOST_SPANS - 1), 90, busy=True) == MOST_SPANS - 1
    assert kept([100] * MOST_SPANS, 90, busy=True) == 1
    assert kept([1000, 100, 100], 150, busy=True) == 3
    assert kept([1000, 10, 100], 150, busy=True) == 1


@pytest.mark.parametrize("mode", WriteMode)
async def test_what_is_written_is_in_no_index_and_found_beside_it(
    database: Database, indexed: Collection, mode: WriteMode
) -> None:
    """By one statement and by COPY, new and in the place of what the index has."""
    store, indexes = ItemStore(database), IndexStore(database)
    for numbers in (range(250, 340), range(340, 500), range(150)):
        await store.put(indexed, items(numbers, OTHERS), mode)
    written = {WriteMode.UPSERT: 400, WriteMode.INSERT: 200, WriteMode.UPDATE: 200}
    assert await indexes.fresh(indexed, indexed.space, 1000) == written[mode]
    assert await indexes.fresh(indexed, indexed.space, 100) == 100
    best = await found(database, indexed, PLAN)
    assert await found(database, indexed, HNSW) == best
    assert await indexes.build(indexed)
    assert await indexes.fresh(indexed, (await reloaded(database, indexed)).space, 1000) == 0
    assert await found(database, indexed, HNSW) == best  # as planned before
    assert await found(database, await reloaded(database, indexed), HNSW) == best


async def test_vectors_of_their_own_are_found_and_forgotten(
    database: Database, indexed: Collection
) -> None:
    vectors = VectorStore(database)
    await vectors.put(indexed, {"": {"7": QUERY, "8": -QUERY}})
    assert (await found(database, indexed, HNSW))[0] == "7"
    await vectors.remove(indexed, [""], ["7"])
    assert "7" not in await found(database, indexed, HNSW)
    await ItemStore(database).put(indexed, [an_item("new", QUERY)])
    assert (await found(database, indexed, HNSW))[0] == "new"
    await ItemStore(database).delete(indexed, ["new"])
    assert await found(database, indexed, HNSW) == await found(database, indexed, PLAN)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.9])
@pytest.mark.parametrize("spans", [1, 2])
async def test_filters_and_exclusions_hold_beside_the_index(
    database: Database, indexed: Collection, share: float, spans: int
) -> None:
    for number in range(spans):
        await ItemStore(database).put(indexed, items(range(300 + 50 * number, 500)))
        if number:
            await IndexStore(database).build(indexed, busy=True)
        indexed = await reloaded(database, indexed)
    below = 500 - int(500 * share)
    plan = replace(
        HNSW,
        filter=f.Range(("n",), gte=below),
        filter_first=FilterFirst(20),
        walked=100,
        exclude_ids=("499", "310"),
    )
    answer = await SearchStore(database).search(indexed, plan)
    exact = await found(database, indexed, replace(plan, strategy=Strategy.EXACT))
    assert [hit.item.id for hit in answer.hits] == exact
    # All that pass are fresh: whether there are others beyond the walk, no one can tell.
    assert answer.complete == (share != 0.2 or spans == 2)


async def test_calibrated_modalities_rank_together_beside_the_index(database: Database) -> None:
    collection, store = await a_collection(database), ItemStore(database)
    mixed = [an_item(str(n), VECTORS[n], list(Modality)[n % 3]) for n in range(600)]
    await store.put(collection, mixed[:300])
    await IndexStore(database).build(collection)
    await store.put(collection, mixed[300:])
    collection = await reloaded(database, collection)
    branches = tuple(Branch(kind, slope, 0.1) for slope, kind in enumerate(Modality, 1))
    plan = replace(HNSW, branches=branches, offset=3, least_rank=0.2)
    exact = await found(database, collection, replace(plan, strategy=Strategy.EXACT))
    assert await found(database, collection, plan) == exact


async def test_signs_are_walked_and_what_is_fresh_compared_in_full(database: Database) -> None:
    collection = await a_collection(database, SpaceSpec(None, 16))
    await ItemStore(database).put(
        collection, [an_item(str(n), v, None) for n, v in enumerate(VECTORS)]
    )
    assert await IndexStore(database).build(collection, kind=IndexKind.BINARY)
    collection = await reloaded(database, collection)
    await ItemStore(database).put(collection, [an_item("new", QUERY, None)])
    plan = SearchPlan(QUERY, (Branch(None),), 10, strategy=Strategy.BINARY, ef_search=800)
    exact = await found(database, collection, replace(plan, strategy=Strategy.EXACT))
    assert exact[0] == "new"
    assert await found(database, collection, replace(plan, walked=600)) == exact


async def test_indexes_follow_in_spans_and_are_joined(
    database: Database, indexed: Collection
) -> None:
    store, indexes = ItemStore(database), IndexStore(database)

    async def grow(first: int, last: int, *, least: int = 0, busy: bool = False) -> tuple[int, ...]:
        await store.put(indexed, items(range(first, last)))
        assert await indexes.build(indexed, least=least, busy=busy)
        collection = await reloaded(database, indexed)
        assert collection.space.index_state is IndexState.READY
        for plan in (HNSW, replace(HNSW, vector=VECTORS[last - 1])):
            exact = replace(plan, strategy=Strategy.EXACT)
            for view in (indexed, collection):  # also one that remembers indexes long gone
                assert await found(database, view, plan) == await found(database, view, exact)
        return collection.space.indexed

    assert indexed.space.indexed == (1,)
    assert await grow(300, 310, least=10) == (1,)
    assert await grow(310, 320, least=10) == (1, 2)
    assert await grow(320, 340, busy=True) == (1, 2, 3)
    assert await grow(340, 350) == (1, 4)
    assert await grow(350, 500) == (5,)
    assert await ann_indexes(database, indexed) == {f"{m}_g5_hnsw" for m in (1, 2, 3)}
    await store.put(indexed, items(range(500, 510)))
    for number in range(MOST_SPANS):
        await store.put(indexed, items(range(510 + 5 * number, 515 + 5 * number)))
        await indexes.build(indexed, busy=True)
    assert len((await reloaded(database, indexed)).space.indexed) == 2


async def test_replaced_indexes_serve_for_a_while(database: Database, indexed: Collection) -> None:
    await ItemStore(database).put(indexed, items(range(300, 600)))
    building = asyncio.create_task(IndexStore(database, grace=1.0).build(indexed))
    while (await reloaded(database, indexed)).space.indexed == (1,):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    assert {name[1:] for name in await ann_indexes(database, indexed)} == {"_g1_hnsw", "_g2_hnsw"}
    assert await building
    assert {name[1:] for name in await ann_indexes(database, indexed)} == {"_g2_hnsw"}


async def test_a_build_whose_connection_dies_loses_and_doubles_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server ends it at various moments, as after a crash; the next one is whole."""
    monkeypatch.setattr(generations, "RATIO", 0)
    collection = await a_collection(database, replace(MODEL, dimensions=256))
    vectors = unit_vectors(3000, 256)
    store, indexes = ItemStore(database), IndexStore(database)
    await store.put(collection, items(range(1000), vectors))
    assert await indexes.build(collection)
    broken = 0
    for turn, seconds in enumerate((0.0, 0.02, 0.1, 0.3)):
        first = 1000 + 300 * turn
        await store.put(collection, items(range(first - 50, first + 300), vectors))
        building = asyncio.create_task(indexes.build(collection))
        while not building.done() and not await database.pool.fetchval(
            "SELECT pg_terminate_backend(pid) FROM (SELECT pid, pg_sleep($1) FROM pg_stat_activity "
            "WHERE datname = current_database() AND query LIKE 'CREATE INDEX % USING hnsw %') AS b",
            seconds,
        ):
            pass
        try:
            await building
        except OmnivecError:
            broken += 1
        collection = await reloaded(database, collection)
        assert collection.space.index_state is IndexState.READY
        for n in (0, first - 50, first + 299):
            plan = replace(HNSW, vector=vectors[n], limit=first + 300)
            everything = await found(database, collection, replace(plan, strategy=Strategy.EXACT))
            assert len(everything) == len(set(everything)) == first + 300
            assert (await found(database, collection, replace(plan, limit=5)))[0] == str(n)
    assert broken
    assert await indexes.build(collection)
    collection = await reloaded(database, collection)
    assert await indexes.fresh(collection, collection.space, 9999) == 0
    names = {name[1:] for name in await ann_indexes(database, collection)}
    assert names == {f"_g{until}_hnsw" for until in collection.space.indexed}


async def test_two_writers_of_one_id_leave_one_of_both_while_indexes_are_built(
    database: Database, indexed: Collection
) -> None:
    store, indexes = ItemStore(database), IndexStore(database)
    done = asyncio.Event()

    async def write(sign: int) -> None:
        for turn in range(30):
            vectors = np.roll(VECTORS, turn, axis=0) * sign
            await store.put(indexed, items(range(20 * (turn % 3), 20 * (turn % 3) + 30), vectors))

    async def build() -> None:
        while not done.is_set():
            await indexes.build(indexed)

    building = asyncio.create_task(build())
    await asyncio.gather(write(1), write(-1))
    done.set()
    await building
    collection = await reloaded(database, indexed)
    plan = replace(HNSW, limit=300)
    exact = await found(database, collection, replace(plan, strategy=Strategy.EXACT))
    assert sorted(exact, key=int) == [str(n) for n in range(300)]
    assert await found(database, collection, plan) == exact


async def test_an_index_from_before_generations_serves_until_it_is_replaced(
    database: Database,
) -> None:
    collection = await a_collection(database)
    await ItemStore(database).put(collection, items(range(300)))
    key = collection.space.key
    await migrate.downgrade(database.engine, "0006")
    for code in (1, 2, 3):
        await database.pool.execute(
            f"CREATE INDEX vectors_s{key}_m{code}_hnsw ON vectors_s{key} USING hnsw "
            "((embedding::halfvec(16)) halfvec_ip_ops) WITH (m = 16, ef_construction = 64) "
            f"WHERE modality = {code}"
        )
    await database.pool.execute("UPDATE spaces SET index_state = 'ready' WHERE key = $1", key)
    await migrate.migrate(database.engine)
    await database.pool.expire_connections()
    collection = await reloaded(database, collection)
    assert collection.space.indexed == (0,)
    await ItemStore(database).put(collection, items(range(250, 320), OTHERS))
    exact = await found(database, collection, PLAN)
    assert await found(database, collection, HNSW) == exact
    assert await IndexStore(database).build(collection)
    collection = await reloaded(database, collection)
    assert collection.space.indexed == (1,)
    assert await found(database, collection, HNSW) == exact
    assert {name[1:] for name in await ann_indexes(database, collection)} == {"_g1_hnsw"}
    await migrate.downgrade(database.engine, "0006")
    assert await ann_indexes(database, collection) == set()
    await migrate.migrate(database.engine)
