"""Indexing photos over HTTP against what decoding plus the image tower alone reach.

    python -m tests.bench.bench_indexing [--photos 600]

The baseline, in the same run and in turn with the service, decodes with the same worker processes
and encodes in the same batches, one feeding the other, and does nothing else: no HTTP, no base64,
no storing of media, no database.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import statistics
import time
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING

import httpx
import numpy as np
from PIL import Image

from app.encoders.registry import Model, Registry
from app.media.decoder_pool import Decoders
from app.settings import MediaSettings, ModelSettings
from tests.servers.app import running
from tests.servers.postgres import throwaway

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.media import ImageInput

BATCH = 100
ROUNDS = 5
SIZE = (1024, 768)


def photos(number: int) -> list[bytes]:
    """Pictures that compress and decode as photos do: smooth areas, edges and some noise."""
    return [photo(np.random.default_rng(seed)) for seed in range(number)]


def photo(source: np.random.Generator) -> bytes:
    coarse = Image.fromarray(source.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize(SIZE, Image.Resampling.BICUBIC), dtype=np.int16)
    noisy = smooth + source.normal(0, 6, smooth.shape).astype(np.int16)
    buffer = BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


async def alone(data: list[bytes], decoders: Decoders, model: Model, batch: int) -> float:
    """Return the seconds that decoding and encoding take, side by side."""
    tower = model.card.image
    assert tower is not None
    spec: ImageInput = tower.input()
    decoded: asyncio.Queue[np.ndarray] = asyncio.Queue(4 * batch)

    async def decode(one: bytes) -> None:
        await decoded.put((await decoders.image(one, spec)).pixels)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for one in data:
            group.create_task(decode(one))
        for start in range(0, len(data), batch):
            rows = [await decoded.get() for _ in range(min(batch, len(data) - start))]
            await asyncio.to_thread(model.towers.encode_images, np.stack(rows))
    return time.perf_counter() - started


async def served(bodies: Sequence[bytes], api: httpx.AsyncClient, name: str) -> tuple[str, float]:
    """Index into a new collection, two requests at a time; its path and the seconds."""
    created = await api.post("/v1/vectors/collections", json={"name": name})
    path = f"/v1/vectors/collections/{created.raise_for_status().json()['id']}"
    slots = asyncio.Semaphore(2)

    async def send(body: bytes) -> None:
        async with slots:
            headers = {"content-type": "application/json"}
            answer = await api.post(f"{path}/index", content=body, headers=headers)
            answer.raise_for_status()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for body in bodies:
            group.create_task(send(body))
    return path, time.perf_counter() - started


def request(batch: list[bytes]) -> bytes:
    items = ",".join(f'{{"image_base64":"{base64.b64encode(one).decode()}"}}' for one in batch)
    return f'{{"items":[{items}]}}'.encode()


async def measure(url: str, number: int) -> None:
    data = photos(number)
    bodies = [request(data[start : start + BATCH]) for start in range(0, number, BATCH)]
    settings = ModelSettings()
    model = Registry(settings).load(settings.default)
    decoders = Decoders(MediaSettings())
    await decoders.start()
    names = (f"bench {n}" for n in count())
    ratios = []
    async with httpx.AsyncClient(base_url=url, timeout=300) as api:
        await alone(data[:BATCH], decoders, model, settings.batch_size)
        await served(bodies[:1], api, next(names))
        for _ in range(ROUNDS):
            least = await alone(data, decoders, model, settings.batch_size)
            _, whole = await served(bodies, api, next(names))
            ratios.append(least / whole)
            print(
                f"decoding and tower alone {number / least:6.1f} photos/s   "
                f"service {number / whole:6.1f} photos/s   ratio {ratios[-1]:.2f}"
            )
    await decoders.close()
    print(f"ratio, service to decoding and tower alone: {statistics.median(ratios):.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=600)
    options = parser.parse_args()
    with throwaway() as url, running({"OMNIVEC_DATABASE_URL": url}) as service:
        asyncio.run(measure(service.url, options.photos))


if __name__ == "__main__":
    main()
