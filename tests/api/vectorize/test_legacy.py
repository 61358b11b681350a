"""The deprecated version 1, and the bindings' paths without a Worker before them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.api.vectorize.factories import Account, lines, refused, result, vector

if TYPE_CHECKING:
    import httpx

NAME = "old"
CONFIG = {"dimensions": 3, "metric": "cosine"}


@pytest.fixture
def old(account: Account) -> str:
    """The path of an index made through version 1."""
    path = f"{account.path}/indexes"
    result(account.client.post(path, json={"name": NAME, "config": CONFIG}))
    return f"{path}/{NAME}"


def test_an_index_is_managed(account: Account, old: str) -> None:
    client, path = account.client, f"{account.path}/indexes"
    assert [entry["name"] for entry in result(client.get(path))] == [NAME]
    assert result(client.get(old))["config"] == CONFIG
    assert result(client.put(old, json={"description": "new"}))["description"] == "new"
    assert result(account.send("GET", f"/{NAME}"))["description"] == "new"
    assert "description" not in result(client.put(old, json={"description": None}))
    assert result(client.delete(old)) is None
    refused(client.get(old), 404, 3000)


def test_a_name_has_63_bytes(account: Account) -> None:
    body = {"name": "n" * 64, "config": CONFIG}
    refused(account.client.post(f"{account.path}/indexes", json=body), 400, 40101)


def test_vectors_are_managed(api: httpx.Client, old: str) -> None:
    both = {"vectors": [vector("a", metadata={"k": 1}), vector("b", [0, 1, 0])]}
    assert result(api.post(f"{old}/insert", json=both)) == {"count": 2, "ids": ["a", "b"]}
    assert result(api.post(f"{old}/insert", json=both)) == {"count": 0, "ids": []}
    content = lines(*both["vectors"])
    headers = {"Content-Type": "application/x-ndjson"}
    answer = api.post(f"{old}/upsert", content=content, headers=headers)
    assert result(answer) == {"count": 2, "ids": ["a", "b"]}
    files = {"vectors": ("vectors.ndjson", content)}
    assert result(api.post(f"{old}/upsert", files=files))["count"] == 2

    body: dict[str, Any] = {"vector": [1, 0, 0], "returnMetadata": True, "topK": 1}
    found = result(api.post(f"{old}/query", json=body))
    assert found["matches"] == [{"id": "a", "score": 1, "metadata": {"k": 1}}]
    assert result(api.post(f"{old}/get-by-ids", json={"ids": ["b"]}))[0]["id"] == "b"
    answer = api.post(f"{old}/delete-by-ids", json={"ids": ["b", "c"]})
    assert result(answer) == {"count": 2, "ids": ["b", "c"]}
    assert result(api.post(f"{old}/get-by-ids", json={"ids": ["b"]})) == []


def test_limits_are_narrower(api: httpx.Client, old: str) -> None:
    refused(api.post(f"{old}/query", json={"vector": [1, 0, 0], "topK": 21}), 400, 40025)
    many = {"vectors": [vector("a")] * 1_001}
    refused(api.post(f"{old}/insert", json=many), 400, 40104, "max is 1000")


def test_a_body_that_cannot_be_read_is_refused(api: httpx.Client, old: str) -> None:
    for content in (b"", b"{", b'{"vectors": 1}'):
        answer = api.post(f"{old}/insert", content=content)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["code"] in {40023, 40102}
    refused(api.post(f"{old}/query", content=b"{"), 400, 40026)


def test_bindings_answer_without_an_envelope(api: httpx.Client, account: Account) -> None:
    index = account.create(metric="euclidean")
    base = f"/accounts/{account.id}/binding"
    v2, v1 = f"{base}/v2/{index.name}", f"{base}/v1/binding/indexes/{index.name}"
    inserted = api.post(f"{v2}/insert", content=lines(vector("a")))
    assert list(inserted.json()) == ["mutationId"]
    both = {"vectors": [vector("a"), vector("b", [0, 0, 2])]}
    assert api.post(f"{v1}/insert", json=both).json() == {"count": 1, "ids": ["b"]}
    assert api.get(f"{v2}/info").json()["vectorCount"] == 2
    described = api.get(v1).json()
    assert described["config"] == {"dimensions": 3, "metric": "euclidean"}
    assert described["vectorsCount"] == 2
    # Runtimes send JSON as text.
    text = {"Content-Type": "text/plain;charset=UTF-8"}
    query = '{"vector": [0, 0, 1], "returnMetadata": false}'
    found = api.post(f"{v2}/query", content=query, headers=text).json()
    assert found["matches"][0] == {"id": "b", "score": 1}
    assert api.post(f"{v2}/getByIds", json={"ids": ["a"]}).json() == [vector("a")]
    assert list(api.post(f"{v2}/deleteByIds", json={"ids": ["a"]}).json()) == ["mutationId"]


def test_version_1_of_the_binding_gives_three_matches(api: httpx.Client, account: Account) -> None:
    index = account.create()
    index.upsert(*(vector(str(number)) for number in range(9)))
    path = f"/accounts/{account.id}/binding/v1/binding/indexes/{index.name}/query"
    body = {"vector": [1, 0, 0], "compat": {"queryMetadataOptional": True}}
    assert api.post(path, json=body).json()["count"] == 3


def test_bindings_tell_errors_bare(api: httpx.Client) -> None:
    for path in ("/binding/v2/nope/info", "/binding/v1/binding/indexes/nope"):
        answer = api.get(path)
        assert answer.status_code == 404
        assert answer.json() == {
            "error": 'vectorize.index.not_found - Index name "nope"',
            "code": 3000,
        }
    assert api.get("/binding/v3").json()["code"] == 40112
