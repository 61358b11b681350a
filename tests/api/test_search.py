from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.factories import COLLECTIONS, encoded, new_collection, picture, pointers, problem

if TYPE_CHECKING:
    import httpx


@pytest.fixture(scope="module")
def zoo(api: httpx.Client) -> str:
    """Pictures, sounds and texts."""
    items: list[dict[str, Any]] = [
        {"id": "cat", "image_base64": encoded("cat.jpg"), "metadata": {"kind": "animal"}},
        {"id": "coffee", "image_base64": encoded("coffee.jpg"), "metadata": {"kind": "drink"}},
        {"id": "rocket", "image_base64": encoded("rocket.jpg"), "metadata": {"kind": "machine"}},
        {"id": "bell", "audio_base64": encoded("bell.wav"), "metadata": {"seconds": 2}},
        {"id": "siren", "audio_base64": encoded("siren.wav"), "metadata": {"seconds": 5}},
        {"id": "tea", "text": "a pot of green tea", "metadata": {"kind": "drink", "price": 4.5}},
        {"id": "kitten", "text": "a small kitten sleeps", "metadata": {"kind": "animal"}},
    ]
    return new_collection(api, *items)


def search(api: httpx.Client, path: str, **query: Any) -> list[dict[str, Any]]:
    answer = api.post(f"{path}/search", json=query)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


def names(results: list[dict[str, Any]]) -> list[str]:
    return [hit["id"] for hit in results]


def test_hits_come_best_first(api: httpx.Client, zoo: str) -> None:
    results = search(api, zoo, text="a cup of espresso")
    assert len(results) == 7
    scores = [hit["score"] for hit in results]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"image_base64": encoded("cat.jpg")}, "cat"),
        ({"audio_base64": encoded("siren.wav")}, "siren"),
        ({"text": "a pot of green tea"}, "tea"),
    ],
)
def test_identical_content_comes_first_with_a_high_score(
    api: httpx.Client, zoo: str, query: dict[str, str], expected: str
) -> None:
    best = search(api, zoo, **query)[0]
    assert best["id"] == expected
    assert best["score"] > 0.99
    assert best["similarity"] > 0.99


def test_search_by_url(api: httpx.Client, zoo: str, web: str) -> None:
    assert search(api, zoo, image=f"{web}/rocket.jpg")[0]["id"] == "rocket"
    assert search(api, zoo, audio=f"{web}/bell.wav")[0]["id"] == "bell"


def test_a_hit_carries_its_item(api: httpx.Client, zoo: str) -> None:
    hits = {hit["id"]: hit for hit in search(api, zoo, text="tea")}
    assert hits["tea"]["text"] == "a pot of green tea"
    assert hits["tea"]["metadata"] == {"kind": "drink", "price": 4.5}
    assert hits["tea"]["content_url"] is None
    assert "text" not in hits["cat"]
    assert "vector" not in hits["cat"]
    assert api.get(hits["cat"]["content_url"]).status_code == 200


def test_top_k_and_offset_page_through_the_hits(api: httpx.Client, zoo: str) -> None:
    whole = names(search(api, zoo, text="an animal"))
    assert names(search(api, zoo, text="an animal", top_k=3)) == whole[:3]
    assert names(search(api, zoo, text="an animal", top_k=3, offset=3)) == whole[3:6]
    assert search(api, zoo, text="an animal", offset=1000) == []


def test_a_threshold_cuts(api: httpx.Client, zoo: str) -> None:
    whole = search(api, zoo, text="a small kitten sleeps")
    middle = whole[3]["score"]
    kept = search(api, zoo, text="a small kitten sleeps", threshold=middle)
    assert all(hit["score"] >= middle for hit in kept)
    assert names(kept)[:3] == names(whole)[:3]
    assert len(search(api, zoo, text="a small kitten sleeps", threshold=0)) == 7


@pytest.mark.parametrize(
    ("kinds", "expected"),
    [
        (["image"], {"cat", "coffee", "rocket"}),
        (["audio", "text"], {"bell", "siren", "tea", "kitten"}),
    ],
)
def test_content_types(api: httpx.Client, zoo: str, kinds: list[str], expected: set[str]) -> None:
    assert set(names(search(api, zoo, text="x", content_types=kinds))) == expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"kind": "animal"}, {"cat", "kitten"}),
        ({"kind": {"$in": ["drink", "machine"]}}, {"coffee", "rocket", "tea"}),
        ({"kind": {"$ne": "animal"}, "seconds": {"$exists": False}}, {"coffee", "rocket", "tea"}),
        ({"$or": [{"seconds": {"$gt": 2}}, {"price": {"$lt": 5}}]}, {"siren", "tea"}),
    ],
)
def test_filters(
    api: httpx.Client, zoo: str, condition: dict[str, Any], expected: set[str]
) -> None:
    assert set(names(search(api, zoo, text="x", filter=condition))) == expected


def test_examples_steer(api: httpx.Client, zoo: str) -> None:
    assert "cat" not in names(search(api, zoo, example={"positive": ["cat"]}))
    steered = search(api, zoo, text="x", example={"positive": ["cat"], "negative": ["rocket"]})
    assert steered


