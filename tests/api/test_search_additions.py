"""Several inputs, words, groups, facets, diversity and explanations."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from app.settings import ROOT
from tests.api.factories import encoded, index, new_collection, pointers, problem

if TYPE_CHECKING:
    import httpx


@pytest.fixture(scope="module")
def shop(api: httpx.Client) -> str:
    """Texts with metadata, and two pictures."""
    items: list[dict[str, Any]] = [
        {"id": "boots", "text": "leather hiking boots", "metadata": {"kind": "shoe", "price": 120}},
        {"id": "sandals", "text": "open summer sandals", "metadata": {"kind": "shoe", "price": 30}},
        {"id": "trainers", "text": "white running shoes", "metadata": {"kind": "shoe"}},
        {"id": "kettle", "text": "a kettle for tea", "metadata": {"kind": "kitchen", "price": 30}},
        {
            "id": "teapot",
            "text": "porcelain pot",
            "metadata": {"kind": "kitchen", "tags": ["tea", "white"], "about": {"title": "Zephyr"}},
        },
        {"id": "sku", "text": "article qx7731", "metadata": {"kind": "other"}},
        {"id": "coffee", "image_base64": encoded("coffee.jpg"), "metadata": {"kind": "kitchen"}},
        {"id": "cat", "image_base64": encoded("cat.jpg"), "metadata": {"tags": ["white"]}},
    ]
    return new_collection(api, *items)


def found(api: httpx.Client, path: str, **query: Any) -> dict[str, Any]:
    answer = api.post(f"{path}/search", json=query)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def names(results: list[dict[str, Any]]) -> list[str]:
    return [hit["id"] for hit in results]


def test_a_client_of_the_published_contract_notices_nothing(api: httpx.Client, shop: str) -> None:
    answer = found(api, shop, text="tea", top_k=2)
    assert set(answer) == {"results", "model", "usage"}
    assert "hybrid_score" not in answer["results"][0]


def test_one_query_in_a_list_is_the_query_itself(api: httpx.Client, shop: str) -> None:
    alone = found(api, shop, text="something to drink")
    listed = found(api, shop, queries=[{"text": "something to drink"}])
    assert names(listed["results"]) == names(alone["results"])
    assert listed["results"][0]["score"] == pytest.approx(alone["results"][0]["score"], abs=1e-4)
    assert listed["usage"] == alone["usage"]


def test_a_negative_weight_leads_away(api: httpx.Client, shop: str) -> None:
    plain = names(found(api, shop, text="shoes")["results"])
    away = names(
        found(
            api,
            shop,
            queries=[
                {"text": "shoes", "weight": 1.0},
                {"text": "leather hiking boots", "weight": -0.8},
            ],
        )["results"]
    )
    assert away.index("boots") > plain.index("boots")


def test_queries_of_several_kinds_meet(api: httpx.Client, shop: str) -> None:
    answer = found(
        api,
        shop,
        queries=[{"image_base64": encoded("cat.jpg")}, {"text": "white running shoes"}],
        top_k=2,
    )
    assert set(names(answer["results"])) == {"cat", "trainers"}
    one, other = (
        found(api, shop, **query)["usage"]["input_tokens"]
        for query in ({"image_base64": encoded("cat.jpg")}, {"text": "white running shoes"})
    )
    assert answer["usage"]["input_tokens"] == one + other


def test_queries_and_examples_meet(api: httpx.Client, shop: str) -> None:
    answer = found(
        api,
        shop,
        queries=[{"text": "footwear"}],
        example={"positive": ["boots"], "negative": ["sandals"]},
    )
    assert {"boots", "sandals"}.isdisjoint(names(answer["results"]))


def test_hybrid_search_finds_the_word_that_means_nothing(api: httpx.Client, shop: str) -> None:
    answer = found(api, shop, text="qx7731", hybrid={"weight": 0.9}, top_k=3)
    best = answer["results"][0]
    assert best["id"] == "sku"
    scores = [hit["hybrid_score"] for hit in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= hit["score"] <= 1 for hit in answer["results"])


def test_hybrid_search_reads_the_fields_it_is_told(api: httpx.Client, shop: str) -> None:
    def best(**options: Any) -> str:
        hybrid = {"weight": 0.9, "text": "zephyr", **options}
        return names(found(api, shop, text="a cat", hybrid=hybrid)["results"])[0]

    assert best() == "cat"
    assert best(fields=["about.title"]) == "teapot"


def test_hybrid_search_stems_in_the_language_it_is_told(api: httpx.Client, shop: str) -> None:
    def words(language: str) -> list[str]:
        hybrid = {"weight": 1, "text": "boot", "language": language}
        answer = found(api, shop, text="porcelain", hybrid=hybrid)
        return names([hit for hit in answer["results"] if hit["hybrid_score"] > 0.016])

    assert words("english") == ["boots"]
    assert words("simple") == []


def test_hybrid_search_keeps_to_filters_and_thresholds(api: httpx.Client, shop: str) -> None:
    answer = found(api, shop, text="white shoes", hybrid=True, filter={"kind": "shoe"})
    assert set(names(answer["results"])) == {"boots", "sandals", "trainers"}
    answer = found(api, shop, text="white shoes", hybrid=True, threshold=1)
    assert answer["results"] == []
    answer = found(api, shop, text="tea", hybrid=True, content_types=["image"])
    assert set(names(answer["results"])) == {"coffee", "cat"}


def test_groups_hold_their_best_and_come_in_the_order_of_these(
    api: httpx.Client, shop: str
) -> None:
    answer = found(api, shop, text="shoes", group_by={"field": "kind", "size": 2})
    groups = answer["groups"]
    assert groups[0]["value"] == "shoe"
    assert {group["value"] for group in groups} == {"shoe", "kitchen", "other"}
    assert [len(group["results"]) for group in groups if group["value"] != "other"] == [2, 2]
    assert names(answer["results"]) == [group["results"][0]["id"] for group in groups]
    scores = [hit["score"] for hit in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    alone = {hit["id"]: hit for hit in found(api, shop, text="shoes")["results"]}
    for hit in answer["results"]:
        assert hit["similarity"] == pytest.approx(alone[hit["id"]]["similarity"], abs=1e-5)


def test_groups_page_and_filter(api: httpx.Client, shop: str) -> None:
    whole = found(api, shop, text="tea", group_by="kind")["groups"]
    second = found(api, shop, text="tea", group_by="kind", offset=1, top_k=1)["groups"]
    assert second == [
        {"value": whole[1]["value"], "results": second[0]["results"]},
    ]
    assert names(second[0]["results"]) == names(whole[1]["results"])
    cheap = found(api, shop, text="tea", group_by="kind", filter={"price": {"$lt": 100}})
    assert {g["value"]: names(g["results"]) for g in cheap["groups"]} == {
        "kitchen": ["kettle"],
        "shoe": ["sandals"],
    }
    assert found(api, shop, text="tea", group_by="nothing")["groups"] == []


def test_an_item_is_in_the_group_of_each_of_its_values(api: httpx.Client, shop: str) -> None:
    answer = found(api, shop, text="porcelain pot", group_by="tags")
    assert {g["value"]: set(names(g["results"])) for g in answer["groups"]} == {
        "tea": {"teapot"},
        "white": {"teapot", "cat"},
    }


def test_groups_of_a_hybrid_search(api: httpx.Client, shop: str) -> None:
    answer = found(api, shop, text="qx7731", hybrid={"weight": 0.9}, group_by="kind", top_k=2)
    assert answer["groups"][0]["value"] == "other"
    assert answer["groups"][0]["results"][0]["hybrid_score"] > 0


def test_included_vectors_are_there_however_a_result_was_found(
    api: httpx.Client, shop: str
) -> None:
    for more in ({"hybrid": True}, {"group_by": "kind"}, {"diversity": 0.5}):
        answer = found(api, shop, text="tea", include=["vector"], **more)
        hits = answer["results"] + [h for g in answer.get("groups", []) for h in g["results"]]
        assert all(len(hit["vector"]) == 1024 for hit in hits)


def test_facets_count_what_passes_the_filter(api: httpx.Client, shop: str) -> None:
    answer = found(
        api,
        shop,
        text="tea",
        top_k=1,
        facets=["kind", {"field": "tags", "limit": 1}, "about.title", "price"],
    )
    assert len(answer["results"]) == 1
    assert answer["facets"] == {
        "kind": [
            {"value": "kitchen", "count": 3},
            {"value": "shoe", "count": 3},
            {"value": "other", "count": 1},
        ],
        "tags": [{"value": "white", "count": 2}],
        "about.title": [{"value": "Zephyr", "count": 1}],
        "price": [{"value": 30, "count": 2}, {"value": 120, "count": 1}],
    }
    answer = found(
        api, shop, text="tea", facets=["kind"], filter={"price": 30}, content_types=["text"]
    )
    assert answer["facets"]["kind"] == [
        {"value": "kitchen", "count": 1},
        {"value": "shoe", "count": 1},
    ]


def test_diversity_passes_over_what_is_the_same(api: httpx.Client) -> None:
    path = new_collection(api)
    index(api, path, *({"id": f"tea{n}", "text": "a pot of green tea"} for n in range(5)))
    index(api, path, {"id": "coffee", "text": "a cup of black coffee"})
    assert "coffee" not in names(found(api, path, text="green tea", top_k=3)["results"])
    diverse = found(api, path, text="green tea", top_k=3, diversity=0.6)["results"]
    assert names(diverse)[0].startswith("tea")
    assert names(diverse)[1] == "coffee"
    few = found(api, path, text="tea", top_k=3, diversity={"weight": 1, "candidates": 3})
    assert all(name.startswith("tea") for name in names(few["results"]))
    hybrid = found(api, path, text="green tea", top_k=2, diversity=0.6, hybrid=True)
    assert names(hybrid["results"])[1] == "coffee"


def test_an_explanation_tells_how_it_was_answered(api: httpx.Client, shop: str) -> None:
    for more in ({}, {"hybrid": True}, {"group_by": "kind"}, {"diversity": 0.5}):
        explained = found(api, shop, text="tea", explain=True, **more)["explain"]
        assert explained["strategy"] == "exact"
        assert explained["rows"] == 8
        assert explained["fallback"] is False
        assert set(explained["seconds"]) == {"encode", "database"}
        assert all(seconds >= 0 for seconds in explained["seconds"].values())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"queries": []}, ["/queries"]),
        ({"queries": [{"text": "a"}] * 17}, ["/queries"]),
        ({"queries": [{"text": "a"}, {}]}, ["/queries/1"]),
        ({"queries": [{"text": "a", "image": "b"}]}, ["/queries/0"]),
        ({"queries": [{"text": ""}]}, ["/queries/0/text"]),
        ({"queries": [{"text": "a", "weight": 0}, {"text": "b"}]}, ["/queries/0/weight"]),
        ({"queries": [{"text": "a", "weight": -1}]}, ["/queries"]),
        ({"queries": [{"text": "a", "weight": 101}]}, ["/queries/0/weight"]),
        ({"queries": [{"text": "a", "wait": 1}]}, ["/queries/0/wait"]),
        ({"queries": [{"text": "a"}], "text": "b"}, ["/text"]),
        ({"queries": [{"image_base64": "!"}]}, ["/queries/0/image_base64"]),
        (
            {"queries": [{"text": "a"}, {"text": "a", "weight": -1}]},
            ["/queries"],
        ),
        ({"text": "a", "hybrid": "yes"}, ["/hybrid"]),
        ({"text": "a", "hybrid": {"weight": 2}}, ["/hybrid/weight"]),
        ({"text": "a", "hybrid": {"text": ""}}, ["/hybrid/text"]),
        ({"text": "a", "hybrid": {"language": "klingon"}}, ["/hybrid/language"]),
        ({"text": "a", "hybrid": {"fields": ["b", "c..d"]}}, ["/hybrid/fields/1"]),
        ({"image_base64": "AAAA", "hybrid": True}, ["/hybrid/text"]),
        ({"text": "a", "group_by": ""}, ["/group_by"]),
        ({"text": "a", "group_by": {"field": "$a"}}, ["/group_by/field"]),
        ({"text": "a", "group_by": {"field": "b", "size": 101}}, ["/group_by/size"]),
        (
            {"text": "a", "group_by": {"field": "b", "size": 100}, "offset": 1000},
            ["/group_by/size"],
        ),
        ({"text": "a", "group_by": "b", "diversity": 0.5}, ["/diversity"]),
        ({"text": "a", "diversity": 1.5}, ["/diversity"]),
        ({"text": "a", "diversity": {"weight": -1}}, ["/diversity/weight"]),
        ({"text": "a", "diversity": {"candidates": 0}}, ["/diversity/candidates"]),
        ({"text": "a", "diversity": 0.5, "offset": 1000}, ["/offset"]),
        ({"text": "a", "facets": ["b", "b"]}, ["/facets/1"]),
        ({"text": "a", "facets": ["b", {"field": "b"}]}, ["/facets/1/field"]),
        ({"text": "a", "facets": [{"field": "b", "limit": 0}]}, ["/facets/0/limit"]),
        ({"text": "a", "facets": ["\0"]}, ["/facets/0"]),
        ({"text": "a", "facets": ["b"] * 17}, ["/facets"]),
        ({"text": "a", "explain": 1}, ["/explain"]),
        (
            {"text": "a", "group_by": "", "facets": [""], "filter": {"$x": 1}},
            ["/filter/$x", "/group_by", "/facets/0"],
        ),
    ],
)
def test_every_wrong_field_is_pointed_to(
    api: httpx.Client, shop: str, query: dict[str, Any], expected: list[str]
) -> None:
    answer = api.post(f"{shop}/search", json=query)
    code = "invalid_request"
    problem(answer, 400, code)
    assert pointers(answer) == expected


def test_media_that_cannot_be_had_is_pointed_to(api: httpx.Client, shop: str, web: str) -> None:
    queries = [{"text": "a"}, {"image": f"{web}/nothing.jpg"}]
    answer = api.post(f"{shop}/search", json={"queries": queries})
    problem(answer, 422, "fetch_failed")
    assert pointers(answer) == ["/queries/1/image"]
    answer = api.post(f"{shop}/search", json={"audio_base64": "AAAA"})
    problem(answer, 422, "unsupported_media")
    assert pointers(answer) == ["/audio_base64"]


def test_every_example_of_the_documentation_works(api: httpx.Client) -> None:
    path = new_collection(
        api,
        {"id": "item_abc123", "text": "red shoes", "metadata": {"category": "footwear"}},
        {"id": "item_def456", "text": "blue shoes", "metadata": {"brand": "Zephyr"}},
    )
    blocks = re.findall(r"```json\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL)
    assert len(blocks) >= 8
    for block in map(json.loads, blocks):
        if block.keys() == {"model_id"}:  # a migration, to a model that is known but not here
            answer = api.post(f"{path}/migrations", json=block)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        else:
            answer = api.post(f"{path}/search", json=block)
            assert answer.status_code == 200, f"{block}: {answer.text}"
    document = api.get("/schema/openapi.json").json()
    fields = document["components"]["schemas"]["SearchRequest"]["properties"]
    for name in ("queries", "filter", "hybrid", "diversity", "group_by", "facets"):
        assert fields[name]["examples"], name
        for example in fields[name]["examples"]:
            query = {name: example} | ({} if name == "queries" else {"text": "shoes"})
            answer = api.post(f"{path}/search", json=query)
            assert answer.status_code == 200, f"{query}: {answer.text}"
