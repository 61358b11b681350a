"""Filters as SQL against the same filters in plain Python."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.domain import filters as f
from app.domain.fields import FieldIndex, FieldState, FieldType
from app.domain.modality import Modality
from app.errors import InvalidInput
from app.store.filters import Scope, compile_filter, narrowed
from app.store.rows import CODES
from tests.store.filter_oracle import holds, text_of

if TYPE_CHECKING:
    from app.store.database import Database

KEYS = ("a", "b", "c d", 'q"', "ä")
STRINGS = (
    "",
    "a",
    "ab",
    "B",
    "Grüße, Welt",
    "red Guitar-solo",
    "red",
    "guitar",
    "Solo red guitar",
    "%_\\",
    "ÄB",
    "日本 語",
    "2024-02-29",
    "2024-02-29T12:00:00Z",
    "2024-02-29T12:00:00.5+02:00",
    "2023-02-29T12:00:00Z",
    "2024-02-29 11:59",
    "2024-13-01",
    "true",
    "5",
    "x" * 300,
)
NUMBERS = (0, 1, -1, 2, 5, 5.0, 0.1, 1e30, 2**60, -2.5)
SPOTS = tuple(
    {"lon": lon, "lat": lat}
    for lon, lat in ((0.3, 0.3), (10.2, 50.4), (179.5, -10.1), (-179.5, 80.2), (-70.1, -33.3))
)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(NUMBERS),
    st.sampled_from(STRINGS),
    st.text("aB ", max_size=3),
)
geo = st.one_of(
    st.sampled_from(SPOTS),
    st.sampled_from(({"lon": 200, "lat": 0}, {"lon": "0", "lat": 0}, {"lon": 7})),
)
values = st.recursive(
    st.one_of(scalars, geo),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KEYS), inner, max_size=3)
    ),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from(KEYS), values, max_size=4)
paths = st.lists(st.sampled_from(KEYS), min_size=1, max_size=2).map(tuple)
times = st.sampled_from(
    [datetime(2024, 2, 29, 10, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(6)]
)
points = st.builds(f.GeoPoint, st.integers(-180, 180).map(float), st.integers(-89, 89).map(float))


def ranges(make: Any, bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from([("gt",), ("gte",), ("lt",), ("lte",), ("gte", "lt"), ("gt", "lte")])
    return st.builds(
        lambda path, given, low, high: make(path, **dict(zip(given, (low, high), strict=False))),
        paths,
        names,
        bounds,
        bounds,
    )


def rings() -> st.SearchStrategy[tuple[f.GeoPoint, ...]]:
    return st.lists(points, min_size=3, max_size=5, unique=True).map(tuple)


conditions = st.one_of(
    st.builds(f.Equals, paths, scalars),
    st.builds(f.OneOf, paths, st.lists(scalars, max_size=3).map(tuple)),
    st.builds(f.OtherThan, paths, st.lists(scalars, max_size=3).map(tuple)),
    ranges(f.Range, st.sampled_from(NUMBERS)),
    ranges(f.Range, st.sampled_from(STRINGS)),
    ranges(f.TimeRange, times),
    ranges(f.ValuesCount, st.integers(0, 3)),
    st.builds(f.Exists, paths),
    st.builds(f.IsNull, paths),
    st.builds(f.IsEmpty, paths),
    st.builds(f.Text, paths, st.sampled_from(STRINGS), st.sampled_from(f.TextMode)),
    st.builds(f.Text, paths, st.sampled_from(("gui", "so r", "RED")), st.just(f.TextMode.PREFIX)),
    st.builds(f.Substring, paths, st.sampled_from(STRINGS), st.booleans()),
    st.builds(f.GeoBox, paths, points, points),
    st.builds(f.GeoRadius, paths, points, st.sampled_from((0.0, 1e5, 5e6, 1.5e7, 3e7))),
    st.builds(f.GeoPolygon, paths, rings(), st.lists(rings(), max_size=1).map(tuple)),
)
leaves = st.one_of(
    conditions,
    st.builds(f.HasId, st.lists(st.sampled_from(("0", "1", "2", "x")), max_size=3).map(tuple)),
    st.builds(f.HasVector, st.sampled_from(("", "other", "none"))),
    st.builds(f.InNamespace, st.sampled_from(("", "n"))),
    st.builds(f.OfModality, st.frozensets(st.sampled_from((None, *Modality)))),
)


def compound(inner: st.SearchStrategy[f.Filter]) -> st.SearchStrategy[f.Filter]:
    several = st.lists(inner, max_size=3).map(tuple)
    return st.one_of(
        st.builds(f.Not, inner),
        st.builds(f.And, several),
        st.builds(f.Or, several),
        st.builds(f.AtLeast, st.integers(0, 3), several),
        st.builds(f.Nested, paths, inner),
    )


trees = st.recursive(leaves, compound, max_leaves=6)
items = st.lists(
    st.tuples(documents, st.sampled_from((None, *Modality)), st.sampled_from(("", "n"))),
    min_size=1,
    max_size=6,
)


def declared(*fields: tuple[str, FieldType]) -> list[FieldIndex]:
    now = datetime.now(UTC)
    return [
        FieldIndex(n, (name,), kind, FieldState.READY, "{}", now)
        for n, (name, kind) in enumerate(fields)
    ]


@pytest.fixture
async def statements(database: Database) -> Any:
    """Run a filter over items; `h1` holds vectors of the even ones."""
    connection = await database.pool.acquire()
    await connection.execute(
        "CREATE TEMP TABLE docs (seq bigint, id text, namespace text, modality smallint, "
        "metadata jsonb); CREATE TEMP TABLE h1 (item_seq bigint)"
    )

    async def run(tree: f.Filter, rows: list[Any], indexes: Any = ()) -> list[int]:
        parameters: list[Any] = []

        def bind(value: Any) -> str:
            parameters.append(value)
            return f"${len(parameters)}"

        every = "(SELECT seq AS item_seq FROM docs)"
        scope = Scope(spaces={"": every, "other": "h1"}, indexes=indexes)
        where = compile_filter(tree, bind, scope)
        await connection.execute("DELETE FROM docs; DELETE FROM h1")
        await connection.executemany(
            "INSERT INTO docs VALUES ($1, $2, $3, $4, $5)",
            [
                (n, str(n), namespace, CODES[modality], text_of(document))
                for n, (document, modality, namespace) in enumerate(rows)
            ],
        )
        await connection.execute("INSERT INTO h1 SELECT seq FROM docs WHERE seq % 2 = 0")
        query = f"SELECT seq FROM docs AS i WHERE {where} ORDER BY seq"
        found = await connection.fetch(query, *parameters)
        return [row["seq"] for row in found]

    yield run
    await database.pool.release(connection)


def expected(tree: f.Filter, rows: list[Any]) -> list[int]:
    found = []
    for n, (document, modality, namespace) in enumerate(rows):
        spaces = ("", "other") if n % 2 == 0 else ("",)
        item = {"id": str(n), "namespace": namespace, "modality": modality, "spaces": spaces}
        if holds(tree, document, item):
            found.append(n)
    return found


PROPERTY = settings(
    max_examples=500,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@PROPERTY
@given(tree=trees, rows=items)
async def test_sql_means_what_python_means(statements: Any, tree: f.Filter, rows: Any) -> None:
    assert await statements(tree, rows) == expected(tree, rows)


@PROPERTY
@given(condition=conditions, rows=items, kind=st.sampled_from(FieldType), negated=st.booleans())
async def test_declared_indexes_change_no_answer(
    statements: Any, condition: Any, rows: Any, kind: FieldType, negated: bool
) -> None:
    indexes = [
        FieldIndex(1, condition.path, kind, FieldState.READY, "{}", datetime.now(UTC)),
    ]
    tree: f.Filter = f.Not(condition) if negated else condition
    assert await statements(tree, rows, indexes) == expected(tree, rows)


RED_ONE = f.Nested(("parts",), f.And((f.Equals(("n",), 1), f.Equals(("c",), "red"))))
AROUND_THE_DATE_LINE = f.GeoBox(("at",), f.GeoPoint(170, 10), f.GeoPoint(-170, -10))
THIS_YEAR = f.TimeRange(("t",), gte=datetime(2024, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("tree", "document"),
    [
        (f.Equals(("tags",), "red"), {"tags": ["blue", "red"]}),
        (f.Equals(("size",), 5), {"size": 5.0}),
        (f.Not(f.Equals(("size",), 5)), {"size": "5"}),
        (f.OtherThan(("tags",), ("red",)), {"tags": ["red", "blue"]}),
        (f.Text(("t",), "solo GUITAR"), {"t": "A red guitar-solo."}),
        (f.Text(("t",), "guitar solo", f.TextMode.PHRASE), {"t": "A red guitar-solo."}),
        (f.Text(("t",), "gui so", f.TextMode.PREFIX), {"t": "A red guitar-solo."}),
        (f.Text(("t",), "GRÜSSE Welten", f.TextMode.ANY), {"t": "viele welten"}),
        (f.Substring(("t",), "%"), {"t": ["100 %"]}),
        (RED_ONE, {"parts": [{"n": 2, "c": "red"}, {"n": 1, "c": "red"}]}),
        (f.Not(RED_ONE), {"parts": [{"n": 2, "c": "red"}, {"n": 1, "c": "blue"}]}),
        (f.GeoRadius(("at",), f.GeoPoint(13.4, 52.5), 200), {"at": {"lon": 13.401, "lat": 52.501}}),
        (AROUND_THE_DATE_LINE, {"at": {"lon": 180, "lat": 0}}),
        (THIS_YEAR, {"t": "2023-12-31T23:30:00-01:00"}),
        (f.ValuesCount(("t",), gte=2, lt=3), {"t": [1, None]}),
    ],
)
async def test_conditions_by_example(statements: Any, tree: f.Filter, document: Any) -> None:
    assert await statements(tree, [(document, None, "")]) == [0]


async def test_points_in_a_hole_are_outside_and_on_its_border_are_not(statements: Any) -> None:
    def square(size: float) -> tuple[f.GeoPoint, ...]:
        return tuple(
            f.GeoPoint(lon, lat)
            for lon, lat in ((-size, -size), (size, -size), (size, size), (-size, size))
        )

    area = f.GeoPolygon(("at",), square(10), (square(5),))
    rows = [({"at": {"lon": lon, "lat": 0}}, None, "") for lon in (0, 5, 7, 10, 11)]
    assert await statements(area, rows) == [1, 2, 3]


@pytest.mark.parametrize("text", ["nul\0", "\ud800"])
async def test_what_json_cannot_hold_is_nowhere(statements: Any, text: str) -> None:
    rows = [({"a": "x"}, None, "")]
    indexes = declared(("a", FieldType.KEYWORD), ("a", FieldType.TEXT))
    for condition in (
        f.Equals(("a",), text),
        f.OneOf(("a",), (text,)),
        f.Range(("a",), lt=text),
        f.Text(("a",), text),
        f.Substring(("a",), text),
        f.Exists((text,)),
        f.HasId((text,)),
        f.InNamespace(text),
        f.Substring(("a",), text, start=True),
    ):
        assert await statements(condition, rows, indexes) == []


async def test_numbers_that_are_not_finite_are_refused(statements: Any) -> None:
    nan = float("nan")
    for condition in (f.Equals(("a",), nan), f.GeoRadius(("a",), f.GeoPoint(nan, 0), 1)):
        with pytest.raises(InvalidInput):
            await statements(condition, [({}, None, "")])


def test_a_filter_is_narrowed_by_what_is_declared() -> None:
    indexes = declared(("a", FieldType.KEYWORD), ("n", FieldType.INTEGER))
    known, unknown = f.Equals(("a",), "x"), f.Equals(("b",), "x")
    assert narrowed(known, indexes)
    assert narrowed(f.Range(("n",), gt=1), indexes)
    assert narrowed(f.And((unknown, known)), indexes)
    assert narrowed(f.HasId(("1",)), ())
    assert not narrowed(unknown, indexes)
    assert not narrowed(f.Range(("n",), gt="a"), indexes)
    assert not narrowed(f.Or((unknown, known)), indexes)
    assert not narrowed(f.Not(known), indexes)
