"""Every row of the table of statuses, provoked for real; keys have a file of their own."""

from __future__ import annotations

import base64
import io
import socket
import tempfile
import wave
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from app.store.embedded import EmbeddedServer
from tests.api.factories import (
    COLLECTIONS,
    encoded,
    index,
    new_collection,
    new_name,
    picture,
    pointers,
    problem,
)
from tests.servers.app import Service, new_database, running

if TYPE_CHECKING:
    import httpx

    from tests.servers.postgres import PostgresServer

JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        " ",
        "nonsense",
        '{"name": NaN}',
        '{"name": "\ud800"}',
        b'{"name": "\xff"}',
        "\ufeff{}",
        '{"name": "x"} x',
        '{"name": "x",}',
        "{'name': 'x'}",
    ],
)
def test_400_malformed_json(api: httpx.Client, body: Any) -> None:
    data = body.encode("utf-8", "surrogatepass") if isinstance(body, str) else body
    answer = api.post(COLLECTIONS, content=data, headers=JSON)
    problem(answer, 400, "malformed_json" if data else "invalid_request")


def test_400_nested_beyond_reason(api: httpx.Client) -> None:
    path = new_collection(api)
    deep = '{"text": "x", "filter": {"a": ' + "[" * 100_000 + "]" * 100_000 + "}}"
    problem(api.post(f"{path}/search", content=deep, headers=JSON), 400, "malformed_json")


def test_404_nowhere(api: httpx.Client) -> None:
    for path in ("/", "/v1", "/v1/vectors", "/v1/vectors/nope", "/v2/vectors/models", "/x/%00"):
        problem(api.get(path), 404, "not_found")


def test_405_tells_what_is_allowed(api: httpx.Client) -> None:
    answer = api.put(COLLECTIONS, json={})
    problem(answer, 405, "method_not_allowed")
    assert {"GET", "POST"} <= set(answer.headers["allow"].split(", "))


def test_options_and_trailing_slashes(api: httpx.Client) -> None:
    assert api.options(COLLECTIONS).status_code == 204
    assert api.get(f"{COLLECTIONS}/").status_code == 200


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json; charset=utf-16",
        "application/jsonp",
        "x" * 1000,
    ],
)
def test_415_not_json(api: httpx.Client, kind: str | None) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = api.post(COLLECTIONS, content=b'{"name": "x"}', headers=headers)
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "Application/JSON; charset=UTF-8",
        "application/json;charset=utf8",
        "application/json; charset=utf-8;",
        "application/vnd.omnivec+json",
    ],
)
def test_ways_to_say_json(api: httpx.Client, kind: str) -> None:
    body = f'{{"name": "{new_name()}"}}'
    assert api.post(COLLECTIONS, content=body, headers={"Content-Type": kind}).status_code == 201


@pytest.fixture(scope="module")
def truncated() -> str:
    return base64.b64encode(base64.b64decode(encoded("cat.jpg"))[:2000]).decode()


