"""Which strategy answers a search: every distance, or an index, and what a filter does to that.

Costs are in microseconds, measured at 1024 dimensions in half precision (docs/search.md); they
weigh strategies against each other, so that only their ratios matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.domain.collections import IndexKind, IndexState, VectorPrecision
from app.domain.search import Branch, FilterFirst, SearchPlan, Strategy
from app.store.filters import narrowed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.domain.collections import Collection, Space
    from app.domain.filters import Filter
    from app.settings import SearchSettings

WALKED = 30.0  # an element of the index: its neighbours compared, and its row fetched
FETCHED = 2.5  # a candidate found through its item, and compared
TESTED = 0.6  # an item that a filter is tried on

# How deep an index must look for its ten nearest to be the true ten at 0.98: in all, or among
# those that pass a filter.
EF_SEARCH = 200
FILTERED = 100
MOST_EF_SEARCH = 1000  # pgvector's
BINARY_OVERSAMPLED = 16


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a search, whatever answers it. `branches` says how hits are ranked."""

    vector: NDArray[np.float32]
    branches: tuple[Branch, ...]
    limit: int
    offset: int = 0
    space: Space | None = None
    filter: Filter | None = None
    exclude_ids: tuple[str, ...] = ()
    least_rank: float | None = None
    with_vectors: bool = False
    exact: bool = False


def plan_search(collection: Collection, wish: Wish, settings: SearchSettings) -> SearchPlan:
    """Plan a search; `collection` may be a little stale, which costs speed alone."""
    plan = SearchPlan(
        vector=wish.vector,
        branches=wish.branches,
        limit=wish.limit,
        offset=wish.offset,
        space=wish.space,
        filter=wish.filter,
        exclude_ids=wish.exclude_ids,
        least_rank=wish.least_rank,
        with_vectors=wish.with_vectors,
    )
    if _is_exact(collection, wish, settings):
        return plan
    space = wish.space or collection.space
    binary = space.index_kind is IndexKind.BINARY
    ef_search = max(collection.tuning.ef_search or EF_SEARCH, 2 * plan.depth)
    full = space.spec.precision is VectorPrecision.FLOAT32  # and the index's is half
    walked = plan.depth * (BINARY_OVERSAMPLED if binary else 2 if full else 1)
    plan = replace(
        plan,
        strategy=Strategy.BINARY if binary else Strategy.HNSW,
        ef_search=min(MOST_EF_SEARCH, max(ef_search, walked)),
        walked=walked,
    )
    if wish.filter is None:
        return plan
    return replace(
        plan, walked=max(walked, FILTERED), filter_first=_filter_first(collection, wish.filter)
    )


def _is_exact(collection: Collection, wish: Wish, settings: SearchSettings) -> bool:
    space = wish.space or collection.space
    exact_rows = _or(collection.tuning.exact_rows, settings.exact_rows)
    return (
        wish.exact
        or space.index_state is not IndexState.READY
        or collection.item_count <= exact_rows
        or wish.offset + wish.limit > MOST_EF_SEARCH
    )


def _filter_first(collection: Collection, clause: Filter) -> FilterFirst:
    """Up to how many candidates it is faster to compare all that pass than to walk the index.

    Among n items of which m pass, the index must look at FILTERED * n / m. Comparing all takes
    m * FETCHED where a declared field leads to them; else n * TESTED comes to that.
    """
    rows = max(collection.item_count, 1)
    walk = FILTERED * WALKED
    if narrowed(clause, collection.fields):
        return FilterFirst(int(math.sqrt(walk * rows / FETCHED)))
    tests = rows * TESTED
    # The positive root of m² * FETCHED + m * tests = walk * n.
    matching = (math.sqrt(tests**2 + 4 * FETCHED * walk * rows) - tests) / (2 * FETCHED)
    return FilterFirst(int(matching), sample_first=True)


def _or(own: int | None, general: int) -> int:
    return general if own is None else own
