"""Querying: from queries of points to rankings, level by level, and to results."""

from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain import fusion
from app.domain.filters import And
from app.domain.queries import (
    MAX_BATCH,
    MAX_CANDIDATES,
    MAX_DEPTH,
    MAX_EXAMPLES,
    MAX_LIMIT,
    MAX_PREFETCHES,
    Fusion,
    FusionMethod,
    Nearest,
    PointQuery,
)
from app.domain.rankings import ByText, ByVector, NearestTo, Ranked, Ranking, Scope
from app.domain.vectors import pairwise, similarities
from app.engine.examples import Examples, named_items
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Collection
    from app.domain.filters import Filter
    from app.domain.modality import Modality
    from app.domain.queries import Diversity
    from app.engine.nearest import NearestSearcher
    from app.engine.words import WordIndexer
    from app.store.collections import CollectionStore
    from app.store.rankings import RankingStore
    from app.store.vectors import VectorStore


class Querier:
    """Runs queries with everything nested in them: one round trip for each level of nesting.

    All that is on one level, of all queries of a batch, is one statement.
    """

    def __init__(
        self,
        collections: CollectionStore,
        rankings: RankingStore,
        vectors: VectorStore,
        nearest: NearestSearcher,
        words: WordIndexer,
    ) -> None:
        self._collections = collections
        self._rankings = rankings
        self._vectors = vectors
        self._nearest = nearest
        self._words = words

    async def query(
        self, collection: Collection, queries: Sequence[PointQuery]
    ) -> list[list[Ranked]]:
        """Answer each query with its items, in order.

        Raises InvalidInput for queries that are too large or make no sense, NotFound for spaces
        and for items named as examples.
        """
        if len(queries) > MAX_BATCH:
            raise InvalidInput.at((), f"a batch has at most {MAX_BATCH} queries")
        for query in queries:
            check_query(query)
        examples = await self._examples(collection, queries)
        results = await self._run(collection, queries, examples)
        return [
            await self._with_vectors(collection, query, result)
            for query, result in zip(queries, results, strict=True)
        ]

    async def ranking(self, collection: Collection, query: PointQuery) -> Ranking:
        """Return the ranking that a query without prefetches stands for."""
        check_query(query)
        examples = await self._examples(collection, [query])
        return _leaf(collection, query, examples, None)

    async def approximate(self, collection: Collection, ranking: Ranking) -> list[Ranked] | None:
        """Run a ranking by an index; None where none serves it."""
        [found] = await self._nearest.search(collection, [ranking])
        return found

    async def _run(
        self, collection: Collection, queries: Sequence[PointQuery], examples: Examples
    ) -> list[list[Ranked]]:
        prefetched = await self._prefetch(collection, queries, examples)
        results: list[list[Ranked]] = [[] for _ in queries]
        rankings: list[Ranking] = []
        places: list[int] = []
        for place, (query, lists) in enumerate(zip(queries, prefetched, strict=True)):
            if isinstance(query.query, Fusion):
                results[place] = _fuse(query, query.query, lists)
            elif query.prefetch and not any(lists):
                continue
            else:
                ids = tuple(dict.fromkeys(hit.item.id for found in lists for hit in found))
                rankings.append(_leaf(collection, query, examples, ids if lists else None))
                places.append(place)
        exact = [queries[place].exact or bool(queries[place].prefetch) for place in places]
        ranked = await self._rank(collection, rankings, exact)
        for place, ranking, found in zip(places, rankings, ranked, strict=True):
            results[place] = await self._diversify(collection, queries[place], ranking, found)
        return results

    async def _prefetch(
        self, collection: Collection, queries: Sequence[PointQuery], examples: Examples
    ) -> list[list[list[Ranked]]]:
        """Run what all the queries prefetch, and return it query by query."""
        nested = [
            replace(
                inner,
                filter=_both(query.filter, inner.filter),
                modalities=_common(query.modalities, inner.modalities),
                exact=query.exact or inner.exact,
            )
            for query in queries
            for inner in query.prefetch
        ]
        found = iter(await self._run(collection, nested, examples) if nested else [])
        return [[next(found) for _ in query.prefetch] for query in queries]

    async def _rank(
        self, collection: Collection, rankings: Sequence[Ranking], exact: Sequence[bool]
    ) -> list[list[Ranked]]:
        """Run the rankings: by an index where that is faster, else all in one statement."""
        for ranking in rankings:
            if isinstance(ranking.by, ByText):
                self._words.consider(collection, ranking.by.fields.language)
        served = [r for r, only_exact in zip(rankings, exact, strict=True) if not only_exact]
        answers = iter(await self._nearest.search(collection, served))
        results = [None if only_exact else next(answers) for only_exact in exact]
        rest = [ranking for ranking, found in zip(rankings, results, strict=True) if found is None]
        computed = iter(await self._rankings.rank(collection, rest))
        return [next(computed) if found is None else found for found in results]

    async def _diversify(
        self,
        collection: Collection,
        query: PointQuery,
        ranking: Ranking,
        found: list[Ranked],
    ) -> list[Ranked]:
        diversity = _diversity(query)
        if diversity is None or not isinstance(ranking.by, ByVector):
            return found
        space = ranking.by.space
        assert isinstance(ranking.by.score, NearestTo)
        vectors = await self._vectors.get(collection, space, [hit.item.id for hit in found])
        found = [hit for hit in found if hit.item.id in vectors]
        if not found:
            return []
        stored = [vectors[hit.item.id] for hit in found]
        metric, probe = space.spec.metric, ranking.by.score.vector
        wanted = query.offset + query.limit

        def choose() -> list[int]:
            relevance = similarities(metric, probe, stored, squared=True)
            return fusion.diverse(relevance, pairwise(metric, stored), diversity.weight, wanted)

        chosen = await asyncio.to_thread(choose)
        return [found[place] for place in chosen][query.offset :]

    async def _examples(self, collection: Collection, queries: Sequence[PointQuery]) -> Examples:
        """Fetch the vectors of all items that the queries name, once for each space."""
        examples = Examples()
        for (lookup, space_name), ids in named_items(queries).items():
            source = collection
            if lookup is not None:
                source = await self._collections.get(collection.project_id, lookup)
            space = source.space_named(space_name)
            vectors = await self._vectors.get(source, space, ids)
            examples.add(lookup, space, ids, vectors)
        return examples

    async def _with_vectors(
        self, collection: Collection, query: PointQuery, hits: list[Ranked]
    ) -> list[Ranked]:
        for name in query.with_vectors if hits else ():
            space = collection.space_named(name)
            found = await self._vectors.get(collection, space, [hit.item.id for hit in hits])
            hits = [
                replace(hit, vectors={**hit.vectors, name: found[hit.item.id]})
                if hit.item.id in found
                else hit
                for hit in hits
            ]
        return hits


