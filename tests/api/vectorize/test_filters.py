from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.vectorize.factories import Account, refused, result, vector
from tests.servers.app import new_database, running

if TYPE_CHECKING:
    from tests.api.vectorize.factories import Index
    from tests.servers.postgres import PostgresServer


def test_only_what_was_written_since_matches(index: Index) -> None:
    index.upsert(vector("early", metadata={"k": "x"}))
    index.declare("k", "string")
    index.upsert(vector("late", metadata={"k": "x"}))
    assert index.found(k="x") == {"late"}
    assert index.found(k={"$ne": "y"}) == {"late"}
    index.upsert(vector("early", metadata={"k": "x"}))
    assert index.found(k="x") == {"early", "late"}


def test_a_property_without_an_index_matches_nothing(index: Index) -> None:
    index.upsert(vector("a", metadata={"k": "x"}))
    assert index.found(k="x") == set()
    assert index.found(k={"$ne": "x"}) == set()


def test_a_deleted_index_is_forgotten(index: Index) -> None:
    index.declare("k", "string")
    index.upsert(vector("a", metadata={"k": "x"}))
    result(index.post("/metadata_index/delete", {"propertyName": "k"}))
    assert index.found(k="x") == set()
    index.declare("k", "string")
    assert index.found(k="x") == set()
    index.upsert(vector("b", metadata={"k": "x"}))
    assert index.found(k="x") == {"b"}


def test_an_index_is_listed_once_and_created_twice(index: Index) -> None:
    index.declare("a.b", "number")
    index.declare("a.b", "number")
    listed = result(index.get("/metadata_index/list"))
    assert listed == {"metadataIndexes": [{"propertyName": "a.b", "indexType": "number"}]}


OPERATORS: list[tuple[Any, set[str]]] = [
    (2, {"two"}),
    ({"$eq": 2}, {"two"}),
    ({"$ne": 2}, {"one", "half"}),
    ({"$in": [1, 2]}, {"one", "two"}),
    ({"$nin": [1, 2]}, {"half"}),
    ({"$lt": 1}, {"half"}),
    ({"$lte": 1}, {"one", "half"}),
    ({"$gt": 1}, {"two"}),
    ({"$gte": 1, "$lt": 2}, {"one"}),
    ({"$gt": "0"}, set()),
    ("2", set()),
    (True, set()),
    ({"$ne": "2"}, {"one", "two", "half"}),
    ({"$ne": None}, {"one", "two", "half"}),
    (None, {"text", "none"}),
    ({"$in": [None, 1]}, {"one", "text", "none"}),
]


@pytest.mark.parametrize(("condition", "expected"), OPERATORS)
def test_operators_look_at_the_index(index: Index, condition: Any, expected: set[str]) -> None:
    index.declare("n", "number")
    index.upsert(
        vector("one", metadata={"n": 1}),
        vector("two", metadata={"n": 2.0}),
        vector("half", metadata={"n": 0.5}),
        vector("text", metadata={"n": "2"}),
        vector("none", metadata={"other": 2}),
    )
    assert index.found(n=condition) == expected


def test_strings_are_compared_by_their_first_64_bytes(index: Index) -> None:
    index.declare("k", "string")
    long = "\u00e9" * 40
    index.upsert(vector("a", metadata={"k": long}), vector("b", metadata={"k": "\u00e9" * 31}))
    assert index.found(k=long) == {"a"}
    assert index.found(k="\u00e9" * 32 + "other") == {"a"}
    assert index.found(k={"$gt": "\u00e9" * 31}) == {"a"}
    assert index.found(k={"$lte": long}) == {"a", "b"}


def test_strings_are_ordered_by_code_point(index: Index) -> None:
    index.declare("k", "string")
    index.upsert(*(vector(k, metadata={"k": k}) for k in ("A", "Z", "a", "\u00e4", "\U0001f600")))
    assert index.found(k={"$gte": "Z", "$lt": "\u00e4"}) == {"Z", "a"}
    assert index.found(k={"$gt": "\uffff"}) == {"\U0001f600"}


def test_conditions_hold_together_and_reach_into_objects(index: Index) -> None:
    index.declare("a.b", "string")
    index.declare("flag", "boolean")
    index.upsert(
        vector("1", metadata={"a": {"b": "x"}, "flag": True}),
        vector("2", metadata={"a": {"b": "x"}, "flag": False}),
        vector("3", metadata={"a": "x", "flag": True}),
        vector("4", metadata={"a": [{"b": "x"}], "flag": True}),
    )
    assert index.found(a__b="x", flag=True) == {"1"}
    assert index.found(flag={"$ne": True}) == {"2"}


WRONG = [
    {},
    {"k": "x" * 2048},
    {"": 1},
    {"$k": 1},
    {'"': 1},
    {"a|b": 1},
    {"a..b": 1},
    {"k" * 513: 1},
    {"k": {}},
    {"k": {"$near": 1}},
    {"k": {"inner": 1}},
    {"k": {"$exists": True}},
    {"$and": [{"k": 1}]},
    {"k": [1]},
    {"k": {"$eq": [1]}},
    {"k": {"$in": 1}},
    {"k": {"$in": []}},
    {"k": {"$lt": True}},
    {"k": {"$lt": None}},
    {"k": {"$gt": 1, "$lt": "2"}},
    {"k": {"$gt": 1, "$gte": 2}},
    {"k": {"$ne": 1, "$lt": 2}},
    {"k": {"$eq": 1, "$ne": 2}},
]


@pytest.mark.parametrize("document", WRONG, ids=lambda document: str(document)[:40])
def test_a_filter_beyond_the_rules_is_refused(index: Index, document: dict[str, Any]) -> None:
    refused(index.post("/query", {"vector": [1, 0, 0], "filter": document}), 400, 40105)


def test_a_filter_has_less_than_2048_bytes(index: Index) -> None:
    longest = {"k": "x" * (2047 - len('{"k":""}'))}
    assert index.query([1, 0, 0], filter=longest) == []


def test_a_setting_lets_filters_look_at_any_metadata(postgres: PostgresServer) -> None:
    settings = {"OMNIVEC_PRELOAD_MODELS": "none", "OMNIVEC_VECTORIZE_UNINDEXED": "metadata"}
    database = {"OMNIVEC_DATABASE_URL": new_database(postgres)}
    with running(settings | database) as service, service.client() as client:
        index = Account(client).create()
        index.upsert(vector("a", metadata={"k": 1}), vector("b", metadata={"k": 2}))
        assert index.found(k={"$lt": 2}) == {"a"}
    settings["OMNIVEC_VECTORIZE_UNINDEXED"] = "error"
    with running(settings | database) as service, service.client() as client:
        index = Account(client).create()
        answer = index.post("/query", {"vector": [1, 0, 0], "filter": {"k": 1}})
        refused(answer, 400, 40105, "k has no metadata index")