def test_an_example_that_is_not_there(api: httpx.Client, zoo: str) -> None:
    answer = api.post(f"{zoo}/search", json={"example": {"positive": ["cat", "no"]}})
    problem(answer, 400, "invalid_request")
    assert pointers(answer) == ["/example/positive/1"]


def test_exact_search_finds_the_same_in_a_small_collection(api: httpx.Client, zoo: str) -> None:
    assert names(search(api, zoo, text="space", exact=True)) == names(
        search(api, zoo, text="space")
    )


def test_vectors_on_request(api: httpx.Client, zoo: str) -> None:
    [hit] = search(api, zoo, text="space", include=["vector"], top_k=1)
    assert len(hit["vector"]) == 1024
    assert sum(x * x for x in hit["vector"]) == pytest.approx(1, abs=0.01)


def test_an_empty_collection_has_no_hits(api: httpx.Client) -> None:
    assert search(api, new_collection(api), text="x") == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({}, [""]),
        ({"text": "x", "image_base64": picture()}, [""]),
        ({"top_k": 5}, [""]),
        ({"text": ""}, ["/text"]),
        ({"text": "x" * 8193}, ["/text"]),
        ({"text": "\0"}, ["/text"]),
        ({"text": "x", "top_k": 0}, ["/top_k"]),
        ({"text": "x", "top_k": 101}, ["/top_k"]),
        ({"text": "x", "top_k": 2.5}, ["/top_k"]),
        ({"text": "x", "top_k": "5"}, ["/top_k"]),
        ({"text": "x", "top_k": 10**30}, ["/top_k"]),
        ({"text": "x", "top_k": True}, ["/top_k"]),
        ({"text": "x", "threshold": -0.1}, ["/threshold"]),
        ({"text": "x", "threshold": 1.1}, ["/threshold"]),
        ({"text": "x", "offset": -1}, ["/offset"]),
        ({"text": "x", "offset": 1001}, ["/offset"]),
        ({"text": "x", "content_types": []}, ["/content_types"]),
        ({"text": "x", "content_types": ["image", "video"]}, ["/content_types/1"]),
        ({"text": "x", "include": ["vectors"]}, ["/include/0"]),
        ({"text": "x", "exact": "yes"}, ["/exact"]),
        ({"text": "x", "filter": []}, ["/filter"]),
        ({"text": "x", "filter": {}}, ["/filter"]),
        ({"text": "x", "filter": {"a": {"$gt": None}}}, ["/filter/a/$gt"]),
        ({"text": "x", "example": {}}, ["/example"]),
        ({"text": "x", "example": {"positive": ["a"] * 101}}, ["/example/positive"]),
        ({"example": {"negative": ["cat"]}}, ["/example/positive"]),
        ({"text": "x", "topk": 5}, ["/topk"]),
        ({"text": "", "filter": {"$x": 1}, "example": {}}, ["/text", "/example", "/filter/$x"]),
        ({"image_base64": "????"}, ["/image_base64"]),
    ],
)
def test_wrong_searches(
    api: httpx.Client, zoo: str, body: dict[str, Any], expected: list[str]
) -> None:
    answer = api.post(f"{zoo}/search", json=body)
    problem(answer, 400, "invalid_request")
    assert pointers(answer) == expected


@pytest.mark.parametrize("number", ["1e999", "1e30", "99999999999999999999999999"])
def test_numbers_beyond_reason(api: httpx.Client, zoo: str, number: str) -> None:
    answer = api.post(
        f"{zoo}/search",
        content=f'{{"text": "x", "threshold": {number}}}',
        headers={"Content-Type": "application/json"},
    )
    problem(answer, 400, "invalid_request")


def test_filters_take_numbers_of_any_size(api: httpx.Client, zoo: str) -> None:
    for bound in (10**30, 1e308, -1e308, 0.1):
        search(api, zoo, text="x", filter={"seconds": {"$gt": bound}})
        search(api, zoo, text="x", filter={"seconds": bound})


def test_an_inline_query_over_the_limit(api: httpx.Client, zoo: str) -> None:
    answer = api.post(f"{zoo}/search", json={"image_base64": "A" * 28_000_000})
    problem(answer, 413, "payload_too_large")
    assert pointers(answer) == ["/image_base64"]


def test_a_query_that_cannot_be_decoded(api: httpx.Client, zoo: str) -> None:
    problem(api.post(f"{zoo}/search", json={"image_base64": "AAAA"}), 422, "unsupported_media")


def test_search_in_an_unknown_collection(api: httpx.Client) -> None:
    problem(api.post(f"{COLLECTIONS}/col_no/search", json={"text": "x"}), 404, "not_found")


def test_what_was_just_indexed_is_found(api: httpx.Client) -> None:
    path = new_collection(api)
    for n in range(3):
        answer = api.post(f"{path}/index", json={"items": [{"id": f"n{n}", "text": f"number {n}"}]})
        assert answer.status_code == 200
        assert len(search(api, path, text="number")) == n + 1
