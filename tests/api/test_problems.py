"""How errors of every kind become answers, without the service around."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from litestar import Litestar, get
from litestar.params import FromPath  # noqa: TC002 - litestar reads the annotation
from litestar.testing import TestClient
from structlog.testing import capture_logs

from app import errors
from app.api.problems import render
from app.api.request_log import RequestLog
from tests.api.factories import problem

if TYPE_CHECKING:
    from collections.abc import Iterator

RAISED: dict[str, Exception] = {
    "invalid": errors.InvalidInput(
        [
            errors.Violation(("items", 3, "image"), "no"),
            errors.Violation(("a/b~c",), "not that", "other"),
            errors.Violation((), "whole"),
            errors.Violation(("d",), "more"),
        ]
    ),
    "unauthenticated": errors.Unauthenticated("who?"),
    "forbidden": errors.Forbidden("no"),
    "not-found": errors.NotFound("collection", "x"),
    "taken": errors.NameTaken("collection", "x"),
    "large": errors.PayloadTooLarge("much", ("items", 0)),
    "large-all": errors.PayloadTooLarge("much"),
    "fetch": errors.FetchFailed("no answer"),
    "same": errors.ItemsRejected(
        [errors.ItemFailure(n, ("image",), "corrupt_media", "bad") for n in (1, 4)]
    ),
    "mixed": errors.ItemsRejected(
        [
            errors.ItemFailure(1, ("image",), "corrupt_media", "bad"),
            errors.ItemFailure(2, ("audio",), "fetch_failed", "gone"),
        ]
    ),
    "busy": errors.Overloaded("full", 2.1),
    "down": errors.Unavailable("database", "gone", 0.2),
    "root": errors.OmnivecError("the password is hunter2"),
    "bug": RuntimeError("the password is hunter2"),
    "many": errors.InvalidInput([errors.Violation((n,), "x") for n in range(500)]),
}


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    @get("/raise/{name:str}")
    async def fail(name: FromPath[str]) -> None:
        raise RAISED[name]

    app = Litestar(
        [fail], exception_handlers={Exception: render}, openapi_config=None, logging_config=None
    )
    app.asgi_handler = RequestLog(app.asgi_handler)
    with TestClient(app) as client:
        yield client


def ask(client: TestClient[Litestar], name: str) -> Any:
    return client.get(f"/raise/{name}")


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("invalid", 400, "invalid_request"),
        ("unauthenticated", 401, "unauthenticated"),
        ("forbidden", 403, "forbidden"),
        ("not-found", 404, "not_found"),
        ("taken", 409, "name_taken"),
        ("large", 413, "payload_too_large"),
        ("large-all", 413, "payload_too_large"),
        ("fetch", 422, "fetch_failed"),
        ("same", 422, "corrupt_media"),
        ("mixed", 422, "items_rejected"),
        ("busy", 429, "overloaded"),
        ("down", 503, "unavailable"),
        ("root", 500, "internal_error"),
        ("bug", 500, "internal_error"),
    ],
)
def test_status_and_code(client: TestClient[Litestar], name: str, status: int, code: str) -> None:
    problem(ask(client, name), status, code)


def test_violations_become_pointers(client: TestClient[Litestar]) -> None:
    body = ask(client, "invalid").json()
    assert body["errors"] == [
        {"pointer": "/items/3/image", "message": "no", "code": "invalid"},
        {"pointer": "/a~1b~0c", "message": "not that", "code": "other"},
        {"pointer": "", "message": "whole", "code": "invalid"},
        {"pointer": "/d", "message": "more", "code": "invalid"},
    ]
    assert body["detail"] == "/items/3/image: no; /a~1b~0c: not that; whole; and 1 more"


def test_failing_items_become_pointers(client: TestClient[Litestar]) -> None:
    assert ask(client, "mixed").json()["errors"] == [
        {"pointer": "/items/1/image", "message": "bad", "code": "corrupt_media"},
        {"pointer": "/items/2/audio", "message": "gone", "code": "fetch_failed"},
    ]


def test_headers(client: TestClient[Litestar]) -> None:
    assert ask(client, "unauthenticated").headers["www-authenticate"].startswith("Bearer")
    assert ask(client, "busy").headers["retry-after"] == "3"
    assert ask(client, "down").headers["retry-after"] == "1"


def test_nothing_leaks(client: TestClient[Litestar]) -> None:
    for name in ("bug", "root"):
        assert "hunter2" not in ask(client, name).text


def test_a_bug_is_logged_with_its_traceback(client: TestClient[Litestar]) -> None:
    with capture_logs() as logs:
        ask(client, "bug")
    [error, request] = logs
    assert error["log_level"] == "error"
    assert error["exc_info"] is RAISED["bug"]
    assert (request["event"], request["status"]) == ("request", 500)


def test_a_flood_of_violations_is_cut(client: TestClient[Litestar]) -> None:
    assert len(ask(client, "many").json()["errors"]) == 100
