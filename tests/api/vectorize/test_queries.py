from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.vectorize.factories import refused, vector

if TYPE_CHECKING:
    from tests.api.vectorize.factories import Account, Index


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("cosine", [("same", 1), ("long", 0.9486833), ("opposite", -1)]),
        ("euclidean", [("same", 0), ("long", 9.0553851), ("opposite", 2 * 2**0.5)]),
        ("dot-product", [("long", -12), ("same", -2), ("opposite", 2)]),
    ],
)
def test_scores_have_each_metrics_sign_and_order(
    account: Account, metric: str, expected: list[tuple[str, float]]
) -> None:
    index = account.create(metric=metric)
    vectors = {"same": [1, 1, 0], "long": [10, 2, 0], "opposite": [-1, -1, 0]}
    if metric == "cosine":
        vectors["long"] = [10, 5, 0]
    index.upsert(*(vector(name, values) for name, values in vectors.items()))
    found = [(match["id"], match["score"]) for match in index.query([1, 1, 0])]
    if metric == "euclidean":
        expected = sorted(expected, key=lambda pair: pair[1])
    assert found == [(name, pytest.approx(score, abs=1e-6)) for name, score in expected]


def test_a_match_has_what_was_asked_for_and_no_more(index: Index) -> None:
    index.upsert(vector("a", metadata={"k": 1}, namespace="n"), vector("b", [0, 1, 0]))
    bare = [{"id": "a", "score": 1, "namespace": "n"}, {"id": "b", "score": 0}]
    assert index.query([1, 0, 0]) == bare
    for nothing in ("none", False, None):
        assert index.query([1, 0, 0], returnMetadata=nothing) == bare
    full = [
        {"id": "a", "score": 1, "values": [1, 0, 0], "metadata": {"k": 1}, "namespace": "n"},
        {"id": "b", "score": 0, "values": [0, 1, 0]},
    ]
    for everything in ("all", True):
        found = index.query([1, 0, 0], returnMetadata=everything, returnValues=True)
        assert found == full


def test_indexed_metadata_is_what_the_indexes_hold(index: Index) -> None:
    index.upsert(vector("early", metadata={"a": {"b": "x"}}))
    index.declare("a.b", "string")
    index.declare("n", "number")
    metadata = {"a": {"b": "\u20ac" * 30, "c": 1}, "n": "no number", "other": True}
    index.upsert(vector("late", [0, 1, 0], metadata=metadata))
    late, early = index.query([0, 1, 0], returnMetadata="indexed")
    assert late["metadata"] == {"a": {"b": "\u20ac" * 21}}
    assert "metadata" not in early


def test_a_stored_vector_can_be_asked_with(index: Index) -> None:
    index.upsert(vector("a"), vector("b", [0, 1, 0]))
    assert [match["id"] for match in index.query(vectorId="b")] == ["b", "a"]
    refused(index.post("/query", {"vectorId": "c"}), 404, 40110)


def test_a_namespace_is_searched_alone(index: Index) -> None:
    index.upsert(vector("a", namespace="x"), vector("b", namespace="y"), vector("c"))
    assert [match["id"] for match in index.query([1, 0, 0], namespace="y")] == ["b"]
    assert index.query([1, 0, 0], namespace="z") == []
    assert len(index.query([1, 0, 0], namespace="")) == 3


def test_filters_do_not_reduce_what_is_found(account: Account) -> None:
    index = account.create(dimensions=2)
    index.declare("odd", "boolean")
    index.upsert(*(vector(str(n), [100, n], metadata={"odd": n % 2 == 1}) for n in range(100)))
    found = index.query([1, 0], filter={"odd": True}, topK=20)
    assert [match["id"] for match in found] == [str(n) for n in range(1, 41, 2)]


def test_five_matches_unless_told(index: Index) -> None:
    index.upsert(*(vector(str(n)) for n in range(120)))
    assert len(index.query([1, 0, 0])) == 5
    assert len(index.query([1, 0, 0], topK=100)) == 100
    assert len(index.query([1, 0, 0], topK=50.0, returnValues=True)) == 50


@pytest.mark.parametrize(
    "options",
    [
        {"topK": 101},
        {"topK": 0},
        {"topK": 1.5},
        {"topK": 51, "returnValues": True},
        {"topK": 51, "returnMetadata": "all"},
    ],
)
def test_more_matches_than_allowed_are_refused(index: Index, options: dict[str, Any]) -> None:
    refused(index.post("/query", {"vector": [1, 0, 0], **options}), 400, 40025)


def test_indexed_metadata_leaves_100_matches(index: Index) -> None:
    assert index.query([1, 0, 0], topK=100, returnMetadata="indexed") == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"vector": [1, 0, 0], "vectorId": "a"},
        {"vector": "1"},
        {"vector": [1, 0, 1e39]},
        {"vector": [1, 0, 0], "returnMetadata": "some"},
        {"vector": [1, 0, 0], "topK": "many"},
        {"vector": [1, 0, 0], "filter": []},
        {"text": "this index has no model"},
        [],
    ],
)
def test_a_query_that_cannot_be_read_is_refused(index: Index, body: Any) -> None:
    refused(index.post("/query", body), 400, 40026)


def test_a_vector_of_zeros_has_no_direction(index: Index) -> None:
    index.upsert(vector("zero", [0, 0, 0]), vector("a"))
    assert index.query([0, 0, 0])[0]["score"] == 0
    assert [match["score"] for match in index.query([1, 0, 0])] == [1, 0]
