"""`kill -9` of the service, and of Postgres, while indexes follow what is written.

Every acknowledged vector is there once, as it was written last, and is found.
"""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]
import pytest

from tests.api.vectorize.factories import Account, Index
from tests.servers.app import Service, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 4
DIMENSIONS, BATCH = 64, 100
SPREAD = 900  # the numbers of vectors that are written again and again
SETTINGS = {
    "OMNIVEC_PRELOAD_MODELS": "none",
    "OMNIVEC_SEARCH_EXACT_ROWS": "100",
    "OMNIVEC_SEARCH_HNSW_ROWS": "200",
    "OMNIVEC_SEARCH_FRESH_ROWS": "50",
    "OMNIVEC_SEARCH_INDEX_QUIET": "0.05",
    "OMNIVEC_SWEEP_INTERVAL": "0.5",
}


@pytest.fixture
def service() -> Iterator[Service]:
    with running(SETTINGS) as service:
        yield service


class Writer(threading.Thread):
    """Replaces vectors, batch after batch, until the service is gone."""

    def __init__(self, index: Index, first: int, versions: dict[str, int]) -> None:
        super().__init__()
        self._index = index
        self.next = first
        self.versions = versions  # of those acknowledged
        self.pending: dict[str, int] = {}

    def run(self) -> None:
        try:
            while True:
                names = {f"v{(self.next * BATCH + part) % SPREAD}" for part in range(BATCH)}
                self.pending = dict.fromkeys(names, self.next)
                self.next += 1
                self._index.upsert(
                    *({"id": name, "values": values(name, self.next - 1)} for name in names)
                )
                self.versions |= self.pending
                self.pending = {}
        except httpx.TransportError:
            return


def values(name: str, version: int) -> list[float]:
    generator = np.random.default_rng(int(name[1:]) * 1000 + version)
    vector = generator.standard_normal(DIMENSIONS)
    numbers: list[float] = np.float32(vector / np.linalg.norm(vector)).astype(float).tolist()
    return numbers


def kill_postgres(service: Service) -> None:
    """As when the machine loses its power, but for what is in the kernel's hands."""
    pid = int((service.directory / "data/postgres/postmaster.pid").read_text().split("\n", 1)[0])
    postmaster = psutil.Process(pid)
    for process in (postmaster, *postmaster.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # some end as soon as the postmaster has
            process.kill()


def check(index: Index, versions: dict[str, int], pending: dict[str, int]) -> dict[str, int]:
    """Return the versions that are stored, after having looked at each of them."""
    stored: dict[str, list[float]] = {}
    names = sorted({*versions, *pending})
    for start in range(0, len(names), 20):
        for entry in index.stored(*names[start : start + 20]):
            stored[entry["id"]] = entry["values"]
    assert versions.keys() <= stored.keys()
    assert index.info()["vectorCount"] == len(stored)
    landed = [np.allclose(stored.get(n, 0), values(n, v)) for n, v in pending.items()]
    assert all(landed) or not any(landed), "a batch is half-stored"
    now = versions | pending if any(landed) else dict(versions)
    for name, version in now.items():
        assert np.allclose(stored[name], values(name, version)), name
    for name in random.Random(len(now)).sample(sorted(now), 40):
        matches = index.query(values(name, now[name]), topK=100)
        assert matches[0]["id"] == name
        assert matches[0]["score"] == pytest.approx(1, abs=1e-3)
        assert len({match["id"] for match in matches}) == min(100, len(now))
    return now


@pytest.mark.slow
def test_vectors_survive_while_indexes_follow_the_writing(service: Service) -> None:
    with service_client(service) as client:
        name = Account(client, "chaos").create(DIMENSIONS).name
    first, versions = 0, dict[str, int]()
    chance = random.Random(11)
    for turn in range(ROUNDS):
        with service_client(service) as client:
            writer = Writer(Index(Account(client, "chaos"), name), first, versions)
            writer.start()
            time.sleep(chance.uniform(1, 4))
            service.kill()
            if turn % 2:
                kill_postgres(service)
            writer.join()
        first = writer.next
        service.start()
        with service_client(service) as client:
            index = Index(Account(client, "chaos"), name)
            versions = check(index, versions, writer.pending)
    assert len(versions) > 200


def service_client(service: Service) -> httpx.Client:
    return httpx.Client(base_url=service.url, timeout=60)
