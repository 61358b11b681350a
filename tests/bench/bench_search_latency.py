"""Latency and throughput of search over HTTP against the same SQL without us.

    python -m tests.bench.bench_search_latency [--queries 300] [--seconds 10] [--json FILE]

The latency's baseline is the very statement on one bare asyncpg connection, in turn with the
service; the throughput's is `pgbench` with it, prepared, by as many connections. Then a filter that
keeps 1 % by a declared field against no filter, and an exact scan against numpy's product of the
same matrix in float32 on one core.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import numpy as np
from pgvector.asyncpg import register_vector

from app.domain.filters import Range
from app.domain.modality import Modality
from app.domain.search import Branch, Strategy
from app.encoders.service import EncoderService
from app.engine.planner import Wish, plan_search
from app.settings import SearchSettings, Settings
from app.store.database import connect_arguments
from app.store.embedded import EmbeddedServer
from app.store.search_statement import SearchStatement
from tests.bench.reporting import Report, arguments
from tests.bench.search_data import MODEL, bench_collection, bench_database, data_set, directory
from tests.bench.search_service import Client, running, service_settings

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from tests.bench.search_data import DataSet

K, CONNECTIONS, SCRIPTS = 10, 8, 40


class Statements:
    """The statement that the service runs for a query's number."""

    def __init__(self, collection: Collection, data: DataSet) -> None:
        self._collection, self._data = collection, data
        encoders = EncoderService(service_settings().models)
        curves = {kind: encoders.curve(MODEL, Modality.TEXT, kind) for kind in sorted(Modality)}
        branches = tuple(Branch(kind, c.slope, c.intercept) for kind, c in curves.items())
        self._wish = Wish(data.queries[0].astype(np.float32), branches, K)

    def __call__(self, number: int, below: int | None = None, *, exact: bool = False) -> Any:
        clause = Range(("declared",), lt=below) if below is not None else None
        vector = self._data.queries[number].astype(np.float32)
        wish = replace(self._wish, vector=vector, filter=clause, exact=exact)
        return SearchStatement(
            self._collection, plan_search(self._collection, wish, SearchSettings())
        )


