"""Gathering: counts, facets, groups and matrices over a collection."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

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
from app.domain.vectors import similarities
from app.errors import InvalidInput

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.domain.filters import Path
    from app.domain.queries import GroupQuery, MatrixQuery, PointQuery
    from app.domain.rankings import FacetCount, Group
    from app.engine.querying import Querier
    from app.store.facets import FacetStore
    from app.store.rankings import RankingStore
    from app.store.vectors import VectorStore


# Results that are grouped at first, for each that is wanted, and how many times more each time
# that these do not fill the groups.
FIRST_DEPTH = 4
DEEPER = 8


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
        if not inner.exact and (groups := await self._group_nearest(collection, query, ranking)):
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
        stored = [vectors[name] for name in ids]
        rows = []
        for place, vector in enumerate(stored):
            scores = similarities(space.spec.metric, vector, stored)
            order = [other for other in np.argsort(-scores, kind="stable") if other != place]
            rows.append(tuple((int(o), float(scores[o])) for o in order[: query.limit]))
        return Matrix(tuple(ids), tuple(rows))

    async def _group_nearest(
        self, collection: Collection, query: GroupQuery, ranking: Ranking
    ) -> list[Group] | None:
        """Group what the index finds; None where more could be found."""
        depth = min(MAX_LIMIT, FIRST_DEPTH * query.limit * query.size)
        found = await self._querier.approximate(collection, replace(ranking, limit=depth, offset=0))
        groups = grouped(found or (), query.path, limit=query.limit, size=query.size)
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
