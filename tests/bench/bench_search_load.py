"""Search while an index is built, and while 500 items a second are written, against quiet.

    python -m tests.bench.bench_search_load [--seconds 20] [--writing 60] [--json FILE]

One client searches over HTTP. The index is built on another collection of half the size. The items
go over HTTP, ten at a time from a process of its own, to the collection that is searched, which has
an index; about once a second the writer looks for what it has just written.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from app.store.indexes import IndexStore
from app.store.items import ItemStore
from app.store.names import vectors_table
from tests.bench.reporting import Report, arguments
from tests.bench.search_data import (
    LATER,
    QUERIES,
    ROWS,
    bench_collection,
    bench_database,
    data_set,
    later_vectors,
)
from tests.bench.search_service import NEW, Client, running

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.store.database import Database
    from tests.bench.search_data import DataSet

AT_ONCE, A_SECOND, CONNECTIONS = 10, 500, 4
K, RECALLED = 10, 100  # hits of a search, and searches whose recall is taken


async def searches(client: Client, path: str, seconds: float) -> list[float]:
    taken: list[float] = []
    deadline, number = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        started = time.perf_counter()
        await found(client, path, str(number % QUERIES))
        taken.append(time.perf_counter() - started)
        number += 1
    return taken


async def found(client: Client, path: str, text: str) -> list[str]:
    answer = await client.post(f"{path}/search", json.dumps({"text": text, "top_k": K}).encode())
    return [hit["id"] for hit in json.loads(answer)["results"]]


def p95(taken: list[float]) -> float:
    return 1000 * float(np.percentile(taken, 95))


async def write(port: int, path: str, seconds: float) -> None:
    """Write for so long at a steady pace, and print what came of it."""
    batches, written, asked, missed = count(), 0, 0, 0
    started = time.monotonic()

    async def writer() -> None:
        nonlocal written, asked, missed
        client = await Client.connect(port)
        for batch in batches:
            due = started + batch * AT_ONCE / A_SECOND
            if max(due, time.monotonic()) >= started + seconds or written + AT_ONCE > LATER:
                break
            await asyncio.sleep(due - time.monotonic())
            names = [f"{NEW}-{n}" for n in range(batch * AT_ONCE, (batch + 1) * AT_ONCE)]
            items = [{"id": name, "text": name} for name in names]
            await client.post(f"{path}/index", json.dumps({"items": items}).encode())
            written += AT_ONCE
            if batch % (A_SECOND // AT_ONCE) == 0:
                asked += 1
                missed += (await found(client, path, names[-1]))[0] != names[-1]
        client.close()

    await asyncio.gather(*(writer() for _ in range(CONNECTIONS)))
    rate = written / (time.monotonic() - started)
    print(json.dumps({"rate": rate, "written": written, "found": 1 - missed / max(asked, 1)}))


async def written_by_another(port: int, path: str, seconds: float) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.bench_search_load"),
        *("--write", str(port), path, "--writing", str(seconds)),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    told: dict[str, Any] = json.loads(output)
    return told


async def recall(client: Client, path: str, data: DataSet) -> float:
    right = 0
    for number in range(RECALLED):
        truth = {
            name if int(name) < ROWS else f"{NEW}-{int(name) - ROWS}"
            for name in data.truth(data.queries[number], K)
        }
        right += len(truth & {*await found(client, path, str(number))})
    return right / (K * RECALLED)


async def clear(database: Database, collection: Collection, written: int) -> None:
    """Leave the collection as it was, for the next run."""
    names = [f"{NEW}-{n}" for n in range(written)]
    for start in range(0, written, 1000):
        await ItemStore(database).delete(collection, names[start : start + 1000])
    async with database.pool.acquire() as connection:
        await connection.execute(f"VACUUM {vectors_table(collection.space.key)}")


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of quiet, and of building")
    parser.add_argument("--writing", type=float, default=60.0, help="seconds")
    parser.add_argument("--write", nargs=2, help="be the writer to this port and path")
    options = parser.parse_args()
    if options.write:
        await write(int(options.write[0]), options.write[1], options.writing)
        return
    report, data = Report("search_load"), data_set()
    async with bench_database() as database:
        collection = await bench_collection(database, data)
        other = await bench_collection(database, data_set(ROWS // 2), "other", indexed=False)
        path = f"/v1/vectors/collections/{collection.id}"
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
            writing = asyncio.create_task(written_by_another(port, path, options.writing))
            await asyncio.sleep(1)  # until the writer has started
            taken = []
            while not writing.done():
                taken += await searches(client, path, 0.5)
            told = writing.result()
            report.ratio("items written, wanted", told["rate"], A_SECOND, "/s", least=0.98)
            report.ratio("p95 while they are written, quiet", p95(taken), quiet, "ms", most=3)
            report.share("found as soon as written", told["found"], 1.0)
            fresh = await indexes.fresh(collection, collection.space, LATER + 1)
            report.note("of them outside the index that there was", fresh, "")
            vectors = np.concatenate([data.vectors, later_vectors()[: told["written"]]])
            data = replace(data, vectors=vectors)
            data.truth(data.queries[0], K)  # the first takes longer than a connection stays open
            client.close()
            client = await Client.connect(port)
            report.share("recall@10 then", await recall(client, path, data), 0.98)
            client.close()
        await clear(database, collection, told["written"])
    report.write(options.json)


if __name__ == "__main__":
    asyncio.run(main())
