from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.factories import (
    COLLECTIONS,
    encoded,
    index,
    new_collection,
    picture,
    pointers,
    problem,
)

if TYPE_CHECKING:
    import httpx

TOO_MANY_BYTES = 20 * 2**20 + 3


def send(api: httpx.Client, path: str, *items: Any, **options: Any) -> httpx.Response:
    return api.post(f"{path}/index", json={"items": items, **options})


def test_every_kind_of_input(api: httpx.Client, web: str) -> None:
    path = new_collection(api)
    answer = send(
        api,
        path,
        {"image": f"{web}/cat.jpg"},
        {"image_base64": encoded("rocket.jpg")},
        {"image_base64": f"data:image/jpeg;base64,{encoded('coffee.jpg')}"},
        {"text": "a bell rings"},
        {"audio": f"{web}/bell.wav"},
        {"audio_base64": encoded("siren.wav")},
        {"audio_base64": f"data:audio/wav;charset=x;base64,{encoded('bell.wav')}"},
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    kinds = [item["content_type"] for item in body["items"]]
    assert kinds == ["image", "image", "image", "text", "audio", "audio", "audio"]
    assert body["indexed"] == 7
    assert body["errors"] == []


def test_own_ids_replace(api: httpx.Client) -> None:
    path = new_collection(api)
    ids = index(api, path, {"id": "a:1_B-2.c", "text": "one", "metadata": {"version": 1}})
    assert ids == ["a:1_B-2.c"]
    index(api, path, {"id": "a:1_B-2.c", "image_base64": picture(), "metadata": {"version": 2}})
    [item] = api.get(f"{path}/items").json()["items"]
    assert (item["content_type"], item["metadata"]) == ("image", {"version": 2})
    assert "text" not in item
    assert api.get(path).json()["item_count"] == 1


@pytest.mark.parametrize("name", ["", "a b", "ä", "a/b", "x" * 129, "a\0", "a\n"])
def test_an_id_of_other_characters_is_refused(api: httpx.Client, name: str) -> None:
    answer = send(api, new_collection(api), {"id": name, "text": "x"})
    problem(answer, 400, "invalid_request")
    assert pointers(answer) == ["/items/0/id"]


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        None,
        {"a": {"b": [1, 2.5, -0.0, 1e20, None, True, "ü😀", {"c": []}]}, "": 1, "a.b": 2},
        {"big": 12345678901234567890123, "text": 'quote " and \\u0000 written out'},
        {"long": "x" * 10_220},
    ],
)
def test_metadata_comes_back(api: httpx.Client, metadata: Any) -> None:
    path = new_collection(api, {"text": "x", "metadata": metadata})
    [item] = api.get(f"{path}/items").json()["items"]
    assert item["metadata"] == (metadata or {})


def test_metadata_is_measured_compact(api: httpx.Client) -> None:
    item = '{"text": "x", "metadata": {' + " " * 20_000 + '"a": 1}}'
    answer = api.post(
        f"{new_collection(api)}/index",
        content=f'{{"items": [{item}]}}',
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("metadata", "pointer"),
    [
        ("[]", "/items/0/metadata"),
        ('"x"', "/items/0/metadata"),
        ('{"a": "' + "x" * 10_240 + '"}', "/items/0/metadata"),
        (r'{"a": ["\u0000"]}', "/items/0/metadata"),
        (r'{"\u0000": 1}', "/items/0/metadata"),
        ('{"a": 1e999}', "/items/0/metadata"),
        ('{"a": ' + "[" * 40 + "]" * 40 + "}", "/items/0/metadata"),
    ],
)
def test_metadata_that_cannot_be_kept_is_refused(
    api: httpx.Client, metadata: str, pointer: str
) -> None:
    answer = api.post(
        f"{new_collection(api)}/index",
        content=f'{{"items": [{{"text": "x", "metadata": {metadata}}}]}}',
        headers={"Content-Type": "application/json"},
    )
    problem(answer, 400, "invalid_request")
    assert pointers(answer) == [pointer]


def test_every_violation_of_every_item_is_told(api: httpx.Client) -> None:
    path = new_collection(api)
    answer = send(
        api,
        path,
        {"text": "fine"},
        {},
        {"text": "x", "image": "http://example.com/a.png"},
        {"text": "", "id": "not an id", "metadata": [1]},
        {"text": "x" * 8193},
        {"text": "a\0b"},
        {"image": ""},
        {"audio_base64": None, "image": "x" * 8193},
    )
    problem(answer, 400, "invalid_request")
    assert pointers(answer) == [
        "/items/1",
        "/items/2",
        "/items/3/text",
        "/items/3/id",
        "/items/3/metadata",
        "/items/4/text",
        "/items/5/text",
        "/items/6/image",
        "/items/7/image",
    ]
    assert api.get(path).json()["item_count"] == 0


def test_the_longest_text_is_taken_and_kept(api: httpx.Client) -> None:
    text = "😀 " * 4096
    path = new_collection(api, {"text": text})
    assert api.get(f"{path}/items").json()["items"][0]["text"] == text


