"""Writing and querying over the Vectorize face against Postgres and the engine themselves.

    python -m tests.bench.bench_vectorize [--vectors 100000]

Baseline of writing: a bare binary COPY of the same vectors into a table like a space's, in the
same run and in turn with the service. Baseline of querying: the engine's own call in this process,
on the same database. Bodies are prepared before the clock starts.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import os
import statistics
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import httpx
import msgspec
import numpy as np
from pgvector import Vector
from pgvector.asyncpg import register_vector

from app.domain.vector_indexes import VectorQuery
from app.engine.engine import Engine
from app.settings import ModelSettings, Settings
from tests.servers.app import Service, running
from tests.servers.postgres import throwaway

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIMENSIONS = 768
BATCH = 5_000
ACCOUNT = "bench"
QUERIES = 300
LEAST = {"OMNIVEC_PRELOAD_MODELS": "none"}


def batch(number: int) -> NDArray[np.float32]:
    """Float32 [BATCH, DIMENSIONS]."""
    return np.random.default_rng(number).standard_normal((BATCH, DIMENSIONS)).astype(np.float32)


def body(number: int) -> bytes:
    """A batch as NDJSON, its numbers with as many digits as float32 has."""
    values = batch(number).astype(np.float64).round(7).tolist()
    lines = ({"id": f"{number}-{place}", "values": vector} for place, vector in enumerate(values))
    return b"\n".join(map(msgspec.json.encode, lines))


async def copy_alone(url: str, number: int) -> float:
    """Return the seconds that a bare COPY of a batch takes."""
    connection = await asyncpg.connect(url)
    await register_vector(connection)
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS bare (item_seq bigint PRIMARY KEY, embedding vector); "
        "ALTER TABLE bare ALTER embedding SET STORAGE PLAIN"
    )
    records = [(number * BATCH + place, Vector(row)) for place, row in enumerate(batch(number))]
    started = time.perf_counter()
    await connection.copy_records_to_table("bare", records=records)
    seconds = time.perf_counter() - started
    await connection.close()
    return seconds


def memory(process: int) -> float:
    """The most memory that a process has held, in MB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def write(client: httpx.Client, service: Service, url: str, batches: int) -> None:
    process = service.process_id
    before = memory(process)
    served: list[float] = []
    bare: list[float] = []
    headers = {"Content-Type": "application/x-ndjson"}
    for number in range(batches):
        content = body(number)
        started = time.perf_counter()
        answer = client.post("/b/upsert", content=content, headers=headers)
        served.append(time.perf_counter() - started)
        assert answer.status_code == 200, f"{answer.text}\n{service.log[-4000:]}"
        bare.append(asyncio.run(copy_alone(url, number)))
    total = batches * BATCH
    print(f"{total} vectors of {DIMENSIONS} dimensions in batches of {BATCH}")
    print(f"  over the face {total / sum(served):8.0f} vectors/s")
    print(f"  bare COPY     {total / sum(bare):8.0f} vectors/s")
    print(f"  ratio of medians {statistics.median(bare) / statistics.median(served):.2f}")
    print(f"  the server's memory grew by {memory(process) - before:.0f} MB")


async def query_alone(settings: Settings, vectors: NDArray[np.float32]) -> list[float]:
    engine = await Engine.open(settings)
    seconds = []
    for vector in vectors:
        started = time.perf_counter()
        index = await engine.vector_indexes.find(ACCOUNT, "q")
        await engine.vector_indexes.query(index, VectorQuery(vector=vector))
        seconds.append(time.perf_counter() - started)
    await engine.close()
    return seconds


def query(client: httpx.Client, settings: Settings) -> None:
    """Ask a small index, so that the face's share shows."""
    create(client, "q")
    content = b"\n".join(body(0).split(b"\n")[:1_000])
    client.post("/q/insert", content=content).raise_for_status()
    vectors = batch(1)[:QUERIES]
    bodies = [msgspec.json.encode({"vector": vector.tolist()}) for vector in vectors]
    asyncio.run(query_alone(settings, vectors[:50]))
    own = asyncio.run(query_alone(settings, vectors))
    # A lean client: httpx alone takes half a millisecond.
    lean = http.client.HTTPConnection(client.base_url.host, client.base_url.port)
    seconds = []
    for content in bodies:
        started = time.perf_counter()
        lean.request("POST", f"{client.base_url.path}q/query", content)
        answer = lean.getresponse().read()
        seconds.append(time.perf_counter() - started)
        assert b'"success":true' in answer
    lean.close()
    face, engine = (1000 * statistics.median(times) for times in (seconds, own))
    print(f"query p50: over the face {face:.2f} ms, the engine's call {engine:.2f} ms, ", end="")
    print(f"difference {face - engine:.2f} ms")


def create(client: httpx.Client, name: str) -> None:
    config = {"dimensions": DIMENSIONS, "metric": "cosine"}
    client.post("", json={"name": name, "config": config}).raise_for_status()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--vectors", type=int, default=100_000)
    batches = max(1, parser.parse_args().vectors // BATCH)
    with throwaway() as url, running(LEAST | {"OMNIVEC_DATABASE_URL": url}) as service:
        base = f"{service.url}/client/v4/accounts/{ACCOUNT}/vectorize/v2/indexes"
        settings = Settings()
        settings = replace(
            settings,
            data_dir=service.directory / "data",
            database=replace(settings.database, url=url),
            models=ModelSettings(preload=()),
        )
        with httpx.Client(base_url=base, timeout=120) as client:
            query(client, settings)
            create(client, "b")
            write(client, service, url, batches)
    print(f"on {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
