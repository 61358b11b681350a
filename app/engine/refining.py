"""Refining a search: beside words, in groups, or for diversity."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from app.domain import fusion
from app.domain.grouping import full, grouped
from app.domain.items import Hit
from app.domain.queries import MAX_CANDIDATES, MAX_LIMIT
from app.domain.rankings import ByText, ByVector, Curve, NearestTo, Ranked, Ranking, Scope
from app.domain.requests import TextInput
from app.domain.search import SearchReport, Strategy
from app.engine.gathering import FEW
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.domain.collections import Collection
    from app.domain.queries import Diversity
    from app.domain.rankings import FacetCount, GroupValue
    from app.domain.requests import GroupBy, SearchQuery
    from app.engine.planner import Wish
    from app.engine.segments import SegmentSearcher
    from app.engine.words import WordIndexer
    from app.store.facets import FacetStore
    from app.store.rankings import RankingStore
    from app.store.vectors import VectorStore

# Reciprocal rank fusion's constant, as its authors chose it.
HYBRID_K = 60.0
# How many of each list are fused, and how many are chosen from for diversity: at least, and for
# each that is wanted.
LEAST_CANDIDATES = 100
CANDIDATES_EACH = 4


@dataclass(frozen=True, slots=True)
class Refined:
    """`hybrid_scores` by item id; `groups` is None unless groups were asked for."""

    hits: Sequence[Hit]
    report: SearchReport
    hybrid_scores: Mapping[str, float] = field(default_factory=dict)
    groups: Sequence[tuple[GroupValue, Sequence[Hit]]] | None = None


class Refiner:
    def __init__(
        self,
        nearest: SegmentSearcher,
        rankings: RankingStore,
        facets: FacetStore,
        vectors: VectorStore,
        words: WordIndexer,
    ) -> None:
        self._nearest = nearest
        self._rankings = rankings
        self._facets = facets
        self._vectors = vectors
        self._words = words

    async def refine(self, collection: Collection, query: SearchQuery, wish: Wish) -> Refined:
        """Answer a search that `check_refinement` has passed.

        `wish` is that of the search by vector alone.
        """
        if query.hybrid is None and query.group_by is None and query.diversity is None:
            found = await self._nearest.find(collection, wish)
            return Refined(found.hits, found.report)
        if query.group_by is not None:
            refined = await self._groups(collection, query, query.group_by, wish)
        else:
            refined = await self._candidates(collection, query, wish, _depth(query))
            if query.diversity is not None:
                refined = await self._diversify(collection, query, query.diversity, refined)
            page = refined.hits[query.offset : query.offset + query.top_k]
            refined = replace(refined, hits=page)
        return await self._with_vectors(collection, refined) if query.with_vectors else refined

    async def facets(
        self, collection: Collection, query: SearchQuery
    ) -> dict[str, Sequence[FacetCount]]:
        """Count all items that the search looks at by their values."""
        scope = Scope(query.filter, query.modalities)
        counts = await asyncio.gather(
            *(
                self._facets.facet(collection, facet.path, scope, facet.limit)
                for facet in query.facets
            )
        )
        return {facet.name: found for facet, found in zip(query.facets, counts, strict=True)}

    async def _candidates(
        self, collection: Collection, query: SearchQuery, wish: Wish, depth: int
    ) -> Refined:
        """Return the best, more than are wanted."""
        deep = replace(wish, limit=depth, offset=0, with_vectors=False)
        if query.hybrid is None:
            found = await self._nearest.find(collection, deep)
            return Refined(found.hits, found.report)
        by = ByText(query.hybrid.text or _texts(query), query.hybrid.fields)
        self._words.consider(collection, by.fields.language)
        words = Ranking(by, depth, scope=_scope(wish))
        found, [worded] = await asyncio.gather(
            self._nearest.find(collection, deep), self._rankings.rank(collection, [words])
        )
        hits = {hit.item.id: hit for hit in found.hits}
        ids = [ranked.item.id for ranked in worded]
        if missing := tuple(name for name in ids if name not in hits):
            scope = replace(_scope(wish), only_ids=missing)
            compared = Ranking(_by_vector(collection, wish), len(missing), scope=scope)
            [others] = await self._rankings.rank(collection, [compared])
            hits |= {ranked.item.id: _hit(ranked, wish) for ranked in others}
        lists = [[hit.item.id for hit in found.hits], ids]
        weights = (1 - query.hybrid.weight, query.hybrid.weight)
        fused = fusion.reciprocal_ranks(lists, HYBRID_K, weights)
        scores = {name: score for name, score in fused if name in hits}
        return Refined([hits[name] for name in scores], found.report, scores)

    async def _diversify(
        self, collection: Collection, query: SearchQuery, diversity: Diversity, best: Refined
    ) -> Refined:
        """Choose by relevance, the cosine or the share of the best hybrid score, and likeness."""
        ids = [hit.item.id for hit in best.hits[:MAX_CANDIDATES]]
        stored = await self._vectors.get(collection, collection.space, ids)
        hits = [hit for hit in best.hits if hit.item.id in stored]
        if not hits:
            return replace(best, hits=[])
        scores = best.hybrid_scores
        most = max(scores.values(), default=0.0)
        relevance = np.array(
            [scores[hit.item.id] / most if scores else hit.similarity for hit in hits]
        )
        matrix = np.stack([np.asarray(stored[hit.item.id]) for hit in hits]).astype(np.float64)
        wanted = query.offset + query.top_k

        def choose() -> list[int]:
            return fusion.diverse(relevance, matrix @ matrix.T, diversity.weight, wanted)

        chosen = await asyncio.to_thread(choose)
        return replace(best, hits=[hits[place] for place in chosen])

    async def _groups(
        self, collection: Collection, query: SearchQuery, group_by: GroupBy, wish: Wish
    ) -> Refined:
        """Group the best, or all where these do not fill the groups.

        Those of a hybrid search are the best alone.
        """
        limit, size = query.offset + query.top_k, group_by.size
        best = Refined([], SearchReport(Strategy.EXACT, collection.item_count))
        many = collection.item_count > FEW
        if query.hybrid is not None or many:
            depth = min(MAX_LIMIT, CANDIDATES_EACH * limit * size)
            best = await self._candidates(collection, query, wish, depth)
        ranked = [Ranked(hit.item, hit.similarity) for hit in best.hits]
        groups = grouped(ranked, group_by.path, limit=limit, size=size)
        found = [(each.value, [Hit(hit.item, hit.score) for hit in each.hits]) for each in groups]
        if query.hybrid is None and not full(groups, limit=limit, size=size):
            by = _by_vector(collection, wish)
            groups = await self._facets.group(
                collection, by, _scope(wish), group_by.path, limit=limit, size=size
            )
            found = [(each.value, [_hit(hit, wish) for hit in each.hits]) for each in groups]
            walked = best.report.strategy is not Strategy.EXACT
            report = replace(best.report, strategy=Strategy.EXACT, fallback=walked)
            best = replace(best, report=report)
        found = found[query.offset :]
        return replace(best, hits=[hits[0] for _, hits in found], groups=found)

    async def _with_vectors(self, collection: Collection, refined: Refined) -> Refined:
        groups = refined.groups or ()
        hits = [*refined.hits, *(hit for _, hits in groups for hit in hits)]
        ids = {hit.item.id for hit in hits}
        stored = await self._vectors.get(collection, collection.space, ids)

        def completed(hits: Sequence[Hit]) -> list[Hit]:
            return [
                replace(hit, vector=np.asarray(stored[hit.item.id], dtype=np.float32))
                for hit in hits
                if hit.item.id in stored
            ]

        return replace(
            refined,
            hits=completed(refined.hits),
            groups=refined.groups and [(value, completed(each)) for value, each in groups],
        )


def check_refinement(query: SearchQuery) -> None:
    """Raise InvalidInput for what cannot be asked for together or is too much."""
    if query.group_by is not None:
        if query.diversity is not None:
            raise InvalidInput.at(("diversity",), "groups and diversity do not go together")
        if (query.offset + query.top_k) * query.group_by.size > MAX_LIMIT:
            raise InvalidInput.at(
                ("group_by", "size"), f"all groups have at most {MAX_LIMIT} items together"
            )
    if query.diversity is not None and query.offset + query.top_k > MAX_CANDIDATES:
        raise InvalidInput.at(
            ("offset",), f"with diversity, offset and top_k make at most {MAX_CANDIDATES}"
        )
    if query.hybrid is not None and not (query.hybrid.text or _texts(query)):
        raise InvalidInput.at(("hybrid", "text"), "hybrid search needs a text")


def _texts(query: SearchQuery) -> str:
    """The texts that lead somewhere, not away."""
    sources = [query.input, *(each.input for each in query.inputs if each.weight > 0)]
    return " ".join(source.text for source in sources if isinstance(source, TextInput))


def _depth(query: SearchQuery) -> int:
    """How many to fuse, or to choose from."""
    wanted = query.offset + query.top_k
    if query.diversity is None:
        return max(LEAST_CANDIDATES, CANDIDATES_EACH * wanted)
    if query.diversity.candidates is not None:
        return max(query.diversity.candidates, wanted)
    return min(max(LEAST_CANDIDATES, CANDIDATES_EACH * wanted), MAX_CANDIDATES)


def _scope(wish: Wish) -> Scope:
    modalities = frozenset(branch.modality for branch in wish.branches if branch.modality)
    return Scope(wish.filter, modalities, exclude_ids=wish.exclude_ids)


def _by_vector(collection: Collection, wish: Wish) -> ByVector:
    curves = {
        branch.modality: Curve(branch.slope, branch.intercept)
        for branch in wish.branches
        if branch.modality is not None
    }
    return ByVector(collection.space, NearestTo(wish.vector), wish.least_rank, curves)


def _hit(ranked: Ranked, wish: Wish) -> Hit:
    """The similarity from the rank: see Branch."""
    branch = next(b for b in wish.branches if b.modality is ranked.item.modality)
    return Hit(ranked.item, (ranked.score - branch.intercept) / branch.slope)
