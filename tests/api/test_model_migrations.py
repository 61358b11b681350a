"""Changing a collection's model over HTTP, with two servers beside each other and under load."""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from tests.api.factories import (
    COLLECTIONS,
    delete,
    index,
    new_collection,
    new_name,
    picture,
    pointers,
    problem,
)
from tests.api.vectorize.factories import Account
from tests.encoders.factories import write_card
from tests.engine.models import OTHER, SMALL, write_models
from tests.servers.app import new_database, running

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from tests.servers.app import Service
    from tests.servers.postgres import PostgresServer

PATIENCE_SECONDS = 120
UNDER_WAY = {"pending", "embedding", "indexing"}


@pytest.fixture(scope="module")
def services(postgres: PostgresServer) -> Iterator[tuple[Service, Service]]:
    """Two services over one database and one store, with small models."""
    with TemporaryDirectory() as name:
        models = write_models(Path(name) / "models")
        write_card(models, id="no-weights")
        environment = {
            "OMNIVEC_DATA_DIR": str(Path(name) / "data"),
            "OMNIVEC_DATABASE_URL": new_database(postgres),
            "OMNIVEC_MODELS_DIR": str(models),
            "OMNIVEC_DEFAULT_MODEL": SMALL,
            "OMNIVEC_PRELOAD_MODELS": "none",
        }
        with running(environment) as one, running(environment) as other:
            yield one, other


@pytest.fixture(scope="module")
def api(services: tuple[Service, Service]) -> Iterator[httpx.Client]:
    with services[0].client() as client:
        yield client


def start(api: httpx.Client, path: str, model: str = OTHER) -> str:
    """Begin a migration and return its path."""
    answer = api.post(f"{path}/migrations", json={"model_id": model})
    assert answer.status_code == 202, answer.text
    return f"{path}/migrations/{answer.json()['id']}"


