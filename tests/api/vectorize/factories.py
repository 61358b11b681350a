"""Small pieces that the tests of the Vectorize face are made of."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

NDJSON = {"Content-Type": "application/x-ndjson"}
_numbers = count(1)


class Account:
    """An account of a service that is the test's own."""

    def __init__(self, client: httpx.Client, name: str = "") -> None:
        self.id = name or f"account-{next(_numbers)}"
        self.path = f"/client/v4/accounts/{self.id}/vectorize"
        self.client = client

    def send(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call below `…/vectorize/v2/indexes`."""
        return self.client.request(method, f"{self.path}/v2/indexes{path}", **options)

    def create(
        self, dimensions: int = 3, metric: str = "cosine", preset: str | None = None
    ) -> Index:
        name = f"index-{next(_numbers)}"
        config = {"preset": preset} if preset else {"dimensions": dimensions, "metric": metric}
        result(self.send("POST", "", json={"name": name, "config": config}))
        return Index(self, name)


class Index:
    def __init__(self, account: Account, name: str) -> None:
        self.account = account
        self.name = name
        self.path = f"{account.path}/v2/indexes/{name}"

    def get(self, path: str = "", **parameters: Any) -> httpx.Response:
        return self.account.send("GET", f"/{self.name}{path}", params=parameters)

    def post(self, path: str, body: Any) -> httpx.Response:
        return self.account.send("POST", f"/{self.name}{path}", json=body)

    def send(
        self, path: str, content: Any, headers: dict[str, str] = NDJSON, **parameters: Any
    ) -> httpx.Response:
        return self.account.send(
            "POST", f"/{self.name}{path}", content=content, headers=headers, params=parameters
        )

    def upsert(self, *vectors: dict[str, Any]) -> str:
        answer = result(self.send("/upsert", lines(*vectors)))
        mutation: str = answer["mutationId"]
        return mutation

    def insert(self, *vectors: dict[str, Any]) -> str:
        answer = result(self.send("/insert", lines(*vectors)))
        mutation: str = answer["mutationId"]
        return mutation

    def declare(self, name: str, kind: str) -> None:
        body = {"propertyName": name, "indexType": kind}
        result(self.post("/metadata_index/create", body))

    def query(self, vector: list[float] | None = None, **options: Any) -> list[dict[str, Any]]:
        body = options if vector is None else {"vector": vector, **options}
        found = result(self.post("/query", body))
        matches: list[dict[str, Any]] = found["matches"]
        assert found["count"] == len(matches)
        return matches

    def found(self, **filter_: Any) -> set[str]:
        """The ids that a filter leaves; `__` in a name stands for a dot."""
        document = {name.replace("__", "."): value for name, value in filter_.items()}
        return {match["id"] for match in self.query([1, 1, 1], filter=document, topK=100)}

    def info(self) -> dict[str, Any]:
        found: dict[str, Any] = result(self.get("/info"))
        return found

    def stored(self, *ids: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = result(self.post("/get_by_ids", {"ids": ids}))
        return found


def lines(*vectors: dict[str, Any]) -> str:
    return "\n".join(map(json.dumps, vectors))


def vector(name: str, values: list[float] | None = None, **rest: Any) -> dict[str, Any]:
    return {"id": name, "values": values or [1, 0, 0], **rest}


def result(answer: httpx.Response) -> Any:
    """Check that an answer is the envelope of a success and return what is in it."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body) == ["result", "success", "errors", "messages"]
    assert (body["success"], body["errors"], body["messages"]) == (True, [], [])
    return body["result"]


def refused(answer: httpx.Response, status: int, code: int, message: str = "") -> str:
    """Check that an answer is the envelope of one failure and return its message."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert (body["success"], body["result"], body["messages"]) == (False, None, [])
    assert body["result_info"] is None
    [error] = body["errors"]
    assert error["code"] == code, error
    assert message in error["message"]
    told: str = error["message"]
    return told
