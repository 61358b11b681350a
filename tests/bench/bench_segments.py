"""What segments of recordings cost: searching, writing, storing, and a long recording's memory.

    python -m tests.bench.bench_segments [--texts 10000] [--recordings 100] [--json FILE]

The baselines of searching and writing are the same calls without segments, in turn with them by
blocks and in this process: no HTTP and no tower.
"""

from __future__ import annotations

import asyncio
import io
import re
import statistics
import tempfile
import threading
import time
import wave
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import numpy as np

from app.domain.collections import SpaceSpec
from app.domain.items import NewItem
from app.domain.modality import Modality
from app.domain.search import Branch
from app.domain.segments import Segment, Segments
from app.engine.nearest import NearestSearcher
from app.engine.planner import Wish
from app.engine.segments import SegmentSearcher
from app.settings import SearchSettings, Settings
from app.store.collections import CollectionStore
from app.store.database import Database
from app.store.items import ItemStore
from app.store.names import segments_table
from app.store.search import SearchStore
from app.store.segments import SegmentStore
from tests.bench.reporting import Report, arguments
from tests.servers.app import running
from tests.servers.postgres import throwaway

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from numpy.typing import NDArray

    from app.domain.collections import Collection

SPEC = SpaceSpec("bench", 1024)
SEGMENTS = 125  # of ten minutes
BLOCKS, BLOCK = 20, 10
MEGABYTE = 2**20
RANDOM = np.random.default_rng(1)