async def bare_connection(url: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(**connect_arguments(url, Settings().database))
    await register_vector(connection)
    return connection


def body(number: int, below: int | None = None, *, exact: bool = False) -> bytes:
    asked: dict[str, Any] = {"text": str(number), "top_k": K, "exact": exact}
    if below is not None:
        asked["filter"] = {"declared": {"$lt": below}}
    return json.dumps(asked).encode()


async def latencies(
    client: Client, path: str, connection: asyncpg.Connection, statements: Statements, n: int,
    **asked: Any,
) -> tuple[float, float]:  # fmt: skip
    """Median seconds over HTTP and of the bare statement, in turn."""
    served, bare = [], []
    for turn, number in enumerate((*range(5), *range(n))):  # the first ones warm up
        statement, rows, answer = statements(number, **asked), [], b""
        # In turn, so that neither always finds the other's pages in the processor's cache.
        for over_http in (turn % 2 == 0, turn % 2 == 1):
            started = time.perf_counter()
            if over_http:
                answer = await client.post(path, body(number, **asked))
                served.append(time.perf_counter() - started)
            else:
                rows = await connection.fetch(statement.text, *statement.values)
                bare.append(time.perf_counter() - started)
        ids = [hit["id"] for hit in json.loads(answer)["results"]]
        assert ids == [row["id"] for row in rows]
    return float(np.median(served[5:])), float(np.median(bare[5:]))


async def throughput(port: int, path: str, seconds: float) -> float:
    """Searches a second by several connections at once."""
    done, deadline = 0, time.monotonic() + seconds

    async def search(worker: int) -> None:
        nonlocal done
        client = await Client.connect(port)
        number = worker
        while time.monotonic() < deadline:
            await client.post(path, body(number % SCRIPTS))
            number += 1
            done += 1
        client.close()

    started = time.monotonic()
    await asyncio.gather(*map(search, range(CONNECTIONS)))
    return done / (time.monotonic() - started)


def literal(value: Any) -> str:
    if isinstance(value, list):
        return "'{" + ",".join(map(str, value)) + "}'"
    text = value.to_text() if hasattr(value, "to_text") else str(value)
    return "'" + text.replace("'", "''") + "'"


def script(statement: SearchStatement) -> str:
    values = statement.values
    text = re.sub(r"\$(\d+)", lambda found: literal(values[int(found[1]) - 1]), statement.text)
    return " ".join(text.split()) + ";\n"


def pgbench(url: str, statements: Statements, seconds: float) -> float:
    """Transactions a second of the same statement, by as many connections."""
    server, parts = EmbeddedServer(directory()), urlsplit(url)
    query = parse_qs(parts.query)
    command = [str(Path(server._server(server.directory).bin_path) / "pgbench"), "-n", "-M"]
    command += ["prepared", "-c", str(CONNECTIONS), "-j", "2", "-T", str(int(seconds))]
    command += ["-h", query["host"][0], "-p", query["port"][0], "-U", parts.username or "postgres"]
    options = connect_arguments(url, Settings().database)["server_settings"]
    flags = " ".join(f"-c {k}={v}" for k, v in options.items() if k != "application_name")
    with tempfile.TemporaryDirectory() as name:
        for number in range(SCRIPTS):
            file = Path(name) / f"{number}.sql"
            file.write_text(script(statements(number)))
            command += ["-f", str(file)]
        done = subprocess.run(
            [*command, parts.path.lstrip("/")],
            env=os.environ | {"PGOPTIONS": flags},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    found = re.search(r"tps = ([\d.]+)", done.stdout)
    if done.returncode or found is None:
        raise RuntimeError(done.stderr[-2000:])
    return float(found[1])


def product(data: DataSet, n: int) -> float:
    """Median seconds of numpy's exact search of the same matrix in float32."""
    matrix, seconds = data.vectors32, []
    for query in data.queries[:n].astype(np.float32):
        started = time.perf_counter()
        scores = matrix @ query
        nearest = np.argpartition(-scores, K)[:K]
        nearest[np.argsort(-scores[nearest])]
        seconds.append(time.perf_counter() - started)
    return float(np.median(seconds))


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each throughput")
    options = parser.parse_args()
    report, data = Report("search_latency"), data_set()
    async with bench_database() as database:
        collection = await bench_collection(database, data)
        statements = Statements(collection, data)
        assert statements(0).plan.strategy is Strategy.HNSW
        path = f"/v1/vectors/collections/{collection.id}/search"
        connection = await bare_connection(database.url)
        with running() as port:
            client = await Client.connect(port)

            async def measure(n: int, **asked: Any) -> tuple[float, float]:
                return await latencies(client, path, connection, statements, n, **asked)

            plain, bare = await measure(options.queries)
            report.ratio("p50 over HTTP, bare asyncpg", 1e3 * plain, 1e3 * bare, "ms", most=1.25)
            kept, bare = await measure(options.queries, below=10)
            report.ratio("p50, filter keeping 1 %, bare", 1e3 * kept, 1e3 * bare, "ms", most=1.25)
            report.ratio("p50, filter keeping 1 %, none", 1e3 * kept, 1e3 * plain, "ms", most=1)
            exact, _ = await measure(20, exact=True)
            matrix = product(data, 20)
            report.ratio("p50 exact, numpy float32", 1e3 * exact, 1e3 * matrix, "ms", most=4)
            client.close()
            served = await throughput(port, path, options.seconds)
        await connection.close()
        by_pgbench = await asyncio.to_thread(pgbench, database.url, statements, options.seconds)
        report.ratio("searches a second, pgbench", served, by_pgbench, "/s", least=0.8)
    report.write(options.json)


if __name__ == "__main__":
    asyncio.run(main())
