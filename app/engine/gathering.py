"""Gathering: counts, facets, groups and matrices over a collection."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from app.domain.collections import Metric
from app.domain.grouping import full, grouped
from app.domain.queries import (
    MAX_GROUP_SIZE,
    MAX_GROUPS,
    MAX_LIMIT,
    MAX_SAMPLE,
    Fusion,
    Matrix,
    Nearest,
)
from app.domain.rankings import AtRandom, ByVector, Ranking, Scope
from app.domain.vectors import pairwise
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Collection
    from app.domain.filters import Path
    from app.domain.queries import GroupQuery, MatrixQuery, PointQuery
    from app.domain.rankings import FacetCount, Group
    from app.domain.vectors import Vector
    from app.engine.querying import Querier
    from app.store.facets import FacetStore
    from app.store.rankings import RankingStore
    from app.store.vectors import VectorStore


# Results that are grouped at first, for each that is wanted, and how many times more each time
# that these do not fill the groups.
FIRST_DEPTH = 4
DEEPER = 8
# Items that are grouped all at once: looking at the best first would not be faster.
FEW = 1_000


class Gatherer:
    def __init__(
        self,
        querier: Querier,
        facets: FacetStore,
        rankings: RankingStore,
        vectors: VectorStore,
    ) -> None:
        self._querier = querier
        self._facets = facets
        self._rankings = rankings
        self._vectors = vectors

    async def count(self, collection: Collection, scope: Scope, *, exact: bool = True) -> int:
        """Count the items of the scope, or estimate how many there are."""
        if exact:
            return await self._facets.count(collection, scope)
        return await self._facets.estimate(collection, scope)

    async def facet(
        self, collection: Collection, path: Path, scope: Scope, limit: int = 10
    ) -> list[FacetCount]:
        """Count the scope's items by their values at `path`; see FacetStore.facet."""
        if not 0 < limit <= MAX_LIMIT:
            raise InvalidInput.at((), f"a facet has 1 to {MAX_LIMIT} values")
        return await self._facets.facet(collection, path, scope, limit)

    async def group(self, collection: Collection, query: GroupQuery) -> list[Group]:
        """Group what a query finds.

        A query of one space is grouped over all that it finds: there are never fewer groups, nor
        fewer items in one, than exist. Others are grouped over as many of their first results as
        it takes, MAX_LIMIT at most, and prefetch more accordingly.
        """
        _check_groups(query)
        inner = query.query
        if inner.prefetch or isinstance(inner.query, Fusion) or _diversified(inner):
            return await self._group_results(collection, query)
        ranking = await self._querier.ranking(collection, inner)
        if not isinstance(ranking.by, ByVector):
            return await self._group_results(collection, query)
        if collection.item_count > FEW:
            groups = await self._group_nearest(collection, query, ranking)
            if groups is not None:
                return groups
        return await self._facets.group(
            collection,
            ranking.by,
            ranking.scope,
            query.path,
            limit=query.limit,
            size=query.size,
        )

    async def matrix(self, collection: Collection, query: MatrixQuery) -> Matrix:
        """Compare the items of a random sample with each other."""
        if not 2 <= query.sample <= MAX_SAMPLE or query.limit < 1:
            raise InvalidInput.at((), f"a sample has 2 to {MAX_SAMPLE} items, a row at least 1")
        space = collection.space_named(query.space)
        ranking = Ranking(AtRandom(space), query.sample, scope=Scope(query.filter))
        [sampled] = await self._rankings.rank(collection, [ranking])
        vectors = await self._vectors.get(collection, space, [hit.item.id for hit in sampled])
        ids = sorted(vectors)
        rows = await asyncio.to_thread(
            _nearest_each, space.spec.metric, [vectors[name] for name in ids], query.limit
        )
        return Matrix(tuple(ids), rows)

    async def _group_nearest(
        self, collection: Collection, query: GroupQuery, ranking: Ranking
    ) -> list[Group] | None:
        """Group the best; None where more could be found."""
        depth = min(MAX_LIMIT, FIRST_DEPTH * query.limit * query.size)
        best = replace(ranking, limit=depth, offset=0)
        found = None
        if not query.query.exact:
            found = await self._querier.approximate(collection, best)
        if found is None:
            [found] = await self._rankings.rank(collection, [best])
        groups = grouped(found, query.path, limit=query.limit, size=query.size)
        return groups if full(groups, limit=query.limit, size=query.size) else None

    async def _group_results(self, collection: Collection, query: GroupQuery) -> list[Group]:
        depth = min(MAX_LIMIT, FIRST_DEPTH * query.limit * query.size)
        while True:
            deep = _deepened(query.query, depth)
            [found] = await self._querier.query(collection, [deep])
            groups = grouped(found, query.path, limit=query.limit, size=query.size)
            enough = full(groups, limit=query.limit, size=query.size)
            if enough or depth == MAX_LIMIT or len(found) >= collection.item_count:
                return groups
            depth = min(MAX_LIMIT, depth * DEEPER)


def _check_groups(query: GroupQuery) -> None:
    if not 1 <= query.limit <= MAX_GROUPS:
        raise InvalidInput.at((), f"there are 1 to {MAX_GROUPS} groups")
    if not 1 <= query.size <= MAX_GROUP_SIZE:
        raise InvalidInput.at((), f"a group has 1 to {MAX_GROUP_SIZE} items")
    if query.limit * query.size > MAX_LIMIT:
        raise InvalidInput.at((), f"groups have at most {MAX_LIMIT} items together")


def _diversified(query: PointQuery) -> bool:
    return isinstance(query.query, Nearest) and query.query.diversity is not None


def _deepened(query: PointQuery, depth: int) -> PointQuery:
    """Let a query and what it prefetches find at least `depth` items."""
    return replace(
        query,
        limit=max(query.limit, depth),
        offset=0,
        prefetch=tuple(_deepened(inner, depth) for inner in query.prefetch),
    )


def _nearest_each(
    metric: Metric, vectors: Sequence[Vector], limit: int
) -> tuple[tuple[tuple[int, float], ...], ...]:
    """For each vector the nearest others, as (place, score)."""
    if not vectors:
        return ()
    scores = pairwise(metric, vectors)
    np.fill_diagonal(scores, -np.inf)
    if metric is Metric.EUCLIDEAN:
        scores = -np.sqrt(-scores)
    kept = min(limit, len(vectors) - 1)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
    return tuple(
        tuple((int(other), float(scores[place, other])) for other in others)
        for place, others in enumerate(order)
    )
