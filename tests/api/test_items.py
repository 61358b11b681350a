from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.factories import delete, index, new_collection, picture, pointers, problem

if TYPE_CHECKING:
    import httpx


@pytest.fixture(scope="module")
def shelf(api: httpx.Client) -> str:
    """A collection with ten texts and two pictures."""
    texts = [
        {"id": f"text-{n}", "text": f"number {n}", "metadata": {"n": n, "odd": n % 2 == 1}}
        for n in range(10)
    ]
    pictures = [
        {"id": f"image-{colour}", "image_base64": picture(colour), "metadata": {"colour": colour}}
        for colour in ("red", "blue")
    ]
    return new_collection(api, *texts, *pictures)


def ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def test_pages_cover_the_list_once(api: httpx.Client, shelf: str) -> None:
    seen: list[str] = []
    for offset in range(0, 15, 5):
        answer = api.get(f"{shelf}/items", params={"limit": 5, "offset": offset})
        assert answer.json()["total"] == 12
        seen += ids(answer)
    assert seen == [*(f"text-{n}" for n in range(10)), "image-red", "image-blue"]


def test_the_default_page(api: httpx.Client, shelf: str) -> None:
    page = api.get(f"{shelf}/items").json()
    assert (page["limit"], page["offset"], len(page["items"])) == (20, 0, 12)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("content_type=image", ["image-red", "image-blue"]),
        ("content_type=image,text&limit=1&offset=10", ["image-red"]),
        ("content_type=image&content_type=audio", ["image-red", "image-blue"]),
        ("content_type=audio", []),
        ('filter={"n":{"$gte":8}}', ["text-8", "text-9"]),
        ('filter={"odd":true}&limit=2', ["text-1", "text-3"]),
        ('filter={"colour":"red"}&content_type=image', ["image-red"]),
        ('filter={"$not":{"n":{"$exists":true}}}', ["image-red", "image-blue"]),
        ('filter={"n":"8"}', []),
    ],
)
def test_items_by_kind_and_metadata(
    api: httpx.Client, shelf: str, query: str, expected: list[str]
) -> None:
    assert ids(api.get(f"{shelf}/items?{query}")) == expected


def test_the_total_counts_what_the_filter_keeps(api: httpx.Client, shelf: str) -> None:
    page = api.get(f"{shelf}/items", params={"filter": '{"odd":true}', "limit": 2}).json()
    assert page["total"] == 5


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=101", "/limit"),
        ("limit=x", "/limit"),
        ("limit=1.5", "/limit"),
        ("limit=", "/limit"),
        ("limit=99999999999999999999", "/limit"),
        ("offset=-1", "/offset"),
        ("offset=99999999999", "/offset"),
        ("limit=5&limit=6", "/limit"),
        ("content_type=video", "/content_type"),
        ("content_type=", "/content_type"),
        ("filter={", "/filter"),
        ("filter={}", "/filter"),
        ("filter=[]", "/filter"),
        ("filter=", "/filter"),
        ('filter={"a":{"$foo":1}}', "/filter/a/$foo"),
        ("top=5", "/top"),
        ("Limit=5", "/Limit"),
    ],
)
def test_wrong_query_parameters(api: httpx.Client, shelf: str, query: str, pointer: str) -> None:
    answer = api.get(f"{shelf}/items?{query}")
    problem(answer, 400, "invalid_request")
    assert pointers(answer) == [pointer]


def test_a_far_offset_is_an_empty_page(api: httpx.Client, shelf: str) -> None:
    assert ids(api.get(f"{shelf}/items", params={"offset": 2**31 - 1})) == []


def test_get_an_item(api: httpx.Client, shelf: str) -> None:
    item = api.get(f"{shelf}/items/text-3").json()
    assert item["text"] == "number 3"
    assert item["metadata"] == {"n": 3, "odd": True}
    assert item in api.get(f"{shelf}/items").json()["items"]
    problem(api.get(f"{shelf}/items/text-99"), 404, "not_found")


@pytest.mark.parametrize("twin", [False, True])
def test_delete_counts_what_existed(api: httpx.Client, twin: bool) -> None:
    path = new_collection(api)
    made = index(api, path, {"text": "a"}, {"text": "b"}, {"text": "c"})
    body = {"ids": [made[0], made[1], made[1], "item_no"]}
    answer = (
        api.post(f"{path}/items/delete", json=body) if twin else delete(api, f"{path}/items", body)
    )
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"deleted": 2}
    assert ids(api.get(f"{path}/items")) == [made[2]]
    assert api.get(path).json()["item_count"] == 1


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        ({}, 400, "/ids"),
        ({"ids": []}, 400, "/ids"),
        ({"ids": "item_a"}, 400, "/ids"),
        ({"ids": ["a", 5]}, 400, "/ids/1"),
        ({"ids": ["a"], "all": True}, 400, "/all"),
        ({"ids": [str(n) for n in range(1001)]}, 413, "/ids"),
    ],
)
def test_wrong_deletions(
    api: httpx.Client, shelf: str, body: Any, status: int, pointer: str
) -> None:
    for answer in (
        delete(api, f"{shelf}/items", body),
        api.post(f"{shelf}/items/delete", json=body),
    ):
        problem(answer, status, "payload_too_large" if status == 413 else "invalid_request")
        assert pointers(answer) == [pointer]


def test_strange_ids_delete_nothing(api: httpx.Client, shelf: str) -> None:
    names = ["", "x" * 1000, "a\0b", "ü", "'; DROP TABLE items"]
    assert delete(api, f"{shelf}/items", {"ids": names}).json() == {"deleted": 0}


def test_a_thousand_ids(api: httpx.Client, shelf: str) -> None:
    body = {"ids": [f"no-{n}" for n in range(1000)]}
    assert json.loads(delete(api, f"{shelf}/items", body).text) == {"deleted": 0}


def test_deleting_without_a_body(api: httpx.Client, shelf: str) -> None:
    answer = api.delete(f"{shelf}/items")
    assert "no body" in problem(answer, 400, "invalid_request")["detail"]