def long_sound(seconds: int) -> str:
    """Silence, one byte a sample."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * 8000 * seconds)
    return base64.b64encode(buffer.getvalue()).decode()


def huge_picture() -> str:
    """Few bytes, 64 megapixels."""
    buffer = io.BytesIO()
    Image.new("1", (8000, 8000)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def check_422(api: httpx.Client, item: dict[str, str], code: str) -> None:
    """Both calls that take media tell the same."""
    path = new_collection(api)
    answer = api.post(f"{path}/index", json={"items": [{"text": "fine"}, item]})
    problem(answer, 422, code)
    [(field, _)] = item.items()
    assert pointers(answer) == [f"/items/1/{field}"]
    assert api.get(path).json()["item_count"] == 0
    problem(api.post(f"{path}/search", json=item), 422, code)


def test_422_fetch_failed(api: httpx.Client, web: str) -> None:
    check_422(api, {"image": f"{web}/no-such-file.jpg"}, "fetch_failed")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        check_422(api, {"audio": f"http://127.0.0.1:{port}/a.wav"}, "fetch_failed")


@pytest.mark.parametrize(
    "url",
    [
        "http://10.0.0.1/a.png",
        "http://[::1]/a.png",
        "http://169.254.169.254/latest",
        "file:///etc/passwd",
        "ftp://example.com/a.png",
    ],
)
def test_422_fetch_forbidden(api: httpx.Client, url: str) -> None:
    check_422(api, {"image": url}, "fetch_forbidden")


def test_422_unsupported_media(api: httpx.Client, web: str) -> None:
    check_422(api, {"image": f"{web}/README.md"}, "unsupported_media")
    check_422(api, {"image": f"{web}/bell.wav"}, "unsupported_media")
    check_422(api, {"audio": f"{web}/cat.jpg"}, "unsupported_media")
    check_422(api, {"image_base64": "PHN2Zz48L3N2Zz4="}, "unsupported_media")


def test_422_corrupt_media(api: httpx.Client, truncated: str) -> None:
    check_422(api, {"image_base64": truncated}, "corrupt_media")


def test_422_media_too_large(api: httpx.Client) -> None:
    check_422(api, {"image_base64": huge_picture()}, "media_too_large")
    check_422(api, {"audio_base64": long_sound(601)}, "media_too_large")


def test_413_body(postgres: PostgresServer) -> None:
    environment = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_MAX_BODY_BYTES": "1000000",
        "OMNIVEC_PRELOAD_MODELS": "none",
    }
    with running(environment) as service, service.client() as api:
        for size in (1_000_001, 30_000_000):
            answer = api.post(COLLECTIONS, content=b" " * size, headers=JSON)
            problem(answer, 413, "payload_too_large")
            chunks = (b" " * 100_000 for _ in range(size // 100_000 + 1))
            answer = api.post(COLLECTIONS, content=chunks, headers=JSON)
            problem(answer, 413, "payload_too_large")
        assert api.post(COLLECTIONS, json={"name": new_name()}).status_code == 201


def test_429_when_the_queue_is_full(postgres: PostgresServer) -> None:
    environment = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_QUEUE_SIZE": "1",
    }
    with running(environment) as service, service.client() as api:
        path = new_collection(api)
        items = [{"text": f"number {n} " * 50} for n in range(100)]
        answer = api.post(f"{path}/index", json={"items": items})
        problem(answer, 429, "overloaded")
        assert int(answer.headers["retry-after"]) >= 1
        assert api.get(path).json()["item_count"] == 0

        def search(n: int) -> httpx.Response:
            return api.post(f"{path}/search", json={"text": f"{n} " * 200})

        with ThreadPoolExecutor(16) as threads:
            answers = list(threads.map(search, range(64)))
        assert {answer.status_code for answer in answers} == {200, 429}
        assert index(api, path, {"text": "when it is quiet again"})


def test_503_while_the_database_is_away() -> None:
    with tempfile.TemporaryDirectory(prefix="omnivec-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        server = EmbeddedServer(directory, {"fsync": "off"})
        url = server.start().replace("/omnivec?", "/postgres?")
        try:
            with running({"OMNIVEC_DATABASE_URL": url}) as service, service.client() as api:
                check_503(api, service, server)
        finally:
            server.stop()


def check_503(api: httpx.Client, service: Service, server: EmbeddedServer) -> None:
    path = new_collection(api, {"text": "still here", "image": None})
    assert api.get("/readyz").json()["checks"] == dict.fromkeys(
        ("database", "store", "model"), "ok"
    )
    server.stop()
    answers = [
        api.get(COLLECTIONS),
        api.post(COLLECTIONS, json={"name": new_name()}),
        api.post(f"{path}/index", json={"items": [{"image_base64": picture()}]}),
        api.post(f"{path}/search", json={"text": "x"}),
        api.get("/readyz"),
    ]
    for answer in answers:
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) >= 1
    assert "database" in answers[-1].json()["detail"]
    assert api.get("/healthz").json() == {"status": "ok"}
    server.start()
    [item] = api.get(f"{path}/items").json()["items"]
    assert item["text"] == "still here"
    assert api.get("/readyz").status_code == 200
