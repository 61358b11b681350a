"""Bulk insert of new items by the engine against bare binary COPY into the same tables.

    python -m tests.bench.bench_search_insert [--items 20000] [--json FILE]

Both write in transactions of 5,000 items, in turn, into collections of their own with the same
tables and keys, and no vector index.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np

from app.domain.collections import SpaceSpec
from app.domain.items import NewItem
from app.domain.modality import Modality
from app.store.collections import CollectionStore
from app.store.items import ItemStore
from tests.bench.reporting import Report, arguments
from tests.bench.search_data import (
    DIMENSIONS,
    MODEL,
    PROJECT,
    bench_database,
    copy_items,
    copy_vectors,
    generate,
    metadata,
)

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.store.database import Database

BATCH = 5000


async def fresh(database: Database, name: str) -> Collection:
    store = CollectionStore(database)
    for old in (await store.list(PROJECT, limit=10, offset=0, name=name))[0]:
        await store.delete(PROJECT, old.id)
    return await store.create(PROJECT, name, None, SpaceSpec(MODEL, DIMENSIONS))


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--items", type=int, default=20_000)
    options = parser.parse_args()
    report = Report("search_insert")
    wide = generate(options.items, 1)
    half = wide.astype(np.float16)
    numbers = np.random.default_rng(7).integers(0, 1000, options.items)
    async with bench_database() as database:
        ours, bare = await fresh(database, "insert ours"), await fresh(database, "insert bare")
        items, spent = ItemStore(database), {"ours": 0.0, "bare": 0.0}
        for start in range(0, options.items, BATCH):
            part = slice(start, start + BATCH)
            batch = [
                NewItem(str(n), Modality.TEXT, wide[n], metadata=metadata(int(numbers[n])))
                for n in range(*part.indices(options.items))
            ]
            started = time.perf_counter()
            await items.put(ours, batch)
            spent["ours"] += time.perf_counter() - started
            started = time.perf_counter()
            async with database.pool.acquire() as connection, connection.transaction():
                await copy_items(connection, bare, numbers[part], start)
                await copy_vectors(connection, bare, half[part], start)
            spent["bare"] += time.perf_counter() - started
        rates = {name: options.items / seconds for name, seconds in spent.items()}
        report.ratio("items a second, COPY", rates["ours"], rates["bare"], "/s", least=0.5)
        for collection in (ours, bare):
            await CollectionStore(database).delete(PROJECT, collection.id)
        await CollectionStore(database).drop_leftovers()
    report.write(options.json)


if __name__ == "__main__":
    asyncio.run(main())
