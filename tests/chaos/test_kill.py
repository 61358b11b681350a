"""`kill -9` in the middle of indexing: nothing acknowledged is lost, nothing is half-stored."""

from __future__ import annotations

import base64
import random
import threading
import time
import wave
from io import BytesIO
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.servers.app import Service, running

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 4
ORPHAN_SECONDS = 4
SWEEP_SECONDS = 60  # a sweep that was killed is repeated after its lease, half of this
COLLECTIONS = "/v1/vectors/collections"


@pytest.fixture
def service() -> Iterator[Service]:
    """A service of the test's own, on the embedded database: what a kill may harm is its alone."""
    settings = {
        "OMNIVEC_ORPHAN_TTL": str(ORPHAN_SECONDS),
        "OMNIVEC_SWEEP_INTERVAL": "0.5",
    }
    with running(settings) as service:
        yield service


class Writer(threading.Thread):
    """Indexes batch after batch until the service is gone."""

    def __init__(self, url: str, path: str, first: int) -> None:
        super().__init__()
        self._url = url
        self._path = path
        self.next = first
        self.sent: dict[str, bytes | None] = {}
        self.acknowledged: set[str] = set()

    def run(self) -> None:
        with httpx.Client(base_url=self._url, timeout=30) as api:
            try:
                while True:
                    self._batch(api)
            except httpx.TransportError:
                return

    def _batch(self, api: httpx.Client) -> None:
        batch = {f"{self.next}-{part}": noise(self.next * 10 + part) for part in range(3)}
        batch[f"{self.next}-words"] = None
        batch[f"{self.next}-sound"] = hum(self.next)
        self.next += 1
        self.sent |= batch
        answer = api.post(
            self._path + "/index", json={"items": [item(*entry) for entry in batch.items()]}
        )
        assert answer.status_code == 200, answer.text
        self.acknowledged |= batch.keys()


def noise(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def hum(seed: int) -> bytes:
    """Six seconds: two segments."""
    samples = np.random.default_rng(seed).normal(0, 3_000, 6 * 8_000).astype("<i2")
    buffer = BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8_000)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()


def item(name: str, media: bytes | None) -> dict[str, Any]:
    if media is None:
        return {"id": name, "text": f"words of {name}"}
    field = "audio_base64" if name.endswith("sound") else "image_base64"
    return {"id": name, field: base64.b64encode(media).decode()}


def stored(api: httpx.Client, path: str) -> dict[str, dict[str, Any]]:
    items: dict[str, dict[str, Any]] = {}
    while True:
        page = api.get(f"{path}/items", params={"limit": 100, "offset": len(items)}).json()
        items |= {entry["id"]: entry for entry in page["items"]}
        if len(items) >= page["total"]:
            return items


@pytest.mark.slow
def test_what_was_acknowledged_survives_and_the_rest_is_whole_or_absent(service: Service) -> None:
    path = f"{COLLECTIONS}/{httpx.post(service.url + COLLECTIONS, json={'name': 'k'}).json()['id']}"
    sent: dict[str, bytes | None] = {}
    acknowledged: set[str] = set()
    first = 0
    chance = random.Random(7)
    for _ in range(ROUNDS):
        writer = Writer(service.url, path, first)
        writer.start()
        time.sleep(chance.uniform(0.6, 1.6))
        service.kill()
        writer.join()
        sent |= writer.sent
        acknowledged |= writer.acknowledged
        first = writer.next
        service.start()
        with httpx.Client(base_url=service.url, timeout=30) as api:
            items = stored(api, path)
            assert acknowledged <= items.keys()
            for batch in range(first):
                parts = [name in items for name in sent if name.startswith(f"{batch}-")]
                assert all(parts) or not any(parts), f"batch {batch} is half-stored"
            for name, entry in items.items():
                if sent[name] is not None:
                    assert api.get(entry["content_url"]).content == sent[name]
            found = api.post(f"{path}/search", json={"text": "words", "top_k": 100}).json()
            assert len(found["results"]) == min(100, len(items))
            sounds = [hit for hit in found["results"] if hit["content_type"] == "audio"]
            assert all(hit["segment"]["end"] <= 6 for hit in sounds)
    assert len(acknowledged) >= ROUNDS

    media = {name for name in items if sent[name] is not None}
    deadline = time.monotonic() + SWEEP_SECONDS
    while time.monotonic() < deadline:
        files = [p for p in (service.directory / "data" / "media").rglob("*") if p.is_file()]
        if len(files) == len(media):
            return
        time.sleep(0.2)
    raise AssertionError(f"{len(files)} files for {len(media)} items with media: {sorted(files)}")
