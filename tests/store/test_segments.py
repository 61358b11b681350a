"""Segments of recordings: written, replaced and removed with their items, and searched."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.domain.filters import Equals
from app.domain.items import WriteMode
from app.domain.modality import Modality
from app.domain.search import SegmentPlan
from app.domain.segments import Segment, Segments
from app.errors import InvalidInput, NotFound
from app.store.collections import CollectionStore
from app.store.items import ItemStore
from app.store.names import segments_table
from app.store.segments import SegmentStore, make_segments_table, put_segments
from app.store.spaces import SpaceStore
from app.store.transactions import writing
from tests.store.factories import DIMENSIONS, MODEL, a_collection, an_item, reloaded, unit_vectors

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.domain.items import Hit, NewItem
    from app.store.database import Database

QUERY = unit_vectors(1, seed=99)[0]


def parts(n: int, seed: int = 0) -> Segments:
    """Segments of a recording that is n of them long."""
    spans = tuple(Segment(2.5 * place, 2.5 * place + 3) for place in range(n))
    vectors = unit_vectors(n, seed=seed) if n > 1 else np.empty((0, DIMENSIONS), np.float32)
    return Segments(spans, vectors)


def a_recording(name: str, n: int, seed: int = 0, metadata: str = "{}") -> NewItem:
    item = an_item(name, modality=Modality.AUDIO, metadata=metadata)
    return replace(item, segments=parts(n, seed))


@pytest.fixture
async def collection(database: Database) -> Collection:
    return await a_collection(database)


async def counts(database: Database, collection: Collection) -> dict[str, int]:
    """How many segments each item has; None for those of no item."""
    rows = await database.pool.fetch(
        f"SELECT i.id, count(*) AS n FROM {segments_table(collection.space.key)} AS s "
        f'LEFT JOIN "items_c{collection.key}" AS i ON i.seq = s.item_seq GROUP BY i.id'
    )
    return {row["id"]: row["n"] for row in rows}


async def has_table(database: Database, key: int) -> bool:
    name = segments_table(key)
    return bool(await database.pool.fetchval("SELECT to_regclass($1) IS NOT NULL", name))


async def search(database: Database, collection: Collection, **how: object) -> list[Hit]:
    plan = SegmentPlan(QUERY, limit=100, discount=0.0, rows=10_000)
    return await SegmentStore(database).search(collection, replace(plan, **how))  # type: ignore[arg-type]


async def test_a_collection_without_recordings_has_no_table_of_segments(
    database: Database, collection: Collection
) -> None:
    await ItemStore(database).put(collection, [an_item("text")])
    assert not await has_table(database, collection.space.key)
    assert not (await reloaded(database, collection)).space.segmented
    assert await SegmentStore(database).best(collection, QUERY, ["text"]) == {}


@pytest.mark.parametrize("filler", [0, 150])
async def test_segments_are_written_with_their_item(
    database: Database, collection: Collection, filler: int
) -> None:
    """By one statement, or by way of the staging table."""
    items = [a_recording("long", 9), a_recording("short", 1), an_item("text")]
    items += [an_item(f"filler {n}") for n in range(filler)]
    await ItemStore(database).put(collection, items)
    assert await counts(database, collection) == {"long": 9, "short": 1}
    fresh = await reloaded(database, collection)
    assert fresh.space.segmented
    for known in (collection, fresh):  # a stale one is seen through
        best = await SegmentStore(database).best(known, QUERY, ["long", "short", "text"])
        place = int((parts(9).vectors @ QUERY).argmax())
        assert best == {"long": Segment(2.5 * place, 2.5 * place + 3), "short": Segment(0, 3)}


@pytest.mark.parametrize("mode", [WriteMode.UPSERT, WriteMode.UPDATE])
async def test_what_takes_an_items_place_brings_its_own_segments_or_none(
    database: Database, collection: Collection, mode: WriteMode
) -> None:
    store = ItemStore(database)
    await store.put(collection, [a_recording(name, 9) for name in ("a", "b", "c", "d")])
    await store.put(
        collection,
        [a_recording("a", 4, seed=1), a_recording("b", 12), an_item("c"), a_recording("d", 1)],
        mode,
    )
    assert await counts(database, collection) == {"a": 4, "b": 12, "d": 1}
    best = await SegmentStore(database).best(collection, parts(4, seed=1).vectors[2], ["a"])
    assert best == {"a": Segment(5.0, 8.0)}


async def test_an_insert_leaves_the_segments_of_what_is_there(
    database: Database, collection: Collection
) -> None:
    store = ItemStore(database)
    await store.put(collection, [a_recording("a", 9)])
    items = [a_recording("a", 3, seed=1), a_recording("b", 2)]
    assert (await store.put(collection, items, WriteMode.INSERT)).skipped == ("a",)
    assert await counts(database, collection) == {"a": 9, "b": 2}


async def test_deleted_items_take_their_segments_along(
    database: Database, collection: Collection
) -> None:
    store = ItemStore(database)
    await store.put(collection, [a_recording("a", 9), a_recording("b", 2), an_item("c")])
    await store.delete(collection, ["a", "c"])
    assert await counts(database, collection) == {"b": 2}


async def test_a_write_that_fails_leaves_items_and_segments_as_they_were(
    database: Database, collection: Collection
) -> None:
    store = ItemStore(database)
    await store.put(collection, [a_recording("a", 9)])

    async def fail(*_: object) -> None:
        raise InvalidInput.at((), "at the last moment")

    with pytest.raises(InvalidInput):
        await store.put(collection, [a_recording("a", 2), a_recording("b", 3)], also=fail)
    wrong = Segments(parts(2).spans, unit_vectors(2, dimensions=3))
    with pytest.raises(Exception, match="violates check constraint"):
        await store.put(collection, [replace(a_recording("a", 2), segments=wrong)])
    assert await counts(database, collection) == {"a": 9}


async def test_first_recordings_written_at_once_make_one_table(
    database: Database, collection: Collection
) -> None:
    store = ItemStore(database)
    await asyncio.gather(
        *(store.put(collection, [a_recording(f"{n}", 3), an_item(f"t{n}")]) for n in range(8))
    )
    assert await counts(database, collection) == {f"{n}": 3 for n in range(8)}


async def test_a_deleted_collection_drops_its_segments(
    database: Database, collection: Collection
) -> None:
    collections = CollectionStore(database)
    await ItemStore(database).put(collection, [a_recording("a", 9)])
    segmented = await reloaded(database, collection)
    await collections.delete("default", collection.id)
    with pytest.raises(NotFound):
        await ItemStore(database).put(collection, [a_recording("b", 9)])
    assert await collections.drop_leftovers() == 1
    assert not await has_table(database, collection.space.key)
    with pytest.raises(NotFound):
        await search(database, segmented)
    with pytest.raises(NotFound):
        await make_segments_table(database, collection, collection.space)


async def test_another_space_has_segments_of_its_own(
    database: Database, collection: Collection
) -> None:
    """As when items are embedded anew by another model."""
    await ItemStore(database).put(collection, [a_recording("a", 9), a_recording("b", 2)])
    space = await SpaceStore(database).create(collection, "new", MODEL)
    await make_segments_table(database, collection, space)
    for n in (7, 4):
        async with writing(database, collection) as connection:
            anew = {"a": parts(n, seed=2), "gone": parts(3)}
            await put_segments(connection, collection, space, anew)
    total = f"SELECT count(*) FROM {segments_table(space.key)}"
    assert await database.pool.fetchval(total) == 4
    await ItemStore(database).delete(collection, ["a"])
    assert await database.pool.fetchval(total) == 0
    assert await counts(database, collection) == {"b": 2}
    await SpaceStore(database).drop(await reloaded(database, collection), "new")
    assert not await has_table(database, space.key)
    await ItemStore(database).delete(collection, ["b"])


async def test_search_finds_the_recordings_of_the_best_segments(
    database: Database, collection: Collection
) -> None:
    sizes = {f"r{n}": 2 + 3 * n for n in range(8)}
    items = [
        a_recording(name, n, seed=n, metadata=f'{{"even": {str(n % 2 == 0).lower()}}}')
        for name, n in sizes.items()
    ]
    items += [a_recording("short", 1), an_item("text")]
    await ItemStore(database).put(collection, items)
    discount = 0.1
    expected = {
        name: float((parts(n, seed=n).vectors @ QUERY).max()) - discount * math.log(n)
        for name, n in sizes.items()
    }
    ranked = sorted(expected, key=lambda name: -expected[name])
    hits = await search(database, collection, discount=discount)
    assert [hit.item.id for hit in hits] == ranked
    assert [hit.similarity for hit in hits] == pytest.approx(
        [expected[name] for name in ranked], abs=2e-3
    )
    least = (expected[ranked[2]] + expected[ranked[3]]) / 2
    cut = await search(database, collection, discount=discount, least=least)
    assert [hit.item.id for hit in cut] == ranked[:3]
    page = await search(database, collection, discount=discount, exclude_ids=(ranked[0],), limit=2)
    assert [hit.item.id for hit in page] == ranked[1:3]
    even = await search(
        database,
        collection,
        discount=discount,
        filter=Equals(("even",), value=True),
        with_vectors=True,
    )
    assert [hit.item.id for hit in even] == [n for n in ranked if sizes[n] % 2 == 0]
    np.testing.assert_allclose(even[0].vector, an_item(even[0].item.id).vector, atol=1e-3)


async def test_more_segments_than_may_be_compared_are_not(
    database: Database, collection: Collection
) -> None:
    dense = await a_collection(database, replace(MODEL, dimensions=1024))
    vectors = unit_vectors(90, dimensions=1024)
    spans = tuple(Segment(n, n + 1) for n in range(90))
    item = an_item("a", vectors[0], Modality.AUDIO)
    await ItemStore(database).put(dense, [replace(item, segments=Segments(spans, vectors))])
    store = SegmentStore(database)
    plan = SegmentPlan(vectors[1], limit=1, discount=0.0, rows=90)
    assert len(await store.search(dense, plan)) == 1
    assert await store.search(dense, replace(plan, rows=80)) == []
    assert await store.best(dense, vectors[1], ["a"]) == {"a": Segment(1, 2)}
