"""Recall of searches that an index answers, plain and filtered, against brute force.

    python -m tests.bench.bench_search_recall [--queries 300] [--json FILE]

100,000 vectors of 1024 dimensions in half precision, k = 10. Filters keep 0.1 to 99 % of the
items, by a declared field and by one that is not. A search that finds fewer than k is an error.
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
KEPT = (1, 10, 100, 500, 990)  # of a thousand


async def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args()
    report, data = Report("search_recall"), data_set()
    queries = data.queries[: options.queries]
    async with bench_database() as database:
        collection = await bench_collection(database, data)
        nearest = NearestSearcher(SearchSettings(), SearchStore(database))
        wish = Wish(queries[0].astype(np.float32), (TEXTS,), K)
        cases = [("unfiltered", None, MILLE)]
        cases += [(field, field, kept) for field in ("declared", "undeclared") for kept in KEPT]
        for name, field, kept in cases:
            clause = Range((field,), lt=kept) if field else None
            mask = data.numbers < kept
            found, seconds, strategies = 0.0, [], set[Strategy]()
            for query in queries:
                asked = replace(wish, vector=query.astype(np.float32), filter=clause)
                started = time.perf_counter()
                answer = await nearest.find(collection, asked)
                seconds.append(time.perf_counter() - started)
                assert len(answer.hits) == min(K, mask.sum())
                strategies.add(answer.report.strategy)
                found += len({hit.item.id for hit in answer.hits} & data.truth(query, K, mask))
            label = name if field is None else f"{100 * kept / MILLE:g} % kept, {name}"
            label += f" ({', '.join(sorted(strategies))})"
            report.share(f"recall@10 {label}", found / (K * len(queries)), 0.98)
            report.note(f"p50 {label}", 1000 * float(np.median(seconds)), "ms")
    report.write(options.json)


if __name__ == "__main__":
    asyncio.run(main())
