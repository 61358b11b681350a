from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from app.api.vectorize.creating import PRESETS
from tests.api.vectorize.factories import Account, Index, refused, result, vector

if TYPE_CHECKING:
    import httpx


def test_an_index_is_created_read_listed_and_deleted(account: Account) -> None:
    config = {"dimensions": 768, "metric": "euclidean"}
    body = {"name": "mine", "description": "what it is for", "config": config}
    created = result(account.send("POST", "", json=body))
    assert created | body == created
    assert created["created_on"].endswith("Z")
    assert created["modified_on"] >= created["created_on"]
    assert result(account.send("GET", "/mine")) == created
    assert result(account.send("GET", "")) == [created]
    assert result(account.send("DELETE", "/mine")) is None
    assert result(account.send("GET", "")) == []
    refused(account.send("GET", "/mine"), 404, 3000)
    result(account.send("POST", "", json=body))


def test_a_description_may_be_missing(account: Account) -> None:
    index = account.create()
    assert "description" not in result(index.get())


@pytest.mark.parametrize(("preset", "dimensions"), PRESETS.items())
def test_presets_resolve_to_dimensions(account: Account, preset: str, dimensions: int) -> None:
    index = account.create(preset=preset)
    assert result(index.get())["config"] == {"dimensions": dimensions, "metric": "cosine"}


def test_both_mounts_serve_the_same_indexes(api: httpx.Client, account: Account) -> None:
    index = account.create()
    bare = account.path.removeprefix("/client/v4")
    answer = api.get(f"{bare}/v2/indexes/{index.name}")
    assert result(answer)["name"] == index.name


def test_accounts_do_not_see_each_other(api: httpx.Client, index: Index) -> None:
    other = Account(api)
    refused(other.send("GET", f"/{index.name}"), 404, 3000)
    assert result(other.send("GET", "")) == []


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/json; charset=utf-8;", "application/json;", ""],
)
def test_json_is_taken_with_whatever_follows_its_type(account: Account, content_type: str) -> None:
    body = b'{"name": "labelled", "config": {"dimensions": 3, "metric": "cosine"}}'
    headers = {"Content-Type": content_type}
    result(account.send("POST", "", content=body, headers=headers))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "Config must be provided"),
        ({}, "Config must be provided"),
        ({"dimensions": 0, "metric": "cosine"}, "Dimensions must be in range: [1, 1536]"),
        ({"dimensions": 1537, "metric": "cosine"}, "Dimensions must be in range: [1, 1536]"),
        ({"dimensions": 3}, "dimensions and metric"),
        ({"dimensions": 3, "metric": "manhattan"}, "cosine, euclidean, dot-product"),
        ({"preset": "nobody/knows"}, "@cf/baai/bge-small-en-v1.5"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(
    account: Account, config: Any, message: str
) -> None:
    answer = account.send("POST", "", json={"name": "wrong", "config": config})
    refused(answer, 400, 40100, message)


@pytest.mark.parametrize("name", ["", "a/b", "..", "a\nb", "é" * 33])
def test_a_name_that_no_path_can_hold_is_refused(account: Account, name: str) -> None:
    config = {"dimensions": 3, "metric": "cosine"}
    refused(account.send("POST", "", json={"name": name, "config": config}), 400, 40101)


def test_a_name_of_64_bytes_is_taken(account: Account) -> None:
    name = "é" * 32
    config = {"dimensions": 3, "metric": "cosine"}
    result(account.send("POST", "", json={"name": name, "config": config}))
    assert result(account.send("GET", f"/{name}"))["name"] == name


def test_info_counts_and_names_the_last_mutation(index: Index) -> None:
    assert index.info() == {"dimensions": 3, "vectorCount": 0}
    first = index.upsert(vector("a"), vector("b"))
    assert index.info()["processedUpToMutation"] == first
    second = index.insert(vector("b"), vector("c"))
    info = index.info()
    assert info["vectorCount"] == 3
    assert info["processedUpToMutation"] == second > first
    assert info["processedUpToDatetime"].endswith("Z")


def test_vectors_are_listed_from_a_snapshot(index: Index) -> None:
    index.upsert(*(vector(f"v{n}") for n in range(5)))
    first = result(index.get("/list", count=2))
    assert (first["count"], first["isTruncated"], first["totalCount"]) == (2, True, 5)
    assert [entry["id"] for entry in first["vectors"]] == ["v0", "v1"]
    assert first["cursorExpirationTimestamp"].endswith("Z")
    index.insert(vector("late"))
    index.upsert(vector("v3", [0, 1, 0]))
    result(index.post("/delete_by_ids", {"ids": ["v2"]}))
    second = result(index.get("/list", cursor=first["nextCursor"]))
    assert [entry["id"] for entry in second["vectors"]] == ["v3", "v4"]
    assert (second["isTruncated"], second["nextCursor"]) == (False, None)
    assert second["cursorExpirationTimestamp"] is None
    assert result(index.get("/list"))["count"] == 5


def test_an_empty_index_lists_nothing(index: Index) -> None:
    assert result(index.get("/list")) == {
        "count": 0,
        "isTruncated": False,
        "totalCount": 0,
        "vectors": [],
        "nextCursor": None,
        "cursorExpirationTimestamp": None,
    }


def test_a_cursor_belongs_to_its_index(account: Account, index: Index) -> None:
    index.upsert(vector("a"), vector("b"))
    cursor = result(index.get("/list", count=1))["nextCursor"]
    refused(account.create().get("/list", cursor=cursor), 400, 40106)
    refused(index.get("/list", cursor="AAAA"), 400, 40106)


@pytest.mark.parametrize("count", ["0", "1001", "x"])
def test_a_page_has_1_to_1000_ids(index: Index, count: str) -> None:
    refused(index.get("/list", count=count), 400, 40106)
