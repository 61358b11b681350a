"""Recall after half of the items have been deleted and written again, by new vectors.

    python -m tests.bench.bench_search_churn [--rows 100000] [--json FILE]

First the index is the one that was built before, half of what it leads to gone, and what is new in
none; then indexes have followed. The collection's own threshold is lowered, so that an index
answers however few rows there are.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np

from app.domain.collections import SearchTuning
from app.domain.items import NewItem
from app.domain.modality import Modality
from app.domain.search import Strategy
from app.engine.nearest import NearestSearcher
from app.engine.planner import Wish
from app.settings import SearchSettings
from app.store.collections import CollectionStore
from app.store.indexes import IndexStore
from app.store.items import ItemStore
from app.store.search import SearchStore
from tests.bench.reporting import Report, arguments
from tests.bench.search_data import (
    PROJECT,
    ROWS,
    TEXTS,
    bench_collection,
    bench_database,
    data_set,
    generate,
)

K, BATCH = 10, 1000


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    options = parser.parse_args()
    report, data = Report("search_churn"), data_set(options.rows)
    async with bench_database() as database:
        store, items = CollectionStore(database), ItemStore(database)
        for old in (await store.list(PROJECT, limit=10, offset=0, name="churn"))[0]:
            await store.delete(PROJECT, old.id)
        collection = await bench_collection(database, data, "churn", indexed=False)
        await IndexStore(database).tune(collection, SearchTuning(exact_rows=0))
        await IndexStore(database).build(collection)
        nearest = NearestSearcher(SearchSettings(), SearchStore(database))

        async def recall() -> float:
            nonlocal collection
            collection, found = await store.get(PROJECT, collection.id), 0
            for query in data.queries:
                wish = Wish(query.astype(np.float32), (TEXTS,), K)
                answer = await nearest.find(collection, wish)
                assert len(answer.hits) == K
                assert answer.report.strategy is Strategy.HNSW
                found += len({hit.item.id for hit in answer.hits} & data.truth(query, K))
            return found / (K * len(data.queries))

        report.note("recall@10 before", await recall(), "")
        half = np.random.default_rng(5).permutation(options.rows)[: options.rows // 2]
        fresh = generate(len(half), 9)
        started = time.perf_counter()
        for start in range(0, len(half), BATCH):
            part = half[start : start + BATCH]
            await items.delete(collection, [str(n) for n in part])
            batch = [
                NewItem(str(n), Modality.TEXT, vector)
                for n, vector in zip(part, fresh[start : start + BATCH], strict=True)
            ]
            await items.put(collection, batch)
        seconds = time.perf_counter() - started
        report.note("deleted and written again", len(half) / seconds, "/s")
        vectors = data.vectors.copy()
        vectors[half] = fresh.astype(np.float16)
        data = replace(data, vectors=vectors)
        report.share("recall@10 after, before indexes have followed", await recall(), 0.98)
        await IndexStore(database).build(collection)
        report.share("recall@10 after, when they have", await recall(), 0.98)
        await store.delete(PROJECT, collection.id)
        await store.drop_leftovers()
    report.write(options.json)


if __name__ == "__main__":
    asyncio.run(main())
