from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.api.factories import COLLECTIONS, new_collection, new_name, pointers, problem

if TYPE_CHECKING:
    import httpx


def test_a_collection_needs_only_a_name(api: httpx.Client) -> None:
    created = api.post(COLLECTIONS, json={"name": new_name()}).json()
    assert created["description"] is None
    assert created["model_id"] == "multimodal-embedding-v1"


def test_null_stands_for_absent(api: httpx.Client) -> None:
    body = {"name": new_name(), "description": None, "model_id": None}
    assert api.post(COLLECTIONS, json=body).status_code == 201


def test_names_are_unique_in_the_project(api: httpx.Client) -> None:
    name = new_name()
    assert api.post(COLLECTIONS, json={"name": name}).status_code == 201
    answer = api.post(COLLECTIONS, json={"name": name})
    assert name in problem(answer, 409, "name_taken")["detail"]


def test_a_deleted_name_can_be_used_again(api: httpx.Client) -> None:
    name = new_name()
    first = api.post(COLLECTIONS, json={"name": name}).json()
    api.delete(f"{COLLECTIONS}/{first['id']}")
    assert api.post(COLLECTIONS, json={"name": name}).status_code == 201


def test_an_unknown_model_is_not_found(api: httpx.Client) -> None:
    answer = api.post(COLLECTIONS, json={"name": new_name(), "model_id": "no-such-model"})
    assert "no-such-model" in problem(answer, 404, "not_found")["detail"]


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/name", "missing"),
        ({"name": ""}, "/name", "invalid"),
        ({"name": "x" * 101}, "/name", "invalid"),
        ({"name": 5}, "/name", "invalid"),
        ({"name": None}, "/name", "invalid"),
        ({"name": "a\0b"}, "/name", "invalid"),
        ({"name": "x", "description": "x" * 501}, "/description", "invalid"),
        ({"name": "x", "description": "\0"}, "/description", "invalid"),
        ({"name": "x", "model": "m"}, "/model", "unknown_field"),
        ([], "", "invalid"),
    ],
)
def test_a_wrong_collection_is_refused_with_a_pointer(
    api: httpx.Client, body: object, pointer: str, code: str
) -> None:
    answer = api.post(COLLECTIONS, json=body)
    [error] = problem(answer, 400, "invalid_request")["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)


def test_the_longest_name_and_description_are_taken(api: httpx.Client) -> None:
    body = {"name": "ü" * 99 + str(hash(new_name()) % 10), "description": "ß" * 500}
    assert api.post(COLLECTIONS, json=body).json()["description"] == "ß" * 500


def test_pages_of_collections(api: httpx.Client) -> None:
    paths = [new_collection(api) for _ in range(3)]
    total = api.get(COLLECTIONS).json()["total"]
    page = api.get(COLLECTIONS, params={"limit": 2, "offset": total - 3}).json()
    assert [f"{COLLECTIONS}/{entry['id']}" for entry in page["collections"]] == paths[:2]
    assert (page["total"], page["limit"], page["offset"]) == (total, 2, total - 3)
    beyond = api.get(COLLECTIONS, params={"offset": total}).json()
    assert beyond["collections"] == []


def test_collections_by_name(api: httpx.Client) -> None:
    name = new_name()
    created = api.post(COLLECTIONS, json={"name": name}).json()
    page = api.get(COLLECTIONS, params={"name": name}).json()
    assert page["collections"] == [created]
    assert page["total"] == 1
    assert api.get(COLLECTIONS, params={"name": f"{name}!"}).json()["total"] == 0


def test_rename_and_describe(api: httpx.Client) -> None:
    path = new_collection(api)
    before = api.get(path).json()
    name = new_name()
    after = api.patch(path, json={"name": name}).json()
    assert (after["name"], after["description"]) == (name, None)
    assert after["updated_at"] > before["updated_at"]
    assert api.patch(path, json={"description": "new"}).json()["description"] == "new"
    assert api.patch(path, json={}).json()["description"] == "new"
    assert api.patch(path, json={"description": None}).json()["description"] is None
    assert api.get(path).json()["name"] == name


def test_rename_to_a_taken_name(api: httpx.Client) -> None:
    name = new_name()
    api.post(COLLECTIONS, json={"name": name})
    problem(api.patch(new_collection(api), json={"name": name}), 409, "name_taken")


def test_what_cannot_be_changed_is_refused(api: httpx.Client) -> None:
    answer = api.patch(new_collection(api), json={"model_id": "multimodal-embedding-v1"})
    problem(answer, 400, "invalid_request")
    assert pointers(answer) == ["/model_id"]


@pytest.mark.parametrize("name", ["col_nope", "x" * 500, "ü", "%00", "%25", "..%2f..%2fetc"])
@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
def test_an_unknown_collection_is_not_found(api: httpx.Client, method: str, name: str) -> None:
    body = {"json": {"description": "x"}} if method == "PATCH" else {}
    answer = api.request(method, f"{COLLECTIONS}/{name}", **body)
    problem(answer, 404, "not_found")


def test_deleting_twice(api: httpx.Client) -> None:
    path = new_collection(api, {"text": "a"})
    assert api.delete(path).json()["deleted"] is True
    problem(api.delete(path), 404, "not_found")
    problem(api.get(f"{path}/items"), 404, "not_found")
