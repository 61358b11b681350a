"""Small pieces that the tests of the API are made of."""

from __future__ import annotations

import base64
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING, Any

from PIL import Image

from tests.servers.app import TOUR

if TYPE_CHECKING:
    import httpx

COLLECTIONS = "/v1/vectors/collections"
_numbers = count(1)


def new_name() -> str:
    return f"collection {next(_numbers)}"


def new_collection(api: httpx.Client, *items: dict[str, Any]) -> str:
    """Create a collection that holds `items` and return its path."""
    created = api.post(COLLECTIONS, json={"name": new_name()})
    assert created.status_code == 201, created.text
    path = f"{COLLECTIONS}/{created.json()['id']}"
    if items:
        index(api, path, *items)
    return path


def index(api: httpx.Client, path: str, *items: dict[str, Any]) -> list[str]:
    """Index items and return their ids."""
    answer = api.post(f"{path}/index", json={"items": items})
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["items"]]


def delete(api: httpx.Client, path: str, body: Any) -> httpx.Response:
    """DELETE with a body, which httpx has no shorthand for."""
    return api.request("DELETE", path, json=body)


def encoded(name: str) -> str:
    """A file of the tour in base64."""
    return base64.b64encode((TOUR / name).read_bytes()).decode()


def picture(colour: str = "red", size: tuple[int, int] = (64, 64), kind: str = "PNG") -> str:
    """A picture of one colour in base64."""
    buffer = BytesIO()
    Image.new("RGB", size, colour).save(buffer, kind)
    return base64.b64encode(buffer.getvalue()).decode()


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a problem and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["type"] == f"urn:problem-type:omnivec:{code}"
    assert body["instance"] == f"urn:request:{answer.headers['x-request-id']}"
    assert body["detail"]
    return body


def pointers(answer: httpx.Response) -> list[str]:
    return [error["pointer"] for error in answer.json()["errors"]]
