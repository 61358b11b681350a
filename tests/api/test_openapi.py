from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx


VECTORIZE = "/client/v4/accounts/{account_id}/vectorize/v2/indexes"
VECTORIZE_CALLS = {
    ("", "post"),
    ("", "get"),
    ("/{index}", "get"),
    ("/{index}", "delete"),
    ("/{index}/insert", "post"),
    ("/{index}/upsert", "post"),
    ("/{index}/query", "post"),
    ("/{index}/get_by_ids", "post"),
    ("/{index}/delete_by_ids", "post"),
    ("/{index}/info", "get"),
    ("/{index}/list", "get"),
    ("/{index}/metadata_index/create", "post"),
    ("/{index}/metadata_index/delete", "post"),
    ("/{index}/metadata_index/list", "get"),
}


@pytest.fixture(scope="module")
def document(api: httpx.Client) -> dict[str, Any]:
    answer = api.get("/schema/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    found: dict[str, Any] = answer.json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


def test_it_is_valid_openapi(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    validate(document, cls=OpenAPIV31SpecValidator)


def test_it_has_every_endpoint(document: dict[str, Any]) -> None:
    base = "/v1/vectors/collections"
    one = f"{base}/{{collection_id}}"
    assert {(path, method) for path, method, _ in operations(document)} == {
        ("/v1/vectors/models", "get"),
        (base, "post"),
        (base, "get"),
        (one, "get"),
        (one, "patch"),
        (one, "delete"),
        (f"{one}/index", "post"),
        (f"{one}/items", "get"),
        (f"{one}/items", "delete"),
        (f"{one}/items/delete", "post"),
        (f"{one}/items/{{item_id}}", "get"),
        (f"{one}/search", "post"),
        (f"{one}/migrations", "post"),
        (f"{one}/migrations", "get"),
        (f"{one}/migrations/{{migration_id}}", "get"),
        (f"{one}/migrations/{{migration_id}}", "delete"),
        (f"{one}/migrations/{{migration_id}}/failures", "get"),
        *((f"{VECTORIZE}{path}", method) for path, method in VECTORIZE_CALLS),
        ("/healthz", "get"),
        ("/readyz", "get"),
    }


def test_every_operation_is_told_in_full(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"]}
    names = []
    for path, method, operation in operations(document):
        what = f"{method} {path}"
        names.append(operation["operationId"])
        assert operation["summary"], what
        assert operation["description"], what
        assert set(operation["tags"]) <= tags, what
        assert operation["tags"], what
        for status, answer in operation["responses"].items():
            assert answer["description"], what
            [(media_type, content)] = answer["content"].items()
            problem = int(status) >= 400 and not path.startswith(VECTORIZE)
            assert media_type == f"application/{'problem+' if problem else ''}json", what
            assert "example" in content, f"{what} {status}"
        if "requestBody" in operation:
            assert "example" in operation["requestBody"]["content"]["application/json"], what
            refused = {"413"} if path.startswith(VECTORIZE) else {"413", "415"}
            assert refused <= operation["responses"].keys(), what
        if operation.get("security") != []:
            assert {"400", "401", "403", "503"} <= operation["responses"].keys(), what
        wanted = set(re.findall(r"{(\w+)}", path))
        given = operation.get("parameters", [])
        assert {p["name"] for p in given if p["in"] == "path"} == wanted, what
        assert all(p.get("description") for p in given if p["in"] == "query"), what
    assert len(set(names)) == len(names)


def test_requests_are_closed_and_answers_are_open(document: dict[str, Any]) -> None:
    """Clients may rely on typos being refused, and must expect additions."""
    schemas = document["components"]["schemas"]
    for name in ("CreateCollection", "IndexRequest", "IndexItem", "SearchRequest", "DeleteItems"):
        assert schemas[name]["additionalProperties"] is False
    for name in ("Collection", "Item", "Hit", "SearchAnswer", "Problem"):
        assert schemas[name].get("additionalProperties") is not False


def test_limits_are_in_the_document(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    search = schemas["SearchRequest"]["properties"]
    assert (search["top_k"]["minimum"], search["top_k"]["maximum"]) == (1, 100)
    assert search["top_k"]["default"] == 10
    assert schemas["IndexRequest"]["properties"]["items"]["maxItems"] == 100
    assert schemas["CreateCollection"]["properties"]["name"]["maxLength"] == 100
    listing = document["paths"]["/v1/vectors/collections"]["get"]["parameters"]
    [limit] = [p["schema"] for p in listing if p["name"] == "limit"]
    assert limit == {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}


def test_the_documentation_page_needs_nothing_from_elsewhere(api: httpx.Client) -> None:
    page = api.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "://" not in page.text
    for path in re.findall(r'(?:src|href)="([^"]+)"', page.text):
        asset = api.get(f"/{path}")
        assert asset.status_code == 200, path
        assert len(asset.content) > 100


def test_only_the_pages_own_files_are_served(api: httpx.Client) -> None:
    for name in ("index.html", "swagger-ui.js", "..%2f..%2fflask_swagger_ui.py", "%2e%2e"):
        assert api.get(f"/docs/{name}").status_code == 404
