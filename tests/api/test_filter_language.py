from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.filter_language import MAX_CONDITIONS, MAX_DEPTH, parse_filter, render_filter
from app.domain.filters import And, Equals, Exists, Filter, Not, OneOf, Or, Range
from app.errors import InvalidInput, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

steps = st.text(
    st.characters(exclude_characters="\0.$", exclude_categories=["Cs"]), min_size=1, max_size=5
)
paths = st.lists(steps, min_size=1, max_size=3).map(tuple)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=5)
numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = texts | numbers | st.booleans() | st.none()


def ranges(bounds: st.SearchStrategy[Any]) -> st.SearchStrategy[Filter]:
    lower = st.sampled_from(["gt", "gte"])
    upper = st.sampled_from(["lt", "lte"])
    one = st.dictionaries(lower | upper, bounds, min_size=1, max_size=1)
    two = st.tuples(lower, bounds, upper, bounds).map(lambda t: {t[0]: t[1], t[2]: t[3]})
    return st.builds(lambda path, sides: Range(path, **sides), paths, one | two)


leaves = (
    st.builds(Equals, paths, scalars)
    | st.builds(OneOf, paths, st.lists(scalars, min_size=1, max_size=4).map(tuple))
    | st.builds(Exists, paths)
    | ranges(numbers)
    | ranges(texts)
)


def branches(children: st.SearchStrategy[Filter]) -> st.SearchStrategy[Filter]:
    several = st.lists(children, min_size=1, max_size=3).map(tuple)
    return st.builds(And, several) | st.builds(Or, several) | st.builds(Not, children)


@given(st.recursive(leaves, branches, max_leaves=8))
def test_what_is_written_reads_back_the_same(tree: Filter) -> None:
    assert parse_filter(render_filter(tree)) == tree


json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            texts | st.sampled_from(["$and", "$or", "$not", "$in", "$gt", "$lt", "$exists", "$ne"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_whatever_comes_is_read_or_refused(document: Any) -> None:
    violations: Sequence[Violation] = ()
    tree = None
    try:
        tree = parse_filter(document)
    except InvalidInput as error:
        violations = error.violations
    assert (tree is None) == bool(violations)
    assert all(violation.path[0] == "filter" for violation in violations)
    assert tree is None or parse_filter(render_filter(tree)) == tree


@pytest.mark.parametrize(
    ("document", "tree"),
    [
        ({"a": 1}, Equals(("a",), 1)),
        ({"a.b": None}, Equals(("a", "b"), None)),
        ({"a": {"$eq": "x"}}, Equals(("a",), "x")),
        ({"a": {"$ne": True}}, Not(Equals(("a",), True))),
        ({"a": {"$in": [1, "x"]}}, OneOf(("a",), (1, "x"))),
        ({"a": {"$nin": [None]}}, Not(OneOf(("a",), (None,)))),
        ({"a": {"$gte": 1, "$lt": 2.5}}, Range(("a",), gte=1, lt=2.5)),
        ({"a": {"$gt": "b"}}, Range(("a",), gt="b")),
        ({"a": {"$exists": True}}, Exists(("a",))),
        ({"a": {"$exists": False}}, Not(Exists(("a",)))),
        ({"a": 1, "b": 2}, And((Equals(("a",), 1), Equals(("b",), 2)))),
        (
            {"a": {"$gt": 1, "$ne": 5}},
            And((Not(Equals(("a",), 5)), Range(("a",), gt=1))),
        ),
        (
            {"$or": [{"a": 1}, {"$and": [{"b": 2}]}]},
            Or((Equals(("a",), 1), And((Equals(("b",), 2),)))),
        ),
        ({"$not": {"a": 1}}, Not(Equals(("a",), 1))),
        ({"a|b": 'say "x"'}, Equals(("a|b",), 'say "x"')),
    ],
)
def test_what_filters_mean(document: Any, tree: Filter) -> None:
    assert parse_filter(document) == tree


@pytest.mark.parametrize(
    ("document", "places"),
    [
        (None, [""]),
        ("x", [""]),
        ([], [""]),
        ({}, [""]),
        ({"": 1}, ["/"]),
        ({"a..b": 1}, ["/a..b"]),
        ({".a": 1}, ["/.a"]),
        ({"a": {}}, ["/a"]),
        ({"a": [1]}, ["/a"]),
        ({"a": {"b": 1}}, ["/a/b"]),
        ({"a": {"$eq": {}}}, ["/a/$eq"]),
        ({"a": {"$eq": [1]}}, ["/a/$eq"]),
        ({"a": {"$in": []}}, ["/a/$in"]),
        ({"a": {"$in": "x"}}, ["/a/$in"]),
        ({"a": {"$in": [1, [2], {}]}}, ["/a/$in/1", "/a/$in/2"]),
        ({"a": {"$in": list(range(1001))}}, ["/a/$in"]),
        ({"a": {"$gt": None}}, ["/a/$gt"]),
        ({"a": {"$gt": True}}, ["/a/$gt"]),
        ({"a": {"$gt": [1]}}, ["/a/$gt"]),
        ({"a": {"$gt": 1, "$lt": "x"}}, ["/a"]),
        ({"a": {"$gt": 1, "$gte": 2}}, ["/a"]),
        ({"a": {"$lt": 1, "$lte": 2}}, ["/a"]),
        ({"a": {"$exists": 1}}, ["/a/$exists"]),
        ({"a": {"$regex": "x"}}, ["/a/$regex"]),
        ({"$eq": 1}, ["/$eq"]),
        ({"$foo": 1}, ["/$foo"]),
        ({"$and": []}, ["/$and"]),
        ({"$and": {"a": 1}}, ["/$and"]),
        ({"$or": [{"a": 1}, {}, 5]}, ["/$or/1", "/$or/2"]),
        ({"$not": []}, ["/$not"]),
        ({"$not": {}}, ["/$not"]),
        ({"x" * 513: 1}, ["/" + "x" * 513]),
        ({"a\0": 1}, ["/a\0"]),
        ({"a": "\0"}, ["/a"]),
        ({"$nor": [], "b": {"$in": 1}, "c": 1, "d": {}}, ["/$nor", "/b/$in", "/d"]),
    ],
)
def test_every_mistake_is_named(document: Any, places: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_filter(document)
    found = ["".join(f"/{step}" for step in v.path[1:]) for v in caught.value.violations]
    assert found == places
    assert all(violation.message for violation in caught.value.violations)


def test_depth_is_limited() -> None:
    document: Any = {"a": 1}
    for _ in range(MAX_DEPTH - 1):
        document = {"$not": document}
    parse_filter(document)
    with pytest.raises(InvalidInput, match="levels deep"):
        parse_filter({"$not": document})


def test_size_is_limited() -> None:
    conditions = [{"a": n} for n in range(MAX_CONDITIONS)]
    parse_filter({"$or": conditions})
    with pytest.raises(InvalidInput, match="conditions"):
        parse_filter({"$or": [*conditions, {"a": 1}]})
