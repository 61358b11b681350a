"""Changing a collection's model at size, against what the towers alone take for its content.

    python -m tests.bench.bench_migration [--texts 10000] [--photos 400]

A collection of texts and one of photos go over to a copy of the bundled model, and back while
searches go on one after the other. The baseline decodes and encodes the same content in batches of
the same size and does nothing else: nothing is read from the database or the store, nothing is
written, and no index is built.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from app.encoders.registry import Model, Registry
from app.media.decoder_pool import Decoders
from app.settings import ROOT, MediaSettings, ModelSettings
from tests.bench.bench_indexing import BATCH, alone, photos, request, served
from tests.bench.bench_text_search import sentence
from tests.servers.app import running
from tests.servers.postgres import throwaway

if TYPE_CHECKING:
    from collections.abc import Sequence

COPY = "copied-embedding"
POLL_SECONDS = 0.2
PATIENCE = 3600
WARM_UP = 20
SEARCHES = 100  # before the migration


def copy_model(directory: Path) -> None:
    """Put the bundled model beside itself under another id."""
    home = directory / COPY
    shutil.copytree(ROOT / "models" / ModelSettings().default, home)
    card = home / "card.json"
    changed = json.loads(card.read_text()) | {"id": COPY, "default": False}
    card.write_text(json.dumps(changed))


class Searches:
    """Searches one after the other; their seconds."""

    def __init__(self, api: httpx.AsyncClient, path: str) -> None:
        self._api = api
        self._path = path
        self._source = random.Random(3)

    async def one(self) -> float:
        started = time.perf_counter()
        answer = await self._api.post(f"{self._path}/search", json={"text": sentence(self._source)})
        assert len(answer.raise_for_status().json()["results"]) == 10
        return time.perf_counter() - started

    async def until(self, end: asyncio.Event) -> list[float]:
        seconds = []
        while not end.is_set():
            seconds.append(await self.one())
        return seconds


async def migrate(api: httpx.AsyncClient, path: str, model_id: str) -> dict[str, float]:
    """Change a collection's model; the seconds of each state."""
    begun = await api.post(f"{path}/migrations", json={"model_id": model_id})
    url = f"{path}/migrations/{begun.raise_for_status().json()['id']}"
    seconds: dict[str, float] = {}
    last = time.perf_counter()
    for _ in range(int(PATIENCE / POLL_SECONDS)):
        await asyncio.sleep(POLL_SECONDS)
        told = (await api.get(url)).raise_for_status().json()
        now = time.perf_counter()
        seconds[told["state"]] = seconds.get(told["state"], 0) + now - last
        last = now
        if told["state"] == "completed":
            assert told["failed"] == 0
            assert told["done"] == told["total"]
            return seconds
        assert told["state"] in {"pending", "embedding", "indexing"}, told
    raise TimeoutError


async def measure(
    api: httpx.AsyncClient, kind: str, bodies: Sequence[bytes], number: int, least: float
) -> None:
    path, indexed = await served(bodies, api, f"bench {kind}")
    print(f"{kind}: {number:,}", flush=True)
    print(f"  tower alone {number / least:7.1f} a second   indexing {number / indexed:7.1f}")
    report("there", await migrate(api, path, COPY), number, least)
    searches = Searches(api, path)
    for _ in range(WARM_UP):
        await searches.one()
    before = [await searches.one() for _ in range(SEARCHES)]
    end = asyncio.Event()
    searching = asyncio.create_task(searches.until(end))
    states = await migrate(api, path, ModelSettings().default)
    end.set()
    during = await searching
    report("back, beside searches", states, number, least)
    p50, p50_during = statistics.median(before), statistics.median(during)
    print(
        f"  search p50 {p50 * 1000:.1f} ms before, {p50_during * 1000:.1f} ms during "
        f"({len(during):,} searches); ratio {p50_during / p50:.2f}"
    )


def report(title: str, states: dict[str, float], number: int, least: float) -> None:
    told = ", ".join(f"{state} {seconds:.1f} s" for state, seconds in states.items())
    print(f"  {title}: {number / sum(states.values()):.1f} a second ({told})")
    print(f"    ratio, embedding anew to the tower alone: {least / states['embedding']:.2f}")


def encode_alone(model: Model, texts: Sequence[str], batch: int) -> float:
    started = time.perf_counter()
    for start in range(0, len(texts), batch):
        model.towers.encode_texts(model.towers.tokenize(texts[start : start + batch]))
    return time.perf_counter() - started


async def run(url: str, texts: int, pictures: int) -> None:
    settings = ModelSettings()
    model = Registry(settings).load(settings.default)
    source = random.Random(1)
    sentences = [sentence(source) for _ in range(texts)]
    data = photos(pictures)
    decoders = Decoders(MediaSettings())
    await decoders.start()
    async with httpx.AsyncClient(base_url=url, timeout=300) as api:
        encode_alone(model, sentences[:BATCH], settings.batch_size)
        least = await asyncio.to_thread(encode_alone, model, sentences, settings.batch_size)
        bodies = [
            json.dumps({"items": [{"text": one} for one in sentences[at : at + BATCH]]}).encode()
            for at in range(0, texts, BATCH)
        ]
        await measure(api, "texts", bodies, texts, least)
        await alone(data[:BATCH], decoders, model, settings.batch_size)
        least = await alone(data, decoders, model, settings.batch_size)
        bodies = [request(data[at : at + BATCH]) for at in range(0, pictures, BATCH)]
        await measure(api, "photos", bodies, pictures, least)
    await decoders.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--photos", type=int, default=400)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, throwaway() as url:
        copy_model(Path(directory))
        environment = {"OMNIVEC_DATABASE_URL": url, "OMNIVEC_MODELS_DIR": directory}
        with running(environment) as service:
            asyncio.run(run(service.url, options.texts, options.photos))


if __name__ == "__main__":
    main()
