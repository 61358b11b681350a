"""What the encoder service costs on top of the towers, measured in one run.

    python -m tests.bench.bench_batching [--model ID] [--seconds 5]

Prints, for the service and for direct calls to the same towers: the latency of one text query, the
throughput of indexing images, texts and audio, and how long a search waits behind indexing.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.domain.modality import Modality
from app.encoders.registry import Registry
from app.encoders.service import EncoderService
from app.encoders.work import Priority
from app.settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.encoders.cards import Card
    from app.encoders.towers import Towers

QUERY = "a red guitar on a wooden floor"
BLOCK_SECONDS = 0.5
LINES = [" ".join([QUERY] * (1 + n % 5)) for n in range(64)]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default=ModelSettings().default)
    parser.add_argument("--seconds", type=float, default=5.0, help="for each measurement")
    options = parser.parse_args()
    settings = ModelSettings(preload=(options.model,))
    registry = Registry(settings)
    before = memory()
    towers = registry.load(options.model).towers
    print(f"memory: {before} MB before loading, {memory()} MB with the model loaded")
    service = EncoderService(settings, registry)
    await service.start()
    await service.ready()
    try:
        card = service.card(options.model)
        bench = Bench(service, card, towers, settings.batch_size, options.seconds)
        await bench.latency()
        await bench.images()
        await bench.texts()
        if Modality.AUDIO in bench.card.types:
            await bench.audio()
        await bench.search_while_indexing()
        print(f"memory: {memory()} MB after the runs")
    finally:
        await service.close()


class Bench:
    def __init__(
        self, service: EncoderService, card: Card, towers: Towers, batch: int, seconds: float
    ) -> None:
        self.service = service
        self.card = card
        self.towers = towers
        self.seconds = seconds
        self.batch = batch
        self.thread = ThreadPoolExecutor(1)

    async def latency(self) -> None:
        async def served() -> None:
            await self.search()

        direct, through = await self.compare(self.encode_query, served)
        overhead = through - direct
        print(
            f"text query, p50: {direct * 1e3:.2f} ms direct, {through * 1e3:.2f} ms served, "
            f"{overhead * 1e3:.2f} ms on top (target < 0.5)"
        )

    async def images(self) -> None:
        assert self.card.image is not None
        size = self.card.image.size
        rng = np.random.default_rng(0)
        pixels = [rng.integers(0, 256, (size, size, 3), np.uint8) for _ in range(4 * self.batch)]

        def direct() -> None:
            for start in range(0, len(pixels), self.batch):
                self.towers.encode_images(np.stack(pixels[start : start + self.batch]))

        async def served() -> None:
            await self.service.encode_images(self.card.id, pixels, priority=Priority.INDEX)

        await self.throughput("images", len(pixels), direct, served)

    async def texts(self) -> None:
        def direct() -> None:
            for start in range(0, len(LINES), self.batch):
                self.towers.encode_texts(self.towers.tokenize(LINES[start : start + self.batch]))

        async def served() -> None:
            await self.service.encode_texts(self.card.id, LINES, priority=Priority.INDEX)

        await self.throughput("texts", len(LINES), direct, served)

    async def audio(self) -> None:
        assert self.card.audio is not None
        noise = np.random.default_rng(0).normal(0, 0.1, 60 * self.card.audio.sample_rate)
        wave = noise.astype(np.float32)

        def direct() -> None:
            windows = self.towers.audio_windows(wave)
            for start in range(0, len(windows), self.batch):
                self.towers.encode_audio(windows[start : start + self.batch])

        async def served() -> None:
            await self.service.encode_audios(self.card.id, [wave], priority=Priority.INDEX)

        await self.throughput("seconds of audio", 60, direct, served)

    async def search_while_indexing(self) -> None:
        assert self.card.image is not None
        pixels = [np.zeros((self.card.image.size,) * 2 + (3,), np.uint8)] * 64
        alone = [await self.timed_search() for _ in range(50)]
        indexing = [
            asyncio.create_task(
                self.service.encode_images(self.card.id, pixels, priority=Priority.INDEX)
            )
            for _ in range(20)
        ]
        await asyncio.sleep(0.2)
        beside = []
        until = time.perf_counter() + self.seconds
        while time.perf_counter() < until and not indexing[-1].done():
            beside.append(await self.timed_search())
        for task in indexing:
            task.cancel()
        await asyncio.gather(*indexing, return_exceptions=True)
        p50 = [statistics.median(times) * 1e3 for times in (alone, beside)]
        print(
            f"search: p50 {p50[0]:.1f} ms alone, p50 {p50[1]:.1f} ms and worst "
            f"{max(beside) * 1e3:.0f} ms behind a full indexing queue"
        )

    async def throughput(
        self,
        what: str,
        count: int,
        direct: Callable[[], None],
        served: Callable[[], Awaitable[None]],
    ) -> None:
        alone, through = await self.compare(direct, served)
        print(
            f"{what}: {count / alone:.1f}/s direct, {count / through:.1f}/s served, "
            f"ratio {alone / through:.3f} (target >= 0.95)"
        )

    async def compare(
        self, direct: Callable[[], None], served: Callable[[], Awaitable[None]]
    ) -> tuple[float, float]:
        """Return both ways' median seconds, in alternate blocks so that noise hits both alike.

        The direct calls have a thread of their own, always the same one: a tower starts threads
        for each that calls.
        """
        loop = asyncio.get_running_loop()
        times: tuple[list[float], list[float]] = ([], [])
        until = time.perf_counter() + 2 * self.seconds
        while time.perf_counter() < until:
            times[0].extend(await loop.run_in_executor(self.thread, timed_block, direct))
            end = time.perf_counter() + BLOCK_SECONDS
            while time.perf_counter() < end:
                started = time.perf_counter()
                await served()
                times[1].append(time.perf_counter() - started)
        return statistics.median(times[0]), statistics.median(times[1])

    def encode_query(self) -> None:
        self.towers.encode_texts(self.towers.tokenize([QUERY]))

    async def search(self) -> None:
        await self.service.encode_texts(self.card.id, [QUERY], priority=Priority.SEARCH)

    async def timed_search(self) -> float:
        started = time.perf_counter()
        await self.search()
        return time.perf_counter() - started


def timed_block(call: Callable[[], None]) -> list[float]:
    times = []
    end = time.perf_counter() + BLOCK_SECONDS
    while time.perf_counter() < end:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return times


def memory() -> int:
    """Return this process's resident memory in MB."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmRSS:")[1].split()[0]) // 1024


if __name__ == "__main__":
    asyncio.run(main())
