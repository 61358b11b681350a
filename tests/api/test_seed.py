"""Every example of the published contract, as it is printed there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.api.factories import COLLECTIONS, delete, new_collection, problem

if TYPE_CHECKING:
    import httpx

JSON = {"Content-Type": "application/json"}

CREATE = """{
  "name": "product-images",
  "description": "Product catalog for visual search",
  "model_id": "multimodal-embedding-v1"
}"""
INDEX = """{
  "items": [
    {
      "image": "https://example.com/shoe.jpg",
      "metadata": { "category": "footwear", "sku": "SH-001" }
    },
    {
      "text": "Red leather running shoes with white soles",
      "metadata": { "category": "footwear", "sku": "SH-002" }
    }
  ]
}"""
SEARCH = """{
  "text": "white running shoes",
  "top_k": 5,
  "threshold": 0.5
}"""


def index_seed(api: httpx.Client, path: str, web: str) -> dict[str, Any]:
    body = INDEX.replace("https://example.com/shoe.jpg", f"{web}/coffee.jpg")
    answer = api.post(f"{path}/index", content=body, headers=JSON)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_list_models(api: httpx.Client) -> None:
    answer = api.get("/v1/vectors/models")
    assert answer.status_code == 200
    [model] = [m for m in answer.json()["models"] if m["id"] == "multimodal-embedding-v1"]
    assert {
        "id": "multimodal-embedding-v1",
        "name": "Multimodal Embedding v1",
        "types": ["image", "text", "audio"],
        "dimensions": 1024,
        "metric": "COSINE",
    }.items() <= model.items()


def test_create_get_list_and_delete_a_collection(api: httpx.Client) -> None:
    created = api.post(COLLECTIONS, content=CREATE, headers=JSON)
    assert created.status_code == 201
    collection = created.json()
    assert collection["id"].startswith("col_")
    assert {
        "name": "product-images",
        "description": "Product catalog for visual search",
        "model_id": "multimodal-embedding-v1",
        "dimensions": 1024,
        "metric": "COSINE",
        "item_count": 0,
    }.items() <= collection.items()

    path = f"{COLLECTIONS}/{collection['id']}"
    assert api.get(path).json() == collection
    listed = api.get(COLLECTIONS, params={"limit": 100}).json()
    assert collection in listed["collections"]
    assert listed["total"] >= 1
    assert (listed["limit"], listed["offset"]) == (100, 0)

    deleted = api.delete(path)
    assert deleted.status_code == 200
    assert deleted.json() == {"id": collection["id"], "deleted": True}
    problem(api.get(path), 404, "not_found")


def test_index_an_image_by_url_and_a_text(api: httpx.Client, web: str) -> None:
    path = new_collection(api)
    answer = index_seed(api, path, web)
    assert answer["indexed"] == 2
    assert answer["model"] == "multimodal-embedding-v1"
    assert answer["usage"]["input_tokens"] > 0
    assert api.get(path).json()["item_count"] == 2


def test_list_items_with_metadata_and_links(api: httpx.Client, web: str) -> None:
    path = new_collection(api)
    index_seed(api, path, web)
    answer = api.get(f"{path}/items?limit=20&offset=0")
    assert answer.status_code == 200
    page = answer.json()
    assert (page["total"], page["limit"], page["offset"]) == (2, 20, 0)
    image, text = page["items"]
    assert image["id"].startswith("item_")
    assert image["content_type"] == "image"
    assert image["metadata"] == {"category": "footwear", "sku": "SH-001"}
    assert image["content_url"].startswith(str(api.base_url).rstrip("/"))
    assert "text" not in image
    assert text["content_type"] == "text"
    assert text["content_url"] is None
    assert text["text"] == "Red leather running shoes with white soles"


def test_delete_items(api: httpx.Client, web: str) -> None:
    path = new_collection(api)
    ids = [item["id"] for item in index_seed(api, path, web)["items"]]
    answer = delete(api, f"{path}/items", {"ids": [*ids, "item_def456"]})
    assert answer.status_code == 200
    assert answer.json() == {"deleted": 2}
    assert api.get(f"{path}/items").json()["items"] == []


def test_search_by_text(api: httpx.Client, web: str) -> None:
    path = new_collection(api)
    index_seed(api, path, web)
    answer = api.post(f"{path}/search", content=SEARCH, headers=JSON)
    assert answer.status_code == 200
    found = answer.json()
    assert found["model"] == "multimodal-embedding-v1"
    assert found["usage"]["input_tokens"] > 0
    best = found["results"][0]
    assert best["content_type"] == "text"
    assert best["metadata"] == {"category": "footwear", "sku": "SH-002"}
    assert best["content_url"] is None
    assert 0.5 <= best["score"] <= 1
    assert {"id", "score", "content_type", "metadata", "content_url"} <= best.keys()


def test_the_printed_examples_fit_the_document(api: httpx.Client) -> None:
    """What the document shows is what was published, plus additions."""
    document = api.get("/schema/openapi.json").json()
    paths = document["paths"]

    def example(path: str, method: str) -> Any:
        body = paths[f"/v1/vectors/collections{path}"][method]["requestBody"]
        return body["content"]["application/json"]["example"]

    assert example("", "post") == json.loads(CREATE)
    assert example("/{collection_id}/index", "post") == json.loads(INDEX)
    assert example("/{collection_id}/search", "post") == json.loads(SEARCH)
