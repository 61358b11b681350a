"""Text search over HTTP, and where its time goes: encoding, SQL and the rest.

    python -m tests.bench.bench_text_search [--items 10000] [--queries 300]

The baseline, measured in turn with the service in the same run, is the least that the work can
cost: the text tower called directly, and the statement on a bare connection, over the same index if
there are enough items for one. The ratio tells what batching, planning, HTTP and JSON add.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import statistics
import time
from typing import TYPE_CHECKING

import asyncpg
import httpx
import numpy as np
from pgvector.asyncpg import register_vector

from app.domain.search import Strategy
from app.encoders.registry import Registry
from app.engine.planner import EF_SEARCH
from app.settings import ModelSettings, SearchSettings
from tests.bench.search_data import DIMENSIONS
from tests.servers.app import Service, running
from tests.servers.postgres import throwaway

if TYPE_CHECKING:
    from app.encoders.registry import Model

BATCH = 100
BLOCK = 25
QUIET = {"OMNIVEC_SEARCH_INDEX_QUIET": "1"}  # instead of 20 s until the index is built
PATIENCE = 300  # seconds for an index to be built
SUBJECTS = "cat dog violin bridge rocket teapot river lantern tractor orchid chess whale"
MANNERS = "red old tiny broken golden wet quiet wooden striped frozen famous lost"
PLACES = ("on a beach", "in the kitchen", "under snow", "at night", "near a church", "at sea")


def sentence(source: random.Random) -> str:
    words = source.sample(MANNERS.split(), 2)
    things = source.sample(SUBJECTS.split(), 2)
    return f"a {words[0]} {things[0]} and a {words[1]} {things[1]} {source.choice(PLACES)}"


def fill(api: httpx.Client, items: int) -> str:
    path = f"/v1/vectors/collections/{create(api)}"
    source = random.Random(1)
    started = time.perf_counter()
    for start in range(0, items, BATCH):
        batch = [{"text": f"{sentence(source)}, {n}"} for n in range(start, start + BATCH)]
        api.post(f"{path}/index", json={"items": batch}).raise_for_status()
    print(f"indexed {items:,} texts at {items / (time.perf_counter() - started):,.0f}/s")
    if items > SearchSettings().hnsw_rows:
        wait_for_index(api, path)
    return path


def wait_for_index(api: httpx.Client, path: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        answer = api.post(f"{path}/search", json={"text": "a cat", "explain": True})
        if answer.raise_for_status().json()["explain"]["strategy"] == Strategy.HNSW:
            return
        time.sleep(1)
    raise TimeoutError(f"no index after {PATIENCE} s")


def create(api: httpx.Client) -> str:
    answer = api.post("/v1/vectors/collections", json={"name": "bench"})
    answer.raise_for_status()
    name: str = answer.json()["id"]
    return name


class Bare:
    """The least that a search can be: the tower, then one statement on one connection."""

    def __init__(self, model: Model, connection: asyncpg.Connection, query: str) -> None:
        self._model = model
        self._connection = connection
        self._query = query

    async def search(self, text: str) -> tuple[float, float]:
        """Return the seconds of encoding and of the statement."""
        started = time.perf_counter()
        towers = self._model.towers
        (vector,) = towers.encode_texts(towers.tokenize([text]))
        encoded = time.perf_counter()
        await self._connection.fetch(self._query, vector.astype(np.float16))
        return encoded - started, time.perf_counter() - encoded


async def connect(url: str) -> tuple[asyncpg.Connection, str]:
    """Return a connection, and the query of the ten nearest texts by `$1`, a halfvec."""
    connection = await asyncpg.connect(url)
    await register_vector(connection)
    tables = await connection.fetch(
        "SELECT tablename FROM pg_tables WHERE tablename ~ '^(vectors_s|items_c)[0-9]+$'"
    )
    vectors, items = sorted((row["tablename"] for row in tables), reverse=True)
    walk = await connection.fetchrow(
        "SELECT pg_get_indexdef(indexrelid, 1, true) AS indexed, "
        "pg_get_expr(indpred, indrelid) AS covered FROM pg_index "
        "JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_am AS a ON a.oid = c.relam "
        "WHERE indrelid = to_regclass($1) AND a.amname = 'hnsw' AND indisvalid "
        "ORDER BY pg_relation_size(indexrelid) DESC LIMIT 1",
        vectors,
    )
    embedding, where = "embedding", ""
    if walk is not None:
        embedding, where = walk["indexed"], f"WHERE {walk['covered']}"
        await connection.execute(f"SET hnsw.ef_search = {EF_SEARCH}")
    nearest = f"{embedding} <#> $1::halfvec({DIMENSIONS})"
    return connection, (
        "SELECT i.id, i.text, i.metadata, best.distance FROM "
        f"(SELECT item_seq, {nearest} AS distance FROM {vectors} {where} "
        f"ORDER BY {nearest} LIMIT 10) AS best "
        f"JOIN {items} AS i ON i.seq = best.item_seq ORDER BY best.distance"
    )


def timings(answer: httpx.Response) -> dict[str, float]:
    answer.raise_for_status()
    header = answer.headers["server-timing"]
    return {name: float(ms) / 1000 for name, ms in re.findall(r"(\w+);dur=([\d.]+)", header)}


async def measure(service: Service, url: str, path: str, queries: int) -> None:
    source = random.Random(2)
    texts = [sentence(source) for _ in range(queries)]
    model = Registry(ModelSettings()).load(ModelSettings().default)
    connection, query = await connect(url)
    bare = Bare(model, connection, query)
    served: list[tuple[float, float, float]] = []
    least: list[tuple[float, float]] = []
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as api:
        for start in range(-BLOCK, queries, BLOCK):  # the first block warms both up
            block = texts[max(start, 0) : max(start, 0) + BLOCK]
            for text in block:
                started = time.perf_counter()
                answer = await api.post(f"{path}/search", json={"text": text})
                total = time.perf_counter() - started
                parts = timings(answer)
                served.append((total, parts["encode"], parts["database"]))
            # In turn by blocks: the threads of one side's tower spin for a while after each text,
            # on the cores that the other side needs.
            least += [await bare.search(text) for text in block]
            await asyncio.sleep(0.2)
    await connection.close()
    report(served[BLOCK:], least[BLOCK:])


def report(served: list[tuple[float, float, float]], least: list[tuple[float, float]]) -> None:
    def row(name: str, seconds: list[float]) -> float:
        ordered = sorted(seconds)
        p50, p95 = statistics.median(ordered), ordered[int(len(ordered) * 0.95)]
        print(f"{name:32} p50 {p50 * 1000:7.2f} ms   p95 {p95 * 1000:7.2f} ms")
        return p50

    total = row("service, whole request", [entry[0] for entry in served])
    row("  of which encoding", [entry[1] for entry in served])
    row("  of which SQL", [entry[2] for entry in served])
    row("  of which the rest", [entry[0] - entry[1] - entry[2] for entry in served])
    baseline = row("baseline, tower and statement", [sum(entry) for entry in least])
    row("  of which encoding", [entry[0] for entry in least])
    row("  of which SQL", [entry[1] for entry in least])
    print(f"ratio, service to baseline: {total / baseline:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args()
    with throwaway() as url, running({"OMNIVEC_DATABASE_URL": url, **QUIET}) as service:
        with httpx.Client(base_url=service.url, timeout=120) as api:
            path = fill(api, options.items)
        asyncio.run(measure(service, url, path, options.queries))


if __name__ == "__main__":
    main()