def check_query(query: PointQuery, depth: int = 1) -> int:
    """Check a query's bounds and return how many prefetches it has. Raises InvalidInput."""
    if query.limit < 0 or query.offset < 0:
        raise InvalidInput.at((), "limit and offset are not negative")
    if query.limit + query.offset > MAX_LIMIT:
        raise InvalidInput.at((), f"limit and offset make at most {MAX_LIMIT} together")
    if depth > MAX_DEPTH:
        raise InvalidInput.at((), f"prefetches are nested at most {MAX_DEPTH} deep")
    if isinstance(query.query, Fusion):
        _check_fusion(query, query.query)
    diversity = _diversity(query)
    if diversity is not None:
        if not 0 <= diversity.weight <= 1:
            raise InvalidInput.at((), "the weight of diversity is between 0 and 1")
        if _candidates(query, diversity) > MAX_CANDIDATES:
            raise InvalidInput.at((), f"diversity has at most {MAX_CANDIDATES} candidates")
    prefetches = len(query.prefetch)
    prefetches += sum(check_query(inner, depth + 1) for inner in query.prefetch)
    if prefetches > MAX_PREFETCHES:
        raise InvalidInput.at((), f"a query has at most {MAX_PREFETCHES} prefetches")
    if sum(len(ids) for ids in named_items([query]).values()) > MAX_EXAMPLES:
        raise InvalidInput.at((), f"a query names at most {MAX_EXAMPLES} examples")
    return prefetches


def _check_fusion(query: PointQuery, how: Fusion) -> None:
    if not query.prefetch:
        raise InvalidInput.at((), "a fusion needs something prefetched")
    if how.weights and len(how.weights) != len(query.prefetch):
        raise InvalidInput.at((), "weights are as many as prefetches")
    if any(weight < 0 or not math.isfinite(weight) for weight in how.weights):
        raise InvalidInput.at((), "a weight is a number from 0 on")
    if how.k < 1:
        raise InvalidInput.at((), "k is at least 1")


def _leaf(
    collection: Collection,
    query: PointQuery,
    examples: Examples,
    only_ids: tuple[str, ...] | None,
) -> Ranking:
    space = collection.space_named(query.space)
    by, mentioned = examples.resolve(query, space, _least(query))
    ranking = Ranking(
        by,
        query.limit,
        query.offset,
        Scope(query.filter, query.modalities, only_ids, mentioned),
    )
    if diversity := _diversity(query):
        return replace(ranking, limit=_candidates(query, diversity), offset=0)
    return ranking


def _least(query: PointQuery) -> float | None:
    if query.threshold is None or not query.strict:
        return query.threshold
    return math.nextafter(query.threshold, math.inf)


def _diversity(query: PointQuery) -> Diversity | None:
    return query.query.diversity if isinstance(query.query, Nearest) else None


def _candidates(query: PointQuery, diversity: Diversity) -> int:
    return max(diversity.candidates or 0, query.offset + query.limit)


def _both(one: Filter | None, other: Filter | None) -> Filter | None:
    if one is None or other is None:
        return one or other
    return And((one, other))


def _common(
    one: frozenset[Modality] | None, other: frozenset[Modality] | None
) -> frozenset[Modality] | None:
    if one is None or other is None:
        return other if one is None else one
    return one & other


def _fuse(query: PointQuery, how: Fusion, lists: Sequence[Sequence[Ranked]]) -> list[Ranked]:
    items = {hit.item.id: hit for found in lists for hit in found}
    match how.method:
        case FusionMethod.RRF:
            ids = [[hit.item.id for hit in found] for found in lists]
            fused = fusion.reciprocal_ranks(ids, how.k, how.weights)
        case FusionMethod.DBSF:
            scored = [[(hit.item.id, hit.score) for hit in found] for found in lists]
            fused = fusion.distributions(scored, how.weights)
    least = _least(query)
    kept = [(name, score) for name, score in fused if least is None or score >= least]
    page = kept[query.offset : query.offset + query.limit]
    return [Ranked(items[name].item, score) for name, score in page]
