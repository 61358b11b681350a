"""Indexes with a model, and one engine behind every face."""

from __future__ import annotations

import base64
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from app.settings import ROOT
from tests.api.factories import COLLECTIONS, new_collection, picture
from tests.api.factories import index as index_items
from tests.api.vectorize.factories import Account, Index, lines, refused, result, vector
from tests.servers.app import TOUR

if TYPE_CHECKING:
    import httpx

    from tests.servers.app import Service

MODEL = "multimodal-embedding-v1"
TEXTS = {"cat": "a photo of a cat", "rocket": "a rocket taking off", "coffee": "a cup of coffee"}


@pytest.fixture
def default(api: httpx.Client) -> Account:
    """The account whose indexes the native API lists without a key."""
    return Account(api, "default")


@pytest.fixture
def texts(default: Account) -> Index:
    """An index with a model and three texts."""
    index = default.create(preset=MODEL)
    content = lines(*({"id": name, "text": text} for name, text in TEXTS.items()))
    result(index.send("/insert", content))
    return index


def test_a_model_of_ours_is_a_preset(texts: Index) -> None:
    config = result(texts.get())["config"]
    assert config == {"dimensions": 1024, "metric": "cosine", "preset": MODEL}
    assert texts.info()["vectorCount"] == 3


def test_texts_images_and_sounds_are_found_by_each_other(texts: Index, web: str) -> None:
    photo = base64.b64encode((TOUR / "cat.jpg").read_bytes()).decode()
    content = lines(
        {"id": "photo", "image_base64": photo, "namespace": "media", "metadata": {"k": 1}},
        {"id": "siren", "audio": f"{web}/siren.wav", "namespace": "media"},
        {"id": "rocket photo", "image": f"{web}/rocket.jpg", "namespace": "media"},
    )
    result(texts.send("/upsert", content))
    assert texts.query(text="a cat", namespace="media")[0]["id"] == "photo"
    assert texts.query(image=f"{web}/rocket.jpg", topK=1)[0]["id"] == "rocket photo"
    assert texts.query(image_base64=photo, topK=1)[0]["score"] == pytest.approx(1, abs=1e-3)
    found = texts.query(vectorId="photo", returnMetadata="all", returnValues=True)
    assert found[0]["metadata"] == {"k": 1}
    assert len(found[0]["values"]) == 1024
    scores = [match["score"] for match in found]
    assert scores == sorted(scores, reverse=True)


def test_vectors_and_content_share_an_index(texts: Index) -> None:
    [cat] = texts.stored("cat")
    longer = [3 * number for number in cat["values"]]
    content = lines(vector("like a cat", longer), {"id": "dog", "text": "a dog"})
    result(texts.send("/upsert", content))
    found = texts.query(cat["values"], topK=2)
    assert {match["id"] for match in found} == {"cat", "like a cat"}
    assert [match["score"] for match in found] == pytest.approx([1, 1], abs=1e-5)


def test_an_insert_leaves_content_that_exists(texts: Index) -> None:
    before = texts.stored("cat")
    result(texts.send("/insert", lines({"id": "cat", "text": "something else"})))
    assert texts.stored("cat") == before
    result(texts.send("/upsert", lines({"id": "cat", "text": "something else"})))
    assert texts.stored("cat") != before


def test_content_that_cannot_be_embedded_fails_the_request(texts: Index) -> None:
    content = lines(
        {"id": "cat", "text": "there already"},
        {"id": "fine", "text": "this would work"},
        {"id": "broken", "image_base64": base64.b64encode(b"no picture").decode()},
    )
    refused(texts.send("/insert", content), 422, 40111, 'invalid content for id="broken"')
    assert texts.stored("fine") == []


@pytest.mark.parametrize(
    "line",
    [
        {"id": "a", "text": ""},
        {"id": "a", "text": "x", "image": "http://x"},
        {"id": "a", "image_base64": "?"},
    ],
)
def test_content_is_given_once_and_well_formed(texts: Index, line: dict[str, str]) -> None:
    refused(texts.send("/insert", lines(line)), 400, 40102)


def test_what_vectorize_writes_the_native_api_finds(api: httpx.Client, texts: Index) -> None:
    listed = api.get(COLLECTIONS, params={"name": texts.name}).json()["collections"]
    [collection] = listed
    assert collection["model_id"] == MODEL
    assert collection["item_count"] == 3
    path = f"{COLLECTIONS}/{collection['id']}"
    found = api.post(f"{path}/search", json={"text": "a cat", "top_k": 1}).json()["results"]
    assert found[0]["id"] == "cat"
    assert found[0]["text"] == TEXTS["cat"]


def test_ready_vectors_are_items_too(api: httpx.Client, default: Account) -> None:
    index = default.create(metric="dot-product")
    index.upsert(vector("a", metadata={"k": "x"}))
    [collection] = api.get(COLLECTIONS, params={"name": index.name}).json()["collections"]
    assert (collection["model_id"], collection["metric"]) == (None, "DOT")
    path = f"{COLLECTIONS}/{collection['id']}"
    [item] = api.get(f"{path}/items").json()["items"]
    assert (item["id"], item["metadata"], item["content_type"]) == ("a", {"k": "x"}, None)
    assert api.post(f"{path}/search", json={"text": "x"}).status_code == 400
    assert api.delete(path).status_code == 200
    refused(index.get(), 404, 3000)


def test_what_the_native_api_writes_vectorize_finds(api: httpx.Client, default: Account) -> None:
    path = new_collection(api)
    name = api.get(path).json()["name"]
    index = Index(default, name)
    assert result(index.get())["config"]["preset"] == MODEL
    index.declare("colour", "string")
    items = [
        {"id": colour, "image_base64": picture(colour), "metadata": {"colour": colour}}
        for colour in ("red", "blue")
    ]
    index_items(api, path, *items)
    found = index.query(text="blue", filter={"colour": "blue"}, returnMetadata="indexed")
    assert [match["id"] for match in found] == ["blue"]
    assert found[0]["metadata"] == {"colour": "blue"}
    assert "processedUpToMutation" in index.info()
    assert index.info()["vectorCount"] == 2
    result(index.post("/delete_by_ids", {"ids": ["red"]}))
    assert api.get(path).json()["item_count"] == 1


def test_the_documentations_example_works(service: Service) -> None:
    text = (ROOT / "docs" / "vectorize.md").read_text()
    [script] = re.findall(r"^ *```bash\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script.replace("http://127.0.0.1:8000", service.url)],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert '"id":"cat"' in done.stdout
