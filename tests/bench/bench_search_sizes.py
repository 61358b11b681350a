"""From how many vectors on an index answers faster than comparing them all, and at what recall.

    python -m tests.bench.bench_search_sizes [--queries 300] [--json FILE]

`SEARCH_EXACT_ROWS` and `SEARCH_HNSW_ROWS` come from here. Each query is asked both ways in turn,
without a filter and with one that keeps half by a declared field.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np

from app.domain.filters import Range
from app.domain.search import Strategy
from app.engine.nearest import NearestSearcher
from app.engine.planner import Wish
from app.settings import SearchSettings
from app.store.search import SearchStore
from tests.bench.reporting import Report, arguments
from tests.bench.search_data import MILLE, TEXTS, bench_collection, bench_database, data_set

K = 10
SIZES = (2_500, 5_000, 10_000, 20_000, 40_000)
HALF = MILLE // 2
CASES = {"": (None, MILLE), ", half kept": (Range(("declared",), lt=HALF), HALF)}


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args()
    report = Report("search_sizes")
    async with bench_database() as database:
        nearest = NearestSearcher(SearchSettings(exact_rows=0), SearchStore(database))
        for size in SIZES:
            data = data_set(size)
            queries = data.queries[: options.queries]
            collection = await bench_collection(database, data, f"bench-{size}")
            for name, (clause, kept) in CASES.items():
                walks, scans, found = [], [], 0
                for query in queries:
                    wish = Wish(query.astype(np.float32), (TEXTS,), K, filter=clause)
                    started = time.perf_counter()
                    answer = await nearest.find(collection, wish)
                    walked = time.perf_counter()
                    await nearest.find(collection, replace(wish, exact=True))
                    scans.append(time.perf_counter() - walked)
                    walks.append(walked - started)
                    assert clause or answer.report.strategy is Strategy.HNSW
                    nearest_ids = data.truth(query, K, data.numbers < kept)
                    found += len({hit.item.id for hit in answer.hits} & nearest_ids)
                label = f"{size:,} vectors{name}"
                most = 1.0 if size > SearchSettings().exact_rows else None
                planned, exact = (1000 * float(np.median(times)) for times in (walks, scans))
                report.ratio(f"p50 of {label}, by the index", planned, exact, "ms", most=most)
                report.share(f"recall@{K} of {label}", found / (K * len(queries)), 0.98)
    report.write(options.json)


if __name__ == "__main__":
    asyncio.run(main())
