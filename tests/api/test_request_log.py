from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.factories import COLLECTIONS, new_collection

if TYPE_CHECKING:
    import httpx

    from tests.servers.app import Service


def line_of(service: Service, request_id: str) -> dict[str, Any]:
    """The request's line in the log, which comes a moment after the answer."""
    for _ in range(100):
        lines = [line for line in service.logs if line.get("request_id") == request_id]
        if lines:
            [line] = lines
            return line
        time.sleep(0.02)
    raise AssertionError(f"no line of {request_id}")


@pytest.mark.parametrize("given", ["a", "abc-DEF_0.9:x", "x" * 128])
def test_a_safe_request_id_is_kept(api: httpx.Client, given: str) -> None:
    for path in ("/healthz", "/nowhere", f"{COLLECTIONS}?limit=0"):
        answer = api.get(path, headers={"X-Request-Id": given})
        assert answer.headers.get_list("x-request-id") == [given]


@pytest.mark.parametrize("given", ["", "a b", "ü".encode(), "x" * 129, 'a"b', "<script>"])
def test_another_request_id_is_replaced(api: httpx.Client, given: str | bytes) -> None:
    headers = {b"X-Request-Id": given.encode() if isinstance(given, str) else given}
    made = api.get("/healthz", headers=headers).headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)


def test_request_ids_differ(api: httpx.Client) -> None:
    made = {api.get("/healthz").headers["x-request-id"] for _ in range(10)}
    assert len(made) == 10


def test_a_request_leaves_one_line(api: httpx.Client, service: Service) -> None:
    answer = api.get(f"{COLLECTIONS}/col_no")
    line = line_of(service, answer.headers["x-request-id"])
    assert line["ms"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["timestamp"])
    assert {
        "event": "request",
        "level": "info",
        "method": "GET",
        "path": "/v1/vectors/collections/{collection_id}",
        "status": 404,
        "project": "default",
    }.items() <= line.items()


def test_a_search_tells_where_its_time_went(api: httpx.Client, service: Service) -> None:
    answer = api.post(f"{new_collection(api)}/search", json={"text": "x"})
    line = line_of(service, answer.headers["x-request-id"])
    assert 0 < line["encode_ms"] < line["ms"]
    assert 0 < line["database_ms"] < line["ms"]
    timing = answer.headers["server-timing"]
    assert re.fullmatch(r"encode;dur=[\d.]+, database;dur=[\d.]+", timing)


def test_what_is_nowhere_leaves_a_line_without_its_path(
    api: httpx.Client, service: Service
) -> None:
    answer = api.get("/a/secret/path")
    line = line_of(service, answer.headers["x-request-id"])
    assert (line["status"], line["path"]) == (404, None)


def test_probes_leave_none(api: httpx.Client, service: Service) -> None:
    for path in ("/healthz", "/readyz"):
        api.get(path, headers={"X-Request-Id": f"probe-{path[1:]}"})
    api.get("/nowhere", headers={"X-Request-Id": "and-after"})
    line_of(service, "and-after")
    assert not [line for line in service.logs if "probe" in str(line.get("request_id"))]
