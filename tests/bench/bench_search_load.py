"""Search while an index is built, and while 500 items a second are written, against quiet.

    python -m tests.bench.bench_search_load [--seconds 20] [--json FILE]

One client searches over HTTP. The index is built on another collection of half the size. The items
are written ten at a time by a process of their own: first to a collection without a vector index,
then to the one that is searched, whose index takes as many as it can (the place of a new element is
found by a search of its own).
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time

import numpy as np

from app.domain.items import NewItem
from app.domain.modality import Modality
from app.store.collections import CollectionStore
from app.store.indexes import IndexStore
from app.store.items import ItemStore
from tests.bench.reporting import Report, arguments
from tests.bench.search_data import (
    PROJECT,
    QUERIES,
    ROWS,
    bench_collection,
    bench_database,
    data_set,
    generate,
)
from tests.bench.search_service import Client, running

AT_ONCE, A_SECOND = 10, 500


async def searches(client: Client, path: str, seconds: float) -> list[float]:
    taken: list[float] = []
    deadline, number = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        body = json.dumps({"text": str(number % QUERIES), "top_k": 10}).encode()
        started = time.perf_counter()
        await client.post(path, body)
        taken.append(time.perf_counter() - started)
        number += 1
    return taken


def p95(taken: list[float]) -> float:
    return 1000 * float(np.percentile(taken, 95))


async def write(collection_id: str) -> None:
    """Write until told to stop, at a steady pace; print how many a second it came to."""
    vectors = generate(5000, 3)
    async with bench_database() as database:
        collection = await CollectionStore(database).get(PROJECT, collection_id)
        items, written = ItemStore(database), 0
        started = time.monotonic()
        print("writing", flush=True)
        stopped = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
        while not stopped.done():
            batch = [
                NewItem(f"new {n}", Modality.TEXT, vectors[n % 5000])
                for n in range(written, written + AT_ONCE)
            ]
            await items.put(collection, batch)
            written += AT_ONCE
            ahead = written / A_SECOND - (time.monotonic() - started)
            await asyncio.sleep(max(0.0, ahead))
        print(written / (time.monotonic() - started), flush=True)
        await items.delete(collection, [f"new {n}" for n in range(written)])


def start_writer(collection_id: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.bench.bench_search_load", "--write", collection_id]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each situation")
    parser.add_argument("--write", help="be the writer to the collection of this id")
    options = parser.parse_args()
    if options.write:
        await write(options.write)
        return
    report, data = Report("search_load"), data_set()
    async with bench_database() as database:
        collection = await bench_collection(database, data)
        other = await bench_collection(database, data_set(ROWS // 2), "other", indexed=False)
        path = f"/v1/vectors/collections/{collection.id}/search"
        with running() as port:
            client = await Client.connect(port)
            await searches(client, path, 2)
            quiet = p95(await searches(client, path, options.seconds))
            indexes = IndexStore(database)
            await indexes.drop(other)
            building = asyncio.create_task(indexes.build(other))
            await asyncio.sleep(1)
            busy = p95(await searches(client, path, options.seconds))
            report.ratio("p95 while an index is built, quiet", busy, quiet, "ms", most=3)
            building.cancel()
            await asyncio.gather(building, return_exceptions=True)
            for target, name in ((other, "another"), (collection, "the indexed")):
                writer = start_writer(target.id)
                assert writer.stdout
                await asyncio.to_thread(writer.stdout.readline)
                busy = p95(await searches(client, path, options.seconds))
                written, _ = writer.communicate("stop\n")
                label = f"p95 while {float(written):.0f} items/s go to {name} collection, quiet"
                report.ratio(label, busy, quiet, "ms", most=3)
            client.close()
    report.write(options.json)


if __name__ == "__main__":
    asyncio.run(main())
