"""Points: written whole, with vectors in whichever spaces."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.domain.collections import Metric, SpaceKind, SpaceSpec, VectorPrecision
from app.domain.filters import HasVector
from app.domain.items import WriteMode
from app.domain.queries import InOrderOfIds, Nearest, PointQuery
from app.domain.vectors import NewPoint, SparseVector
from app.errors import InvalidInput, NotFound
from app.store.items import ItemStore
from app.store.points import PointStore
from app.store.spaces import SpaceStore
from tests.engine.factories import a_collection, a_querier, ids, raw, reloaded

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.domain.rankings import Ranked
    from app.domain.vectors import Vector
    from app.store.database import Database

ONE = np.array([1, 2, 3], dtype=np.float32)
WORDS = SparseVector((3,), (0.5,))


async def with_spaces(database: Database) -> Collection:
    collection = await a_collection(database, raw(Metric.DOT, 3))
    full = VectorPrecision.FLOAT32
    for name, spec in {
        "other": SpaceSpec(None, 3, Metric.DOT, full),
        "words": SpaceSpec(None, 0, Metric.DOT, full, SpaceKind.SPARSE),
    }.items():
        await SpaceStore(database).create(collection, name, spec)
    return await reloaded(database, collection)


async def stored(database: Database, collection: Collection) -> dict[str, Ranked]:
    query = PointQuery(InOrderOfIds(), limit=100, with_vectors=("", "other", "words"))
    [hits] = await a_querier(database).query(collection, [query])
    return {hit.item.id: hit for hit in hits}


async def test_points_have_the_vectors_they_came_with(database: Database) -> None:
    collection = await with_spaces(database)
    points = [
        NewPoint("all", {"": ONE, "other": 2 * ONE, "words": WORDS}, '{"a": 1}'),
        NewPoint("words", {"words": WORDS}),
        NewPoint("none", {}),
    ]
    written = await PointStore(ItemStore(database)).put(collection, points)
    assert (written.inserted, written.replaced) == (3, 0)
    found = await stored(database, collection)
    assert found["all"].item.metadata == '{"a": 1}'
    assert set(found["all"].vectors) == {"", "other", "words"}
    assert set(found["words"].vectors) == {"words"}
    assert set(found["none"].vectors) == set()
    [nearest, having] = await a_querier(database).query(
        collection,
        [PointQuery(Nearest(ONE)), PointQuery(InOrderOfIds(), filter=HasVector("words"))],
    )
    assert ids(nearest) == ["all"]
    assert ids(having) == ["all", "words"]


async def test_what_takes_anothers_place_has_none_of_its_vectors(database: Database) -> None:
    collection = await with_spaces(database)
    store = PointStore(ItemStore(database))
    await store.put(collection, [NewPoint("a", {"": ONE, "words": WORDS}, '{"old": 1}')])
    written = await store.put(collection, [NewPoint("a", {"other": ONE})])
    assert (written.inserted, written.replaced) == (0, 1)
    found = await stored(database, collection)
    assert set(found["a"].vectors) == {"other"}
    assert found["a"].item.metadata == "{}"


async def test_what_is_left_out_stays_as_it_was(database: Database) -> None:
    collection = await with_spaces(database)
    store = PointStore(ItemStore(database))
    await store.put(collection, [NewPoint("a", {"": ONE, "words": WORDS})])
    new = [NewPoint("a", {"other": ONE}), NewPoint("b", {"other": ONE}), NewPoint("b", {})]
    assert (await store.put(collection, new, WriteMode.INSERT)).inserted == 1
    found = await stored(database, collection)
    assert set(found["a"].vectors) == {"", "words"}
    assert set(found["b"].vectors) == {"other"}
    changed = [NewPoint("b", {"words": WORDS}), NewPoint("c", {"words": WORDS})]
    assert (await store.put(collection, changed, WriteMode.UPDATE)).replaced == 1
    found = await stored(database, collection)
    assert set(found) == {"a", "b"}
    assert set(found["b"].vectors) == {"words"}


@pytest.mark.parametrize(
    ("vectors", "error"),
    [
        ({"other": ONE[:2]}, InvalidInput),
        ({"": WORDS}, InvalidInput),
        ({"words": ONE}, InvalidInput),
        ({"nothing": ONE}, NotFound),
    ],
)
async def test_one_wrong_vector_fails_them_all(
    database: Database, vectors: dict[str, Vector], error: type[Exception]
) -> None:
    collection = await with_spaces(database)
    points = [NewPoint("a", {"": ONE}), NewPoint("b", vectors)]
    with pytest.raises(error):
        await PointStore(ItemStore(database)).put(collection, points)
    assert await stored(database, collection) == {}


async def test_of_two_writers_of_one_id_one_is_there_whole(database: Database) -> None:
    collection = await with_spaces(database)
    store = PointStore(ItemStore(database))

    async def write(number: int) -> None:
        names = ["", "other"] if number % 2 else ["other", "words"]
        scaled = number * ONE
        point = NewPoint(
            "a",
            {n: SparseVector((1,), (float(number),)) if n == "words" else scaled for n in names},
            f'{{"n": {number}}}',
        )
        await store.put(collection, [point, NewPoint(f"b{number}", {"": scaled})])

    await asyncio.gather(*(write(number) for number in range(1, 21)))
    found = (await stored(database, collection))["a"]
    number = int(found.item.metadata[6:-1])
    assert set(found.vectors) == ({"", "other"} if number % 2 else {"other", "words"})
    np.testing.assert_array_equal(found.vectors["other"], number * ONE)
