"""Filters on metadata indexes against a plain evaluation of their rules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.collections import IndexKind
from app.domain.filters import And, Equals, Indexed, InNamespace, MetadataKind, Not, OneOf, Range
from app.domain.items import NewItem
from app.domain.search import Branch, SearchPlan
from app.engine.planner import Wish, plan_search
from app.settings import SearchSettings
from app.store.indexes import IndexStore
from app.store.items import ItemStore
from app.store.metadata_conditions import prefix
from app.store.metadata_indexes import MetadataIndexStore
from app.store.search import SearchStore
from tests.store.factories import DIMENSIONS, RAW, a_collection, an_item, reloaded, unit_vectors

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.domain.filters import MetadataIndex
    from app.domain.vector_indexes import Clause
    from app.store.database import Database

MISSING = object()
PATH = ("a", "b")
TYPES: dict[MetadataKind, type | tuple[type, ...]] = {
    MetadataKind.STRING: str,
    MetadataKind.NUMBER: (int, float),
    MetadataKind.BOOLEAN: bool,
}

texts = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=3
) | st.sampled_from(["\u20ac" * 21, "\u20ac" * 21 + "x", "x" * 64, "x" * 65, "x" * 63 + "\u00e9"])
numbers = st.integers(-3, 3) | st.sampled_from([0.5, -0.5, 1e300, 2**53, 2**53 + 1, 10**400])
scalars = st.none() | st.booleans() | texts | numbers
stored = scalars.filter(lambda value: value != 10**400) | st.just(MISSING) | st.just([1])
ranges = st.one_of(
    st.tuples(st.sampled_from(["gt", "gte"]), st.sampled_from(["lt", "lte"]), values, values).map(
        lambda drawn: Range(PATH, **{drawn[0]: drawn[2], drawn[1]: drawn[3]})
    )
    for values in (texts, numbers)
)
equalities = scalars.map(lambda value: Equals(PATH, value)) | st.lists(
    scalars, min_size=1, max_size=4
).map(lambda values: OneOf(PATH, tuple(values)))
clauses = equalities | equalities.map(Not) | ranges


def held(kind: MetadataKind, value: Any) -> Any:
    """What an index of this kind holds of a value."""
    if not isinstance(value, TYPES[kind]) or (
        kind is MetadataKind.NUMBER and isinstance(value, bool)
    ):
        return None
    if isinstance(value, str):
        return prefix(value)
    return value if isinstance(value, bool) else as_float(value)


def as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def holds(kind: MetadataKind, clause: Clause, value: Any) -> bool:
    """The rules, in plain Python; `value` is what the index holds."""
    match clause:
        case Equals(value=wanted):
            return holds(kind, OneOf(PATH, (wanted,)), value)
        case OneOf(values=wanted):
            if value is None:
                return None in wanted
            return value in [held(kind, one) for one in wanted if one is not None]
        case Not(clause=Equals() | OneOf() as inner):
            return value is not None and not holds(kind, inner, value)
        case Range():
            limits = [
                (name, held(kind, bound))
                for name in ("gt", "gte", "lt", "lte")
                if (bound := getattr(clause, name)) is not None
            ]
            if value is None or kind is MetadataKind.BOOLEAN or None in dict(limits).values():
                return False
            tests = {
                "gt": lambda bound: value > bound,
                "gte": lambda bound: value >= bound,
                "lt": lambda bound: value < bound,
                "lte": lambda bound: value <= bound,
            }
            return all(tests[name](bound) for name, bound in limits)
    raise AssertionError(clause)


async def matching(
    database: Database, collection: Collection, field: MetadataIndex, clause: Clause
) -> set[str]:
    plan = SearchPlan(
        np.ones(DIMENSIONS, np.float32),
        (Branch(None),),
        limit=1000,
        filter=Indexed(field, clause),
    )
    found = await SearchStore(database).search(collection, plan)
    return {hit.item.id for hit in found.hits}


async def write(database: Database, collection: Collection, values: dict[str, Any]) -> None:
    metadata = [
        "{}" if value is MISSING else json.dumps({"a": {"b": value}}) for value in values.values()
    ]
    vector = np.ones(DIMENSIONS, np.float32)
    items = [
        NewItem(name, None, vector, metadata=text)
        for name, text in zip(values, metadata, strict=True)
    ]
    await ItemStore(database).put(collection, items)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(MetadataKind),
    values=st.lists(stored, min_size=1, max_size=8),
    wanted=st.lists(clauses, min_size=1, max_size=6),
)
async def test_filters_agree_with_the_rules(
    database: Database, kind: MetadataKind, values: list[Any], wanted: list[Clause]
) -> None:
    collection = await a_collection(database, RAW)
    fields = MetadataIndexStore(database)
    await write(database, collection, {"early": values[0]})
    await fields.create(collection, PATH, kind, "", 10)
    [field] = await fields.list(collection)
    items = {f"v{number}": value for number, value in enumerate(values)}
    await write(database, collection, items)
    for clause in wanted:
        expected = {name for name, value in items.items() if holds(kind, clause, held(kind, value))}
        assert await matching(database, collection, field, clause) == expected, clause


@pytest.mark.parametrize("text", ["", "x" * 64, "x" * 65, "\u20ac" * 22, "x" * 63 + "\U0001f600"])
async def test_the_database_cuts_strings_as_we_do(database: Database, text: str) -> None:
    assert await database.pool.fetchval("SELECT utf8_prefix($1, 64)", text) == prefix(text)


async def test_whatever_writes_an_item_indexes_it(database: Database) -> None:
    collection = await a_collection(database)
    fields = MetadataIndexStore(database)
    await fields.create(collection, ("k",), MetadataKind.NUMBER, "", 10)
    [field] = await fields.list(collection)
    items = ItemStore(database)
    await items.put(collection, [an_item("a", metadata='{"k": 1}'), an_item("b")])
    indexed = {item.id: json.loads(item.indexed) for item in await items.get(collection, "ab")}
    assert indexed == {"a": {str(field.key): 1}, "b": {str(field.key): None}}
    await items.put(collection, [an_item("a", metadata='{"k": 2}')])
    [item] = await items.get(collection, ["a"])
    assert json.loads(item.indexed) == {str(field.key): 2}


async def test_a_condition_uses_the_index(database: Database) -> None:
    collection = await a_collection(database, RAW)
    fields = MetadataIndexStore(database)
    await fields.create(collection, PATH, MetadataKind.STRING, "", 10)
    [field] = await fields.list(collection)
    await write(database, collection, {str(number): f"value {number}" for number in range(3000)})
    await database.pool.execute(f"ANALYZE items_c{collection.key}")
    rows = await database.pool.fetch(
        f"EXPLAIN SELECT seq FROM items_c{collection.key} AS i "
        f"WHERE (i.indexed ->> '{field.key}') COLLATE \"C\" = ANY ($1::text[])",
        ["value 7"],
    )
    assert f"metadata_{field.key}_idx" in "\n".join(row[0] for row in rows)


async def test_the_hnsw_index_honours_conditions_and_namespaces(database: Database) -> None:
    collection = await a_collection(database, RAW)
    fields = MetadataIndexStore(database)
    await fields.create(collection, PATH, MetadataKind.NUMBER, "", 10)
    [field] = await fields.list(collection)
    vectors = unit_vectors(2000)
    items = [
        NewItem(
            str(number),
            None,
            vector,
            metadata=f'{{"a": {{"b": {number % 20}}}}}',
            namespace="odd" if number % 2 else "even",
        )
        for number, vector in enumerate(vectors)
    ]
    await ItemStore(database).put(collection, items)
    await IndexStore(database).build(collection, collection.space, IndexKind.FLOAT16)
    collection = await reloaded(database, collection)
    clauses = (Indexed(field, Range(PATH, gte=10, lt=12)), InNamespace("odd"))
    wish = Wish(unit_vectors(1, seed=1)[0], (Branch(None),), 10, filter=And(clauses))
    found = []
    for settings_ in (SearchSettings(exact_rows=0), SearchSettings()):
        plan = plan_search(collection, wish, settings_)
        hits = (await SearchStore(database).search(collection, plan)).hits
        assert {int(hit.item.id) % 20 for hit in hits} == {11}
        found.append({hit.item.id for hit in hits})
    assert len(found[0] & found[1]) >= 9
