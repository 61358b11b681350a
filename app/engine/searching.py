"""Searching: a query to a vector, the vector to the nearest items, these to scored hits."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING

from app.domain.modality import Modality
from app.domain.requests import HitGroup, ScoredHit, SearchOutcome
from app.domain.search import Branch
from app.engine.inputs import model_of
from app.engine.planner import Wish
from app.engine.refining import check_refinement

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.domain.collections import Collection
    from app.domain.items import Hit
    from app.domain.rankings import FacetCount
    from app.domain.requests import SearchQuery
    from app.domain.segments import Segment
    from app.encoders.service import EncoderService
    from app.engine.aiming import Aim, Aimer
    from app.engine.refining import Refined, Refiner
    from app.engine.segments import SegmentSearcher


class Searcher:
    """Searches by what a collection's own model makes of inputs."""

    def __init__(
        self,
        encoders: EncoderService,
        aimer: Aimer,
        refiner: Refiner,
        segments: SegmentSearcher,
    ) -> None:
        self._encoders = encoders
        self._aimer = aimer
        self._refiner = refiner
        self._segments = segments

    async def search(self, collection: Collection, query: SearchQuery) -> SearchOutcome:
        """Find the items most like the query, best first.

        Raises InvalidInput for an example that names no stored item, for what has no direction
        and for what cannot be asked for together.
        """
        check_refinement(query)
        started = time.perf_counter()
        model_id = model_of(collection)
        aim = await self._aimer.aim(collection, model_id, query)
        encoded = time.perf_counter()
        wish = self._wish(model_id, query, aim)
        refined, facets = await self._find(collection, query, wish)
        grouped = [hit for _, hits in refined.groups or () for hit in hits]
        segments = await self._segments.locate(collection, aim.vector, [*refined.hits, *grouped])
        done = time.perf_counter()

        def scored(hits: Sequence[Hit]) -> list[ScoredHit]:
            return self._score(model_id, aim, hits, refined.hybrid_scores, segments)

        return SearchOutcome(
            hits=scored(refined.hits),
            model_id=model_id,
            input_tokens=aim.tokens,
            report=refined.report,
            seconds={"encode": encoded - started, "database": done - encoded},
            groups=None
            if refined.groups is None
            else [HitGroup(value, scored(hits)) for value, hits in refined.groups],
            facets=facets,
        )

    async def _find(
        self, collection: Collection, query: SearchQuery, wish: Wish
    ) -> tuple[Refined, Mapping[str, Sequence[FacetCount]]]:
        if not query.facets:
            return await self._refiner.refine(collection, query, wish), {}
        return await asyncio.gather(
            self._refiner.refine(collection, query, wish),
            self._refiner.facets(collection, query),
        )

    def _wish(self, model_id: str, query: SearchQuery, aim: Aim) -> Wish:
        branches = []
        for kind in sorted(query.modalities or Modality):
            curve = self._encoders.curve(model_id, aim.modality, kind)
            branches.append(Branch(kind, curve.slope, curve.intercept))
        example = query.example
        return Wish(
            vector=aim.vector,
            branches=tuple(branches),
            limit=query.top_k,
            offset=query.offset,
            filter=query.filter,
            exclude_ids=(*example.positive, *example.negative) if example else (),
            least_rank=least_rank(query.threshold),
            with_vectors=query.with_vectors,
            exact=query.exact,
        )

    def _score(
        self,
        model_id: str,
        aim: Aim,
        hits: Sequence[Hit],
        hybrid_scores: Mapping[str, float],
        segments: Mapping[str, Segment],
    ) -> list[ScoredHit]:
        scored = []
        for hit in hits:
            cosine = min(1.0, max(-1.0, hit.similarity))  # half precision may overshoot
            kind = hit.item.modality or aim.modality
            score = float(self._encoders.score(model_id, aim.modality, kind, cosine))
            hybrid = hybrid_scores.get(hit.item.id)
            segment = segments.get(hit.item.id)
            scored.append(ScoredHit(hit.item, score, cosine, hit.vector, hybrid, segment))
        return scored


def least_rank(threshold: float | None) -> float | None:
    """The logit of a least score: the rank (see Branch) below which nothing is wanted."""
    if threshold is None or threshold <= 0:
        return None
    if threshold >= 1:
        return math.inf
    return math.log(threshold / (1 - threshold))
