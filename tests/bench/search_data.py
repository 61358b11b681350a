"""The data set of the search benchmarks: made once, with its index, and kept between runs.

It lies in `$OMNIVEC_BENCH_DIR` (by default below the temporary directory) with a Postgres of its
own, set up as the embedded one is. Vectors lie near a smooth surface of 32 dimensions, bent into
1024, with noise: neighbourhoods overlap as those of real embeddings do, so that an approximate
index has something to miss.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pgvector import HalfVector

from app.domain.collections import SpaceSpec
from app.domain.fields import FieldType
from app.domain.modality import Modality
from app.domain.search import Branch
from app.settings import Settings
from app.store.collections import CollectionStore
from app.store.database import Database
from app.store.embedded import EmbeddedServer
from app.store.fields import FieldIndexStore
from app.store.indexes import IndexStore
from app.store.names import items_table, vectors_table
from app.store.rows import CODES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg
    from numpy.typing import NDArray

    from app.domain.collections import Collection

ROWS, DIMENSIONS, QUERIES, LATER = 100_000, 1024, 300, 30_000
LATENT, HIDDEN, NOISE = 32, 256, 0.4
PROJECT, MODEL = "default", "multimodal-embedding-v1"
CODE = CODES[Modality.TEXT]
TEXTS = Branch(Modality.TEXT)
MILLE = 1000  # metadata: two random numbers below it, one of them declared


def directory() -> Path:
    default = Path(tempfile.gettempdir()) / "omnivec-bench"
    return Path(os.environ.get("OMNIVEC_BENCH_DIR") or default)


def generate(rows: int, seed: int) -> NDArray[np.float32]:
    """Return float32 [rows, 1024] of unit length; the surface is the same for every seed."""
    surface = np.random.default_rng(0)
    bend = surface.normal(size=(LATENT, HIDDEN)).astype(np.float32) / np.sqrt(LATENT)
    spread = surface.normal(size=(HIDDEN, DIMENSIONS)).astype(np.float32) / np.sqrt(HIDDEN)
    shift = surface.normal(size=HIDDEN).astype(np.float32)
    random = np.random.default_rng(seed)
    latent = random.normal(size=(rows, LATENT)).astype(np.float32)
    points = np.tanh(1.5 * latent @ bend + shift) @ spread
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    noise = random.normal(size=(rows, DIMENSIONS)).astype(np.float32) / np.sqrt(DIMENSIONS)
    points += NOISE * noise
    unit: NDArray[np.float32] = points / np.linalg.norm(points, axis=1, keepdims=True)
    return unit


@dataclass(frozen=True)
class DataSet:
    """Item `n` is row n of `vectors`, float16 [n, d] as stored.

    `numbers`, int [n], is the value of a declared field and of one that is not.
    """

    vectors: NDArray[np.float16]
    queries: NDArray[np.float16]
    numbers: NDArray[np.int64]

    def truth(
        self, query: NDArray[np.float16], k: int, kept: NDArray[np.bool_] | None = None
    ) -> set[str]:
        """The ids of the k nearest among those kept, by float32 arithmetic."""
        scores = self.vectors32 @ query.astype(np.float32)
        if kept is not None:
            scores = np.where(kept, scores, -np.inf)
            k = min(k, int(kept.sum()))
        nearest = np.argpartition(-scores, k - 1)[:k]
        return {str(number) for number in nearest}

    @property
    def vectors32(self) -> NDArray[np.float32]:
        if not hasattr(self, "_wide"):
            object.__setattr__(self, "_wide", self.vectors.astype(np.float32))
        return self._wide


def data_set(rows: int = ROWS) -> DataSet:
    numbers = np.random.default_rng(7).integers(0, MILLE, rows)
    return DataSet(
        generate(rows, 1).astype(np.float16), generate(QUERIES, 2).astype(np.float16), numbers
    )


def later_vectors() -> NDArray[np.float16]:
    """Float16 [LATER, d]: what is written while the benchmarks' service is searched."""
    return generate(LATER, 3).astype(np.float16)


def metadata(number: int) -> str:
    return json.dumps({"declared": number, "undeclared": number, "title": f"item of {number}"})


@asynccontextmanager
async def bench_database() -> AsyncIterator[Database]:
    """Start the benchmarks' Postgres, or join it."""
    settings = replace(Settings(), data_dir=directory())
    settings = replace(settings, database=replace(settings.database, timeout=600.0, pool_size=16))
    directory().mkdir(parents=True, exist_ok=True)
    server = EmbeddedServer(directory())
    server.start()
    database = await Database.open(settings)
    try:
        yield database
    finally:
        await database.close()
        server.stop()


async def bench_collection(
    database: Database, data: DataSet, name: str = "bench", *, indexed: bool = True
) -> Collection:
    """Return the collection of the data set, made and indexed where it is not there yet."""
    collections = CollectionStore(database)
    found, _ = await collections.list(PROJECT, limit=1, offset=0, name=name)
    if found and found[0].item_count != len(data.vectors):
        await collections.delete(PROJECT, found[0].id)
        found = []
    if not found:
        collection = await collections.create(PROJECT, name, None, SpaceSpec(MODEL, DIMENSIONS))
        await fill(database, collection, data)
        fields = FieldIndexStore(database)
        await fields.declare(collection, ("declared",), FieldType.INTEGER)
        await fields.build(collection)
        found = [collection]
    collection = await collections.get(PROJECT, found[0].id)
    if indexed:  # whatever of it is in no index
        await IndexStore(database).build(collection)
    return await collections.get(PROJECT, collection.id)


async def fill(database: Database, collection: Collection, data: DataSet) -> None:
    """Load the data set by bare binary COPY."""
    async with database.pool.acquire() as connection, connection.transaction():
        await copy_items(connection, collection, data.numbers)
        await copy_vectors(connection, collection, data.vectors)
        await connection.execute(
            "SELECT setval('item_seq', greatest($1, nextval('item_seq')))", len(data.vectors)
        )
        await connection.execute(
            "UPDATE collections SET item_count = $2 WHERE key = $1",
            collection.key,
            len(data.vectors),
        )
    async with database.pool.acquire() as connection:
        for table in (items_table(collection.key), vectors_table(collection.space.key)):
            await connection.execute(f"VACUUM ANALYZE {table}")


async def copy_items(
    connection: asyncpg.Connection,
    collection: Collection,
    numbers: NDArray[np.int64],
    first: int = 0,
) -> None:
    await connection.copy_records_to_table(
        items_table(collection.key).strip('"'),
        columns=("collection_key", "seq", "modality", "id", "metadata"),
        records=(
            (collection.key, n, CODE, str(n), metadata(int(number)))
            for n, number in enumerate(numbers, first)
        ),
    )


async def copy_vectors(
    connection: asyncpg.Connection,
    collection: Collection,
    vectors: NDArray[np.float16],
    first: int = 0,
) -> None:
    await connection.copy_records_to_table(
        vectors_table(collection.space.key).strip('"'),
        columns=("space_key", "item_seq", "modality", "embedding"),
        records=(
            (collection.space.key, n, CODE, HalfVector(vector))
            for n, vector in enumerate(vectors, first)
        ),
    )