def ended(api: httpx.Client, migration: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        told: dict[str, Any] = api.get(migration).json()
        if told["state"] not in UNDER_WAY:
            return told
        time.sleep(0.1)
    raise AssertionError(told)


class Searcher(threading.Thread):
    """Searches at one of the services, over and over."""

    def __init__(self, service: Service, path: str) -> None:
        super().__init__()
        self._service = service
        self._path = path
        self.stop = threading.Event()
        self.models: set[str] = set()
        self.failed: list[str] = []

    def run(self) -> None:
        with self._service.client() as api:
            while not self.stop.is_set():
                began = time.monotonic()
                answer = api.post(f"{self._path}/search", json={"text": "thing", "top_k": 5})
                if answer.status_code != 200 or len(answer.json()["results"]) != 5:
                    self.failed.append(answer.text)
                else:
                    self.models.add(answer.json()["model"])
                time.sleep(time.monotonic() - began)  # and leave the others some time


def wait_for(searchers: list[Searcher], model: str) -> None:
    """Let each of them search by that model."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline and any(model not in each.models for each in searchers):
        time.sleep(0.05)


def test_a_collection_changes_its_model_while_it_is_used(
    services: tuple[Service, Service], api: httpx.Client
) -> None:
    path = new_collection(api, *({"id": f"i{n}", "text": f"thing {n}"} for n in range(60)))
    index(api, path, {"id": "picture", "image_base64": picture()})
    searchers = [Searcher(service, path) for service in services]
    for searcher in searchers:
        searcher.start()
    try:
        wait_for(searchers, SMALL)
        migration = start(api, path)
        told = api.get(migration).json()
        assert (told["from_model_id"], told["model_id"]) == (SMALL, OTHER)
        number = 0
        while told["state"] in UNDER_WAY or number < 3:
            number += 1
            index(api, path, {"id": f"i{number}", "text": f"changed {number}"})
            index(api, path, {"id": f"later-{number}", "text": f"a later one {number}"})
            if number % 2:
                gone = [f"i{60 - number}"] if number < 60 else []
                assert delete(api, f"{path}/items", {"ids": [*gone, "none"]}).is_success
            told = api.get(migration).json()
        wait_for(searchers, OTHER)
    finally:
        for searcher in searchers:
            searcher.stop.set()
            searcher.join()
    for searcher in searchers:
        assert searcher.failed == []
        assert searcher.models == {SMALL, OTHER}
    assert (told["state"], told["failed"], told["error"]) == ("completed", 0, None)
    assert told["done"] == told["total"] > 50
    assert told["created_at"] <= told["started_at"] <= told["finished_at"]
    after = api.get(path).json()
    assert (after["model_id"], after["dimensions"]) == (OTHER, 40)
    items = api.get(f"{path}/items", params={"limit": 100}).json()["items"]
    assert len(items) == min(100, after["item_count"])
    for item in items:
        wanted = {"text": item["text"]} if "text" in item else {"image_base64": picture()}
        answer = api.post(f"{path}/search", json={**wanted, "top_k": 10}).json()
        assert item["id"] in {hit["id"] for hit in answer["results"]}
        assert answer["model"] == OTHER
    listed = api.get(f"{path}/migrations").json()
    assert (listed["migrations"], listed["total"]) == ([told], 1)
    assert api.get(f"{migration}/failures").json() == {
        "failures": [],
        "total": 0,
        "limit": 20,
        "offset": 0,
    }


def test_404_unknown(api: httpx.Client) -> None:
    path = new_collection(api)
    body = {"model_id": "no-such-model"}
    assert (
        "no-such-model"
        in problem(api.post(f"{path}/migrations", json=body), 404, "not_found")["detail"]
    )
    nowhere = f"{COLLECTIONS}/col_none/migrations"
    problem(api.post(nowhere, json={"model_id": OTHER}), 404, "not_found")
    problem(api.get(nowhere), 404, "not_found")
    for migration in (f"{path}/migrations/mig_none", f"{nowhere}/mig_none"):
        problem(api.get(migration), 404, "not_found")
        problem(api.get(f"{migration}/failures"), 404, "not_found")
        problem(api.delete(migration), 404, "not_found")
    elsewhere = new_collection(api, {"text": "a"})
    migration = start(api, elsewhere)
    ended(api, migration)
    problem(api.get(migration.replace(elsewhere, path)), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "/model_id", "missing"),
        ({"model_id": ""}, "/model_id", "invalid"),
        ({"model_id": None}, "/model_id", "invalid"),
        ({"model_id": 5}, "/model_id", "invalid"),
        ({"model_id": "x" * 101}, "/model_id", "invalid"),
        ({"model_id": "a\0b"}, "/model_id", "invalid"),
        ({"model_id": OTHER, "force": True}, "/force", "unknown_field"),
        ([], "", "invalid"),
    ],
)
def test_400_a_wrong_request_is_refused_with_a_pointer(
    api: httpx.Client, body: object, pointer: str, code: str
) -> None:
    answer = api.post(f"{new_collection(api)}/migrations", json=body)
    [error] = problem(answer, 400, "invalid_request")["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "offset=-1", "limit=x", "model=x"])
@pytest.mark.parametrize("listing", ["migrations", "migrations/mig_none/failures"])
def test_400_a_wrong_page(api: httpx.Client, listing: str, query: str) -> None:
    answer = api.get(f"{new_collection(api)}/{listing}?{query}")
    problem(answer, 400, "invalid_request")


def test_400_a_kind_that_the_model_lacks(api: httpx.Client, tmp_path: Path) -> None:
    created = api.post(
        COLLECTIONS, json={"name": new_name(), "model_id": "multimodal-embedding-v1"}
    ).json()
    path = f"{COLLECTIONS}/{created['id']}"
    sound = (Path(__file__).parents[2] / "docs" / "tour" / "bell.wav").read_bytes()
    index(api, path, {"audio_base64": b64encode(sound).decode()})
    answer = api.post(f"{path}/migrations", json={"model_id": OTHER})
    assert "audio (1 items)" in problem(answer, 400, "invalid_request")["detail"]
    assert pointers(answer) == ["/model_id"]


def test_409_the_same_model(api: httpx.Client) -> None:
    path = new_collection(api)
    answer = api.post(f"{path}/migrations", json={"model_id": SMALL})
    problem(answer, 409, "same_model")
    assert api.get(f"{path}/migrations").json()["total"] == 0


def test_409_a_second_one_and_then_none_to_cancel(api: httpx.Client) -> None:
    path = new_collection(api)
    for at in range(3):
        index(api, path, *({"text": f"{at} {n} " * 10} for n in range(100)))
    migration = start(api, path)
    problem(api.post(f"{path}/migrations", json={"model_id": OTHER}), 409, "migration_running")
    canceled = api.delete(migration).json()
    assert canceled["state"] == "canceled"
    assert canceled["finished_at"] is not None
    assert canceled["total"] == 300
    problem(api.delete(migration), 409, "migration_ended")
    assert api.get(path).json()["model_id"] == SMALL
    again = start(api, path)
    assert ended(api, again)["state"] == "completed"
    page = api.get(f"{path}/migrations", params={"limit": 1}).json()
    assert (page["migrations"][0]["state"], page["total"]) == ("completed", 2)


def test_409_ready_vectors(api: httpx.Client) -> None:
    bare = Account(api, "default").create()
    [found] = api.get(COLLECTIONS, params={"name": bare.name}).json()["collections"]
    path = f"{COLLECTIONS}/{found['id']}"
    answer = api.post(f"{path}/migrations", json={"model_id": OTHER})
    assert bare.name in problem(answer, 409, "ready_vectors")["detail"]


def test_409_a_ready_vector_while_the_model_changes(api: httpx.Client) -> None:
    name = f"index-{new_name().replace(' ', '-')}"
    path = f"{COLLECTIONS}/{api.post(COLLECTIONS, json={'name': name}).json()['id']}"
    for at in range(3):
        index(api, path, *({"text": f"{at} {n} " * 10} for n in range(100)))
    migration = start(api, path)
    vectorize = Account(api, "default")
    line = '{"id": "ready", "values": [' + ", ".join(["0.5"] * 24) + "]}"
    answer = vectorize.send(
        "POST", f"/{name}/upsert", content=line, headers={"Content-Type": "application/x-ndjson"}
    )
    assert api.get(migration).json()["state"] in UNDER_WAY
    assert answer.status_code == 409, answer.text
    assert answer.json()["errors"][0]["code"] == 40115
    api.delete(migration)


def test_503_a_model_without_its_files(api: httpx.Client) -> None:
    answer = api.post(f"{new_collection(api)}/migrations", json={"model_id": "no-weights"})
    problem(answer, 503, "unavailable")


def test_deleting_the_collection_ends_its_migration(api: httpx.Client) -> None:
    path = new_collection(api, *({"text": f"thing {n}"} for n in range(50)))
    migration = start(api, path)
    assert api.delete(path).json()["deleted"] is True
    problem(api.get(migration), 404, "not_found")