@pytest.mark.parametrize(
    ("field", "value", "pointer"),
    [
        ("txt", "x", "/items/0/txt"),
        ("text", 5, "/items/0/text"),
        ("upload", "x", "/items/0/upload"),
    ],
)
def test_wrong_and_unknown_fields_are_refused(
    api: httpx.Client, field: str, value: Any, pointer: str
) -> None:
    answer = send(api, new_collection(api), {field: value})
    problem(answer, 400, "invalid_request")
    assert pointers(answer) == [pointer]


def test_no_items(api: httpx.Client) -> None:
    answer = send(api, new_collection(api))
    problem(answer, 400, "invalid_request")
    assert pointers(answer) == ["/items"]


def test_a_hundred_items_and_one_more(api: httpx.Client) -> None:
    path = new_collection(api)
    items = [{"text": f"number {n}", "metadata": {"n": n}} for n in range(100)]
    assert send(api, path, *items).json()["indexed"] == 100
    answer = send(api, path, *items, {"text": "one too many"})
    problem(answer, 413, "payload_too_large")
    assert pointers(answer) == ["/items"]


def test_all_or_nothing(api: httpx.Client, web: str) -> None:
    path = new_collection(api)
    answer = send(
        api,
        path,
        {"text": "good"},
        {"image": f"{web}/missing.jpg"},
        {"image_base64": encoded("bell.wav")},
    )
    body = problem(answer, 422, "items_rejected")
    assert [(error["pointer"], error["code"]) for error in body["errors"]] == [
        ("/items/1/image", "fetch_failed"),
        ("/items/2/image_base64", "unsupported_media"),
    ]
    assert api.get(path).json()["item_count"] == 0


def test_skipping_what_fails(api: httpx.Client, web: str) -> None:
    path = new_collection(api)
    answer = send(
        api,
        path,
        {"image_base64": "*" * 8},
        {"text": "good"},
        {"image": f"{web}/missing.jpg"},
        {"image_base64": "A" * (TOO_MANY_BYTES // 3 * 4)},
        {"image_base64": picture(), "id": "last"},
        on_error="skip",
    )
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["indexed"] == 2
    assert [item and item["content_type"] for item in body["items"]] == [
        None,
        "text",
        None,
        None,
        "image",
    ]
    assert [(error["index"], error["code"]) for error in body["errors"]] == [
        (0, "invalid_base64"),
        (2, "fetch_failed"),
        (3, "media_too_large"),
    ]
    assert api.get(path).json()["item_count"] == 2


def test_skipping_everything(api: httpx.Client) -> None:
    path = new_collection(api)
    answer = send(api, path, {"image_base64": "????"}, on_error="skip")
    assert answer.json() == {
        "indexed": 0,
        "model": "multimodal-embedding-v1",
        "usage": {"input_tokens": 0},
        "items": [None],
        "errors": [
            {
                "index": 0,
                "code": "invalid_base64",
                "message": "expected the standard base64 alphabet and no line breaks",
            }
        ],
    }
    answer = send(api, f"{COLLECTIONS}/col_no", {"image_base64": "????"}, on_error="skip")
    problem(answer, 404, "not_found")


def test_skipping_does_not_forgive_a_wrong_request(api: httpx.Client) -> None:
    answer = send(api, new_collection(api), {"text": "x"}, {}, on_error="skip")
    problem(answer, 400, "invalid_request")
    problem(
        send(api, new_collection(api), {"text": "x"}, on_error="ignore"), 400, "invalid_request"
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A",
        "AAA",
        "AA=A",
        "A===",
        "=AAA",
        "AA A",
        "AAAA\n",
        "AA-_",
        "ÄAAA",
        "data:,AAAA",
        "data:image/png;base64",
        "data:image/png;base64,",
        "data:image/png,AAAA",
    ],
)
def test_what_is_not_base64(api: httpx.Client, text: str) -> None:
    answer = send(api, new_collection(api), {"image_base64": text})
    [error] = problem(answer, 400, "invalid_request")["errors"]
    assert (error["pointer"], error["code"]) == ("/items/0/image_base64", "invalid_base64")


def test_an_inline_image_over_the_limit(api: httpx.Client) -> None:
    items = [{"text": "x"}, {"image_base64": "A" * (TOO_MANY_BYTES // 3 * 4)}]
    answer = send(api, new_collection(api), *items)
    problem(answer, 413, "payload_too_large")
    assert pointers(answer) == ["/items/1/image_base64"]


def test_index_into_an_unknown_collection(api: httpx.Client) -> None:
    problem(send(api, f"{COLLECTIONS}/col_no", {"text": "x"}), 404, "not_found")


def test_a_large_body_of_pictures(api: httpx.Client) -> None:
    """Beyond what is decoded on the event loop, and beyond one step of base64."""
    large = picture("blue", (3000, 2000), "BMP")
    assert len(json.dumps(large)) > 20_000_000
    answer = send(api, new_collection(api), {"image_base64": large})
    assert answer.status_code == 200, answer.text