def unit(n: int) -> NDArray[np.float32]:
    vectors = RANDOM.standard_normal((n, SPEC.dimensions), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def items(n: int, kind: Modality, prefix: str, parts: int | None = None) -> list[NewItem]:
    return [
        NewItem(f"{prefix}{number}", kind, vector, segments=parts and segments(parts))
        for number, vector in enumerate(unit(n))
    ]


def segments(n: int) -> Segments:
    spans = tuple(Segment(4.8 * place, 4.8 * place + 5.28) for place in range(n))
    return Segments(spans, unit(n) if n > 1 else np.empty((0, SPEC.dimensions), np.float32))


async def a_collection(database: Database, name: str, *batches: list[NewItem]) -> Collection:
    store, collections = ItemStore(database), CollectionStore(database)
    collection = await collections.create("default", name, None, SPEC)
    for batch in batches:
        await store.put(collection, batch)
    await database.pool.execute("VACUUM (ANALYZE)")
    return await collections.get("default", collection.id)


async def in_turn(*calls: Callable[[], Awaitable[object]]) -> list[float]:
    """Return the median seconds of each call, measured by blocks in turn."""
    seconds: list[list[float]] = [[] for _ in calls]
    for block in range(-1, BLOCKS):  # the first warms up
        for call, took in zip(calls, seconds, strict=True):
            for _ in range(BLOCK):
                started = time.perf_counter()
                await call()
                if block >= 0:
                    took.append(time.perf_counter() - started)
    return [statistics.median(took) for took in seconds]


async def measure_search(database: Database, report: Report, texts: int, recordings: int) -> None:
    words = items(texts, Modality.TEXT, "t")
    plain = await a_collection(database, "texts", words)
    long = [items(10, Modality.AUDIO, f"r{n}.", SEGMENTS) for n in range(recordings // 10)]
    mixed = await a_collection(database, "mixed", words, *long)
    settings = SearchSettings()
    nearest = NearestSearcher(settings, SearchStore(database))
    searcher = SegmentSearcher(settings, nearest, SegmentStore(database))
    vector = unit(1)[0]

    def wish(*kinds: Modality) -> Wish:
        return Wish(vector, tuple(Branch(kind, 10.0, -2.0) for kind in kinds), limit=10)

    async def without(collection: Collection, wish: Wish) -> None:
        await nearest.find(collection, wish)

    async def with_segments(collection: Collection, wish: Wish) -> None:
        found = await searcher.find(collection, wish)
        await searcher.locate(collection, wish.vector, found.hits)

    for name, collection, kinds, most in (
        (f"{texts} texts, no recording", plain, tuple(Modality), 1.05),
        (f"beside {recordings} recordings, texts asked for", mixed, (Modality.TEXT,), 1.05),
        (f"beside {recordings} recordings, all asked for", mixed, tuple(Modality), None),
        (f"{recordings} recordings of ten minutes", mixed, (Modality.AUDIO,), None),
    ):
        asked = wish(*kinds)
        base, took = await in_turn(
            partial(without, collection, asked), partial(with_segments, collection, asked)
        )
        report.ratio(f"search, {name}", took * 1000, base * 1000, "ms", most=most)
    table = segments_table(mixed.space.key)
    size = await database.pool.fetchval(f"SELECT pg_total_relation_size('{table}')")
    report.note("a segment stored", size / (recordings * SEGMENTS), "bytes")


async def measure_writing(database: Database, report: Report) -> None:
    store = ItemStore(database)
    collection = await CollectionStore(database).create("default", "written", None, SPEC)
    await store.put(collection, items(1, Modality.AUDIO, "first", 1))
    collection = await CollectionStore(database).get("default", collection.id)
    bare, short = (items(100, Modality.AUDIO, name, 1) for name in ("bare", "short"))
    bare = [replace(item, segments=None) for item in bare]

    async def write(batch: list[NewItem]) -> None:
        anew = str(time.perf_counter_ns())
        await store.put(collection, [replace(item, id=item.id + anew) for item in batch])

    base, took = await in_turn(partial(write, bare), partial(write, short))
    report.ratio("100 short sounds written", took * 1000, base * 1000, "ms")
    long = items(1, Modality.AUDIO, "long", SEGMENTS)
    base, took = await in_turn(partial(write, bare[:1]), partial(write, long))
    report.ratio("a recording of ten minutes written", took * 1000, base * 1000, "ms")


def ten_minutes(rate: int = 40_000) -> bytes:
    """Noise, 46 MB: about as large as is taken."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        for _ in range(600):
            file.writeframes(RANDOM.normal(0, 3_000, rate).astype("<i2").tobytes())
    return buffer.getvalue()


def memory(process_id: int, key: str) -> float:
    """Return the megabytes that Linux's status of a process tells."""
    found = re.search(rf"{key}:\s+(\d+) kB", Path(f"/proc/{process_id}/status").read_text())
    assert found
    return int(found[1]) * 1024 / MEGABYTE


def decoders(process_id: int) -> list[int]:
    tasks = Path(f"/proc/{process_id}/task").glob("*/children")
    children = [child for task in tasks for child in task.read_text().split()]
    names = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [int(child) for child, name in names.items() if b"app.media.decoder" in name]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


def measure_memory(url: str, report: Report) -> None:
    with tempfile.TemporaryDirectory(prefix="omnivec-bench-") as directory:
        (Path(directory) / "long.wav").write_bytes(ten_minutes())
        handler = partial(_Quiet, directory=directory)
        web = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        source = {"audio": f"http://127.0.0.1:{web.server_port}/long.wav"}
        settings = {"OMNIVEC_DATABASE_URL": url, "OMNIVEC_FETCH_ALLOW": "127.0.0.0/8"}
        with running(settings) as service, httpx.Client(base_url=service.url, timeout=600) as api:
            created = api.post("/v1/vectors/collections", json={"name": "memory"}).json()
            path = f"/v1/vectors/collections/{created['id']}"
            api.post(f"{path}/search", json={"text": "loads the model"}).raise_for_status()
            for name, call in (
                ("1 recording of ten minutes indexed", {"items": [source]}),
                ("8 indexed by one request", {"items": [source] * 8}),
                ("a search by one", source),
            ):
                processes = [service.process_id, *decoders(service.process_id)]
                for process in processes:
                    Path(f"/proc/{process}/clear_refs").write_text("5")
                before = [memory(process, "VmRSS") for process in processes]
                action = "index" if "items" in call else "search"
                api.post(f"{path}/{action}", json=call).raise_for_status()
                peaks = [
                    memory(process, "VmHWM") - least
                    for process, least in zip(processes, before, strict=True)
                ]
                report.note(f"{name}, the server's memory rises by", peaks[0], "MB")
                report.note(f"{name}, a decoder's by at most", max(peaks[1:]), "MB")
                time.sleep(6)  # memory is given back at rest
        web.shutdown()
        web.server_close()


async def measure(url: str, report: Report, texts: int, recordings: int) -> None:
    settings = Settings()
    settings = replace(settings, database=replace(settings.database, url=url))
    database = await Database.open(settings)
    try:
        await measure_search(database, report, texts, recordings)
        await measure_writing(database, report)
    finally:
        await database.close()


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--recordings", type=int, default=100)
    options = parser.parse_args()
    report = Report("segments")
    with throwaway() as url:
        asyncio.run(measure(url, report, options.texts, options.recordings))
        measure_memory(url, report)
    report.write(options.json)


if __name__ == "__main__":
    main()
