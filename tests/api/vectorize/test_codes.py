"""Every error code of the face, provoked."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from litestar import Litestar, get
from litestar.testing import TestClient

from app.api import vectorize
from app.api.faces import rendering
from app.api.problems import render
from app.api.vectorize.codes import Code
from app.errors import Unavailable
from app.settings import ROOT
from tests.api.vectorize.factories import Account, Index, lines, refused, result, vector
from tests.servers.app import new_database, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.postgres import PostgresServer

CONFIG = {"dimensions": 3, "metric": "cosine"}
MODEL = "multimodal-embedding-v1"


def metadata_index(index: Index, name: str, kind: str = "string") -> httpx.Response:
    body = {"propertyName": name, "indexType": kind}
    return index.post("/metadata_index/create", body)


def deleted_meanwhile(index: Index) -> httpx.Response:
    def slow() -> Iterator[bytes]:
        yield lines(vector("a")).encode()
        time.sleep(0.5)  # the request has begun
        base = str(index.account.client.base_url).rstrip("/")
        result(httpx.delete(base + index.path))
        yield b"\n"

    return index.send("/insert", slow())


def eleventh_metadata_index(index: Index) -> httpx.Response:
    for number in range(10):
        index.declare(f"p{number}", "string")
    return metadata_index(index, "p10")


def conflicting_metadata_index(index: Index) -> httpx.Response:
    index.declare("p", "string")
    return metadata_index(index, "p", "number")


def unreadable_picture(index: Index) -> httpx.Response:
    model = index.account.create(preset=MODEL)
    return model.send("/insert", '{"id": "a", "image_base64": "AAAA"}')


PROVOKED: dict[Code, tuple[int, Callable[[Index], httpx.Response], str]] = {
    Code.UNKNOWN_CONTENT_TYPE: (
        400,
        lambda index: index.send("/insert", "x", {"Content-Type": "image/png"}),
        "vectorize.unknown_content_type",
    ),
    Code.INDEX_NOT_FOUND: (
        404,
        lambda index: index.account.send("GET", "/nope"),
        'vectorize.index.not_found - Index name "nope"',
    ),
    Code.DUPLICATE_NAME: (
        400,
        lambda index: index.account.send("POST", "", json={"name": index.name, "config": CONFIG}),
        "vectorize.index.duplicate_name - Index name",
    ),
    Code.INDEX_DELETED: (410, deleted_meanwhile, "vectorize.index.deleted - Index name"),
    Code.METADATA_INDEX_NOT_FOUND: (
        400,
        lambda index: index.post("/metadata_index/delete", {"propertyName": "p"}),
        "'p'",
    ),
    Code.QUERY_DIMENSIONS: (
        400,
        lambda index: index.post("/query", {"vector": [1, 2]}),
        "invalid query vector, expected 3 dimensions, and got 2 dimensions",
    ),
    Code.TOO_MANY_IDS: (
        400,
        lambda index: index.post("/get_by_ids", {"ids": ["a"] * 21}),
        "too many ids in payload; max id count is 20, got 21",
    ),
    Code.ID_TOO_LONG: (
        400,
        lambda index: index.send("/insert", lines(vector("\u00e9" * 33))),
        "id too long; max is 64 bytes, got 66 bytes",
    ),
    Code.NAMESPACE_TOO_LONG: (
        400,
        lambda index: index.send("/insert", lines(vector("a", namespace="n" * 65))),
        "namespace too long; max is 64 bytes, got 65 bytes",
    ),
    Code.VECTOR_DIMENSIONS: (
        400,
        lambda index: index.send("/insert", lines(vector("x", [1]))),
        'invalid vector for id="x", expected 3 dimensions, and got 1 dimensions',
    ),
    Code.METADATA_TOO_LARGE: (
        400,
        lambda index: index.send("/insert", lines(vector("a", metadata={"a": "x" * 10_233}))),
        "10240 bytes of compact JSON, got 10241",
    ),
    Code.UNPARSABLE_VECTORS: (400, lambda index: index.send("/insert", "{"), "line 1: not JSON"),
    Code.TOP_K: (400, lambda index: index.post("/query", {"vector": [1, 0, 0], "topK": 101}), ""),
    Code.UNPARSABLE_QUERY: (
        400,
        lambda index: index.send("/query", '{"vector": [1, 0, 0]}', {"Content-Type": "text/html"}),
        "text/html",
    ),
    Code.INVALID_CONFIG: (
        400,
        lambda index: index.account.send("POST", "", json={"name": "a"}),
        "vectorize.index.invalid_config - Config must be provided",
    ),
    Code.INVALID_NAME: (
        400,
        lambda index: index.account.send("POST", "", json={"name": "", "config": CONFIG}),
        "",
    ),
    Code.INVALID_BODY: (
        400,
        lambda index: index.account.send("POST", "", content=b"{"),
        "vectorize.invalid_body_payload",
    ),
    Code.INVALID_VECTOR: (
        400,
        lambda index: index.send("/insert", lines(vector("a", metadata={"$": 1}))),
        "",
    ),
    Code.TOO_MANY_VECTORS: (
        400,
        lambda index: index.send("/insert", lines(*[vector("a")] * 5_001)),
        "max is 5000",
    ),
    Code.INVALID_FILTER: (
        400,
        lambda index: index.post("/query", {"vector": [1, 0, 0], "filter": {}}),
        "",
    ),
    Code.INVALID_PARAMETER: (400, lambda index: index.get("/list", count=0), "count"),
    Code.TOO_MANY_METADATA_INDEXES: (400, eleventh_metadata_index, "10"),
    Code.METADATA_INDEX_CONFLICT: (400, conflicting_metadata_index, "string"),
    Code.VECTOR_NOT_FOUND: (404, lambda index: index.post("/query", {"vectorId": "a"}), ""),
    Code.INPUT_REJECTED: (422, unreadable_picture, 'invalid content for id="a"'),
    Code.UNKNOWN_PATH: (
        404,
        lambda index: index.account.client.get("/client/v4/accounts/a/b"),
        "",
    ),
    Code.METHOD_NOT_ALLOWED: (405, lambda index: index.account.send("PUT", f"/{index.name}"), ""),
}

# Those that need a service with other settings, or one that fails.
PROVOKED_BELOW = {
    Code.AUTHENTICATION,
    Code.WRONG_ACCOUNT,
    Code.LACKING_PERMISSION,
    Code.NOT_ENTITLED,
    Code.CURSOR_EXPIRED,
    Code.TOO_LARGE,
    Code.INDEX_BUSY,  # in tests/api/test_model_migrations.py
    Code.TOO_MANY_REQUESTS,
    Code.INTERNAL,
    Code.UNAVAILABLE,
}


def test_every_code_is_provoked_here() -> None:
    assert {*PROVOKED, *PROVOKED_BELOW} == {*Code}


@pytest.mark.parametrize("code", PROVOKED)
def test_a_code_is_told_with_its_message(index: Index, code: Code) -> None:
    status, provoke, message = PROVOKED[code]
    refused(provoke(index), status, code.number, message)


def test_100_ids_are_deleted_at_most(index: Index) -> None:
    answer = index.post("/delete_by_ids", {"ids": ["a"] * 101})
    refused(answer, 400, 40007, "too many ids in payload; max id count is 100, got 101")


def test_settings_choose_statuses_and_limits(postgres: PostgresServer) -> None:
    settings = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_PRELOAD_MODELS": "none",
        "OMNIVEC_VECTORIZE_MISSING_STATUS": "400",
        "OMNIVEC_VECTORIZE_CREATED_STATUS": "201",
        "OMNIVEC_VECTORIZE_MAX_DIMENSIONS": "2048",
        "OMNIVEC_VECTORIZE_MAX_INDEXES": "1",
        "OMNIVEC_VECTORIZE_CURSOR_TTL": "1",
    }
    with running(settings) as service, service.client() as client:
        account = Account(client)
        refused(account.send("GET", "/nope"), 400, Code.INDEX_NOT_FOUND.number)
        body = {"name": "large", "config": {"dimensions": 2048, "metric": "cosine"}}
        created = account.send("POST", "", json=body)
        assert created.status_code == 201
        assert created.json()["result"]["config"]["dimensions"] == 2048
        answer = account.send("POST", "", json=body | {"name": "second"})
        refused(answer, 400, Code.NOT_ENTITLED.number, "vectorize.not_entitled")
        index = Index(account, "large")
        index.upsert(vector("a", [1] * 2048), vector("b", [2] * 2048))
        cursor = result(index.get("/list", count=1))["nextCursor"]
        time.sleep(1.1)
        refused(index.get("/list", cursor=cursor), 400, Code.CURSOR_EXPIRED.number)


def test_a_full_queue_asks_for_patience(postgres: PostgresServer) -> None:
    settings = {"OMNIVEC_DATABASE_URL": new_database(postgres), "OMNIVEC_QUEUE_SIZE": "1"}
    with running(settings) as service, service.client() as client:
        index = Account(client).create(preset=MODEL)
        texts = lines(*({"id": str(n), "text": f"text number {n}"} for n in range(100)))
        answer = index.send("/insert", texts)
        refused(answer, 429, Code.TOO_MANY_REQUESTS.number, "Too Many Requests")
        assert int(answer.headers["Retry-After"]) >= 1
        assert index.info()["vectorCount"] == 0


def test_a_body_of_more_than_100_megabytes_is_refused(index: Index) -> None:
    headers = {"Content-Type": "application/x-ndjson"}
    refused(index.send("/insert", b"\n" * (100 * 2**20 + 1), headers), 413, Code.TOO_LARGE.number)


@pytest.mark.parametrize("path", ["/client/v4/boom", "/accounts/boom"])
def test_what_nobody_expected_is_told_without_its_details(path: str) -> None:
    answer = raising(path, RuntimeError("a secret"))
    assert "secret" not in refused(answer, 500, Code.INTERNAL.number)


def test_what_cannot_be_reached_is_told() -> None:
    answer = raising("/client/v4/boom", Unavailable("database", "it is down", 3))
    refused(answer, 503, Code.UNAVAILABLE.number, "it is down")
    assert answer.headers["Retry-After"] == "3"


def test_bindings_get_errors_without_an_envelope() -> None:
    answer = raising("/binding/v2/boom", Unavailable("database", "it is down"))
    told = {"error": "Service Unavailable - it is down", "code": Code.UNAVAILABLE.number}
    assert (answer.status_code, answer.json()) == (503, told)


def raising(path: str, error: Exception) -> Any:
    """Answer of an app whose only handler raises."""

    @get(path)
    async def boom() -> None:
        raise error

    app = Litestar(
        route_handlers=[boom],
        exception_handlers={Exception: rendering(vectorize.FACES, default=render)},
        openapi_config=None,
        logging_config=None,
    )
    with TestClient(app, raise_server_exceptions=False) as client:
        return client.get(path)


def test_the_documentation_lists_every_code_with_its_status() -> None:
    text = (ROOT / "docs" / "vectorize.md").read_text()
    for code in Code:
        assert f"| {code.number} | {code.status} |" in text, code
