"""Filters against a plain evaluation of the same tree in Python."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain.filters import And, Equals, Exists, Filter, Not, OneOf, Or, Range
from app.errors import InvalidInput
from app.store.filters import Scope, compile_filter

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.servers.postgres import PostgresServer

MISSING = object()


def holds(clause: Filter, document: Any) -> bool:  # noqa: PLR0911
    """What app/domain/filters.py says, word for word."""
    match clause:
        case Equals(path, value):
            return any(equal(there, value) for there in candidates(document, path))
        case OneOf(path, values):
            return any(equal(there, v) for there in candidates(document, path) for v in values)
        case Range(path):
            return any(within(there, clause) for there in candidates(document, path))
        case Exists(path):
            return follow(document, path) is not MISSING
        case Not(inner):
            return not holds(inner, document)
        case And(clauses):
            return all(holds(inner, document) for inner in clauses)
        case Or(clauses):
            return any(holds(inner, document) for inner in clauses)


def follow(document: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        if not isinstance(document, dict) or key not in document:
            return MISSING
        document = document[key]
    return document


def candidates(document: Any, path: tuple[str, ...]) -> list[Any]:
    there = follow(document, path)
    if there is MISSING:
        return []
    return [there, *there] if isinstance(there, list) else [there]


def kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "number" if isinstance(value, int | float | Decimal) else type(value).__name__


def exact(value: Any) -> Any:
    return Decimal(repr(value)) if isinstance(value, float) else value


def equal(there: Any, value: Any) -> bool:
    return kind(there) == kind(value) and bool(exact(there) == exact(value))


def within(there: Any, clause: Range) -> bool:
    tests: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
        (clause.gt, lambda bound: there > bound),
        (clause.gte, lambda bound: there >= bound),
        (clause.lt, lambda bound: there < bound),
        (clause.lte, lambda bound: there <= bound),
    )
    given_ = [(exact(bound), test) for bound, test in tests if bound is not None]
    return bool(given_) and all(
        kind(there) == kind(bound) and kind(there) in {"number", "str"} and test(bound)
        for bound, test in given_
    )


KEYS = st.sampled_from(["a", "b", "0", 'q"\\', "ключ", ""])
NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.sampled_from([2**53, 2**53 + 1, -(2**63), 10**30, 0.5, -0.0, 1e-7, 1e300, 0.1, 3.0]),
)
STRINGS = st.one_of(
    st.sampled_from(["", "a", "B", "ab", "5", "true", "é", "z", "\uffff", "😀", "a\"'\\$"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=3),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, STRINGS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=4)
PATHS = st.lists(KEYS, min_size=1, max_size=3).map(tuple)


@st.composite
def ranges(draw: st.DrawFn) -> Range:
    bounds = draw(st.sampled_from([NUMBERS, STRINGS]))
    names = draw(st.lists(st.sampled_from(["gt", "gte", "lt", "lte"]), min_size=1, unique=True))
    return Range(draw(PATHS), **{name: draw(bounds) for name in names})


LEAVES = st.one_of(
    st.builds(Equals, PATHS, SCALARS),
    st.builds(OneOf, PATHS, st.lists(SCALARS, max_size=3).map(tuple)),
    ranges(),
    st.builds(Exists, PATHS),
)
FILTERS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


async def matching(
    connection: asyncpg.Connection, clause: Filter, documents: list[Any]
) -> list[bool]:
    values: list[Any] = [[json.dumps(document) for document in documents]]

    def bind(value: Any) -> str:
        values.append(value)
        return f"${len(values)}"

    condition = compile_filter(clause, bind, Scope(document="d.document"))
    query = (
        f"SELECT ({condition}) IS TRUE AS holds FROM unnest($1::jsonb[]) "
        "WITH ORDINALITY AS d (document, n) ORDER BY n"
    )
    return [row["holds"] for row in await connection.fetch(query, *values)]


@given(FILTERS, st.lists(DOCUMENTS, min_size=1, max_size=8))
@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_filters_hold_as_in_python(
    postgres: PostgresServer, clause: Filter, documents: list[Any]
) -> None:
    connection = await asyncpg.connect(postgres.url("migrated"), statement_cache_size=0)
    try:
        found = await matching(connection, clause, documents)
    finally:
        await connection.close()
    # Numbers as the database reads them: exactly.
    exactly = json.loads(json.dumps(documents), parse_float=Decimal)
    assert found == [holds(clause, document) for document in exactly]


@pytest.mark.parametrize(
    ("clause", "document", "expected"),
    [
        (Equals(("a",), 5), {"a": 5.0}, True),
        (Equals(("a",), 5), {"a": "5"}, False),
        (Equals(("a",), 1), {"a": True}, False),
        (Equals(("a",), None), {"a": None}, True),
        (Equals(("a",), None), {}, False),
        (Equals(("a",), "x"), {"a": ["y", "x"]}, True),
        (Equals(("a",), "x"), {"a": [["x"]]}, False),
        (Equals(("a", "b"), 1), {"a": {"b": 1}}, True),
        (Equals(("a", "b"), 1), {"a": [{"b": 1}]}, False),
        (Equals(("a", "0"), 1), {"a": [1]}, False),
        (Equals(("a.b",), 1), {"a.b": 1}, True),
        (Equals(("a",), 2**53 + 1), {"a": 2**53}, False),
        (Equals(("a",), "\0"), {"a": ""}, False),
        (Not(Equals(("a",), "\ud800")), {"a": ""}, True),
        (Exists(("\0",)), {"a": 1}, False),
        (Range(("a",), gt="\0"), {"a": "b"}, False),
        (Not(Equals(("a",), 1)), {}, True),
        (Range(("a",), gt=1, lt=3), {"a": [0, 4]}, False),
        (Range(("a",), gt=1, lt=3), {"a": [0, 2]}, True),
        (Range(("a",), gt="a"), {"a": 5}, False),
        (Range(("a",), gte="2026-01-01"), {"a": "2026-11-21"}, True),
        (Range(("a",)), {"a": 1}, False),
        (Exists(("a",)), {"a": None}, True),
        (And(()), {}, True),
        (Or(()), {}, False),
        (OneOf(("a",), ()), {"a": 1}, False),
    ],
)
async def test_the_corners(
    postgres: PostgresServer, clause: Filter, document: Any, expected: bool
) -> None:
    connection = await asyncpg.connect(postgres.url("migrated"))
    try:
        assert await matching(connection, clause, [document]) == [expected]
    finally:
        await connection.close()
    if "\\u0000" not in repr(clause) and "\\x00" not in repr(clause) and "ud8" not in repr(clause):
        assert holds(clause, document) == expected


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_must_be_finite(number: float) -> None:
    for clause in (Equals(("a",), number), Range(("a",), gt=number)):
        with pytest.raises(InvalidInput, match="not finite"):
            compile_filter(clause, lambda value: "$1", Scope())


def test_the_text_depends_on_the_shape_alone() -> None:
    def text(clause: Filter) -> str:
        return compile_filter(clause, lambda value: "$", Scope())

    assert text(Equals(("a",), 1)) == text(Equals(("b",), "x"))
    assert text(OneOf(("a",), (1, 2, 3))) == text(OneOf(("b",), ("x",)))
    assert text(Range(("a",), gt=1)) == text(Range(("b",), lte="x"))
    assert "'; DROP" not in text(And((Equals(("'; DROP",), "'; DROP"), Exists(("'; DROP",)))))
