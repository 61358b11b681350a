"""`kill -9` in the middle of changing a model, under load: it goes on, and nothing is missed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.engine.models import OTHER, SMALL, write_models
from tests.servers.app import Service, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLLECTIONS = "/v1/vectors/collections"
ITEMS = 600
KILLS = 2
PATIENCE_SECONDS = 240
UNDER_WAY = {"pending", "embedding", "indexing"}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service of the test's own, on the embedded database, with small models."""
    settings = {
        "OMNIVEC_MODELS_DIR": str(write_models(tmp_path / "models")),
        "OMNIVEC_DEFAULT_MODEL": SMALL,
        "OMNIVEC_PRELOAD_MODELS": SMALL,
    }
    with running(settings) as service:
        yield service


class Load(threading.Thread):
    """Adds, changes and deletes items, and searches, until the service is gone or it is stopped.

    `texts` holds what was acknowledged; an id that was under way at the end may be either way.
    """

    def __init__(self, url: str, path: str, texts: dict[str, str], first: int) -> None:
        super().__init__()
        self._url = url
        self._path = path
        self.texts = texts
        self.next = first
        self.unsure: set[str] = set()
        self.stop = threading.Event()
        self.wrong: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=60) as api:
            try:
                while not self.stop.is_set():
                    self._round(api)
            except httpx.TransportError:
                return

    def _round(self, api: httpx.Client) -> None:
        n, self.next = self.next, self.next + 1
        for name, words in ((f"later-{n}", f"a later one {n}"), (f"i{n % 50}", f"changed {n}")):
            self.unsure.add(name)
            self._ask(api, "POST", "/index", {"items": [{"id": name, "text": words}]})
            self.texts[name] = words
            self.unsure.discard(name)
        gone = f"i{ITEMS - 1 - n}"
        self.unsure.add(gone)
        self._ask(api, "DELETE", "/items", {"ids": [gone]})
        self.texts.pop(gone, None)
        self.unsure.discard(gone)
        found = self._ask(api, "POST", "/search", {"text": "thing", "top_k": 10})
        if len(found["results"]) != 10:
            self.wrong.append(f"{len(found['results'])} of 10 found")

    def _ask(self, api: httpx.Client, method: str, path: str, body: object) -> Any:
        answer = api.request(method, self._path + path, json=body)
        if answer.status_code != 200:
            self.wrong.append(answer.text)
        return answer.json()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_migration_goes_on_after_a_crash_and_misses_nothing(service: Service) -> None:
    with httpx.Client(base_url=service.url, timeout=60) as api:
        path = f"{COLLECTIONS}/{api.post(COLLECTIONS, json={'name': 'k'}).json()['id']}"
        texts = {f"i{n}": f"thing number {n}" for n in range(ITEMS)}
        names = list(texts)
        for at in range(0, ITEMS, 100):
            items = [{"id": name, "text": texts[name]} for name in names[at : at + 100]]
            assert api.post(f"{path}/index", json={"items": items}).status_code == 200
        begun = api.post(f"{path}/migrations", json={"model_id": OTHER}).json()
    migration = f"{path}/migrations/{begun['id']}"
    unsure: set[str] = set()
    load = Load(service.url, path, texts, 0)
    load.start()
    for kill in range(KILLS):
        time.sleep(0.4 * (kill + 1))
        service.kill()
        load.join()
        unsure |= load.unsure
        assert load.wrong == []
        service.start()
        load = Load(service.url, path, texts, load.next)
        load.start()
    with httpx.Client(base_url=service.url, timeout=60) as api:
        try:
            told = ended(api, migration)
            time.sleep(1)  # and on
        finally:
            load.stop.set()
            load.join()
        assert load.wrong == []
        assert (told["state"], told["failed"]) == ("completed", 0)
        assert told["done"] == told["total"]
        assert api.get(path).json()["model_id"] == OTHER
        stored = items_of(api, path)
        sure = texts.keys() - unsure
        assert sure <= stored.keys() <= sure | unsure
        assert {name: stored[name] for name in sure} == {name: texts[name] for name in sure}
        for name, words in stored.items():
            found = api.post(f"{path}/search", json={"text": words, "top_k": 100}).json()
            assert found["model"] == OTHER
            assert name in {hit["id"] for hit in found["results"] if hit["similarity"] > 0.99}


def ended(api: httpx.Client, migration: str) -> dict[str, Any]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        told: dict[str, Any] = api.get(migration).json()
        if told["state"] not in UNDER_WAY:
            return told
        time.sleep(0.2)
    raise AssertionError(told)


def items_of(api: httpx.Client, path: str) -> dict[str, str]:
    items: dict[str, str] = {}
    while True:
        page = api.get(f"{path}/items", params={"limit": 100, "offset": len(items)}).json()
        items |= {entry["id"]: entry["text"] for entry in page["items"]}
        if len(items) >= page["total"]:
            return items
