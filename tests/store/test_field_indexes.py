"""Declared fields: built while others write, used by the plan, and validated on nothing."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.domain import filters as f
from app.domain.collections import Collection, SpaceSpec
from app.domain.fields import FieldState, FieldType
from app.domain.items import NewItem
from app.errors import InvalidInput, NotFound
from app.store.collections import CollectionStore
from app.store.fields import FieldIndexStore
from app.store.filters import compile_filter, item_scope
from app.store.items import ItemStore
from app.store.names import items_table

if TYPE_CHECKING:
    from app.store.database import Database

DIMENSIONS = 4
ARABIC_DIGITS = {ord("0") + n: 0x660 + n for n in range(10)}
ODD: list[Any] = [
    None, True, 5, "5", 1e300, 10**40, [], {}, [[5]], [{"lon": 1}], "x" * 5000, "ä" * 3000,
    ["y" * 5000], {"lon": 500, "lat": "no"}, {"lon": 10**400, "lat": 0}, "9999-99-99", "2024-02-30",
    " ".join(f"word{n}" for n in range(20_000)),
    "2024-01-01".translate(ARABIC_DIGITS), "z" * 3000 + " z",
]  # fmt: skip


@pytest.fixture
async def collection(database: Database) -> Collection:
    spec = SpaceSpec(None, DIMENSIONS)
    return await CollectionStore(database).create("default", "fields", None, spec)


@pytest.fixture
def fields(database: Database) -> FieldIndexStore:
    return FieldIndexStore(database)


def item(name: str, metadata: Any) -> NewItem:
    vector = np.ones(DIMENSIONS, dtype=np.float32)
    return NewItem(name, None, vector, metadata=json.dumps(metadata))


async def fresh(database: Database, collection: Collection) -> Collection:
    return await CollectionStore(database).get("default", collection.id)


async def plan_of(database: Database, collection: Collection, tree: f.Filter) -> str:
    values: list[Any] = []

    def bind(value: Any) -> str:
        values.append(value)
        return f"${len(values)}"

    where = compile_filter(tree, bind, item_scope(collection))
    query = f"EXPLAIN SELECT FROM {items_table(collection.key)} AS i WHERE {where}"
    async with database.pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL enable_seqscan = off")
        return "\n".join(row[0] for row in await connection.fetch(query, *values))


@pytest.mark.parametrize("kind", FieldType)
async def test_any_document_can_be_stored_whatever_is_declared(
    database: Database, collection: Collection, fields: FieldIndexStore, kind: FieldType
) -> None:
    items = ItemStore(database)
    before = [item(f"before {n}", {"f": value}) for n, value in enumerate(ODD)]
    await items.put(collection, before)
    await fields.declare(collection, ("f",), kind)
    await fields.build(collection)
    await items.put(collection, [item(f"after {n}", {"f": value}) for n, value in enumerate(ODD)])
    assert [field.state for field in await fields.declared(collection)] == [FieldState.READY]


CENTRE = f.GeoPoint(13.4, 52.5)


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        (FieldType.KEYWORD, f.Equals(("a", "b'c"), "x")),
        (FieldType.KEYWORD, f.OneOf(("a", "b'c"), ("x", "y"))),
        (FieldType.KEYWORD, f.Range(("a", "b'c"), gte="x", lt="y")),
        (FieldType.KEYWORD, f.Substring(("a", "b'c"), "x", start=True)),
        (FieldType.INTEGER, f.Equals(("a", "b'c"), 5)),
        (FieldType.INTEGER, f.Range(("a", "b'c"), gt=5, lte=7)),
        (FieldType.FLOAT, f.Range(("a", "b'c"), lt=0.5)),
        (FieldType.BOOL, f.Equals(("a", "b'c"), True)),
        (FieldType.UUID, f.Equals(("a", "b'c"), "4d4a1ba4-5b3a-4b5c-8f0e-0d3b6f9a6a11")),
        (FieldType.DATETIME, f.TimeRange(("a", "b'c"), gt=datetime(2024, 1, 1, tzinfo=UTC))),
        (FieldType.TEXT, f.Text(("a", "b'c"), "red guitar")),
        (FieldType.TEXT, f.Text(("a", "b'c"), "red guitar", f.TextMode.PHRASE)),
        (FieldType.TEXT, f.Text(("a", "b'c"), "guit", f.TextMode.PREFIX)),
        (FieldType.GEO, f.GeoRadius(("a", "b'c"), CENTRE, 1000)),
        (FieldType.GEO, f.GeoBox(("a", "b'c"), f.GeoPoint(170, 1), f.GeoPoint(-170, -1))),
    ],
)
async def test_the_plan_uses_the_index(
    database: Database,
    collection: Collection,
    fields: FieldIndexStore,
    kind: FieldType,
    condition: f.Condition,
) -> None:
    await fields.declare(collection, condition.path, kind)
    await fields.build(collection)
    plan = await plan_of(database, await fresh(database, collection), condition)
    (field,) = await fields.declared(collection)
    assert f"items_c{collection.key}_f{field.key}_" in plan, plan


async def test_writers_are_not_kept_waiting(
    database: Database, collection: Collection, fields: FieldIndexStore
) -> None:
    items = ItemStore(database)
    await items.put(collection, [item(str(n), {"n": n}) for n in range(5000)])
    await fields.declare(collection, ("n",), FieldType.INTEGER)
    building = asyncio.create_task(fields.build(collection))
    written = 0
    while not building.done():
        await asyncio.wait_for(items.put(collection, [item(f"w{written}", {"n": written})]), 2)
        written += 1
    await building
    assert written > 1


async def test_two_builders_do_not_hinder_each_other(
    database: Database, collection: Collection, fields: FieldIndexStore
) -> None:
    for name in "abc":
        await fields.declare(collection, (name,), FieldType.KEYWORD)
    await asyncio.gather(*(fields.build(collection) for _ in range(3)))
    assert {field.state for field in await fields.declared(collection)} == {FieldState.READY}
    assert await fields.unfinished() == []


async def test_a_dropped_field_leaves_nothing_behind(
    database: Database, collection: Collection, fields: FieldIndexStore
) -> None:
    await fields.declare(collection, ("a",), FieldType.KEYWORD)
    await fields.build(collection)
    await fields.drop(collection, ("a",))
    await fields.build(collection)
    assert await fields.declared(collection) == []
    left = "SELECT count(*) FROM pg_class WHERE relname LIKE $1"
    assert await database.pool.fetchval(left, f"items_c{collection.key}_f%") == 0
    with pytest.raises(NotFound):
        await fields.drop(collection, ("a",))


async def test_a_field_of_another_type_is_built_anew(
    database: Database, collection: Collection, fields: FieldIndexStore
) -> None:
    first = await fields.declare(collection, ("a",), FieldType.KEYWORD, '{"x": 1}')
    await fields.build(collection)
    again = await fields.declare(collection, ("a",), FieldType.KEYWORD, '{"x": 2}')
    assert (again.key, again.options) == (first.key, '{"x": 2}')
    other = await fields.declare(collection, ("a",), FieldType.INTEGER)
    assert other.key != first.key
    assert other.state is FieldState.BUILDING
    await fields.build(collection)
    assert [field.type for field in await fields.declared(collection)] == [FieldType.INTEGER]
    assert (await fresh(database, collection)).fields[0].state is FieldState.READY


async def test_what_a_crash_left_half_built_is_made_again(
    database: Database, collection: Collection, fields: FieldIndexStore
) -> None:
    field = await fields.declare(collection, ("a",), FieldType.INTEGER)
    await database.pool.execute(
        f'CREATE INDEX "items_c{collection.key}_f{field.key}_0" ON {items_table(collection.key)} '
        "(modality); UPDATE pg_index SET indisvalid = false WHERE indexrelid = "
        f"'items_c{collection.key}_f{field.key}_0'::regclass"
    )
    assert await fields.unfinished() == [collection.key]
    await fields.build(collection)
    plan = await plan_of(database, await fresh(database, collection), f.Equals(("a",), 5))
    assert f"_f{field.key}_0" in plan


async def test_paths_and_their_number_have_limits(
    collection: Collection, fields: FieldIndexStore
) -> None:
    for path in ((), ("",), ("nul\0",), ("a",) * 17):
        with pytest.raises(InvalidInput):
            await fields.declare(collection, path, FieldType.KEYWORD)
    for number in range(128):
        await fields.declare(collection, (str(number),), FieldType.BOOL)
    with pytest.raises(InvalidInput):
        await fields.declare(collection, ("one more",), FieldType.BOOL)


async def test_a_deleted_collection_has_no_fields(
    database: Database, collection: Collection, fields: FieldIndexStore
) -> None:
    await fields.declare(collection, ("a",), FieldType.KEYWORD)
    await CollectionStore(database).delete("default", collection.id)
    for call in (fields.declared(collection), fields.build(collection)):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(NotFound):
        await fields.declare(collection, ("b",), FieldType.KEYWORD)
