"""Recordings found by one of their parts, and which part a hit was found by."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain.modality import Modality
from app.domain.search import SegmentPlan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.items import Hit
    from app.domain.search import Branch, Found
    from app.domain.segments import Segment
    from app.engine.nearest import NearestSearcher
    from app.engine.planner import Wish
    from app.settings import SearchSettings
    from app.store.segments import SegmentStore

# The best of many segments is like any query by chance, so that a recording is found by one of its
# n at the score of that one less this many times ln n in its logit: a compromise between finding
# and thresholds that mean the same for long recordings as for short (docs/search.md has figures).
DISCOUNT = 0.5


class SegmentSearcher:
    def __init__(
        self, settings: SearchSettings, nearest: NearestSearcher, segments: SegmentStore
    ) -> None:
        self._settings = settings
        self._nearest = nearest
        self._segments = segments

    async def find(self, collection: Collection, wish: Wish) -> Found:
        """Find the nearest items, recordings by their own vector or by that of their best segment.

        See NearestSearcher.find; a hit's similarity is the one that it was found by.
        """
        heard = next((b for b in wish.branches if b.modality is Modality.AUDIO), None)
        if heard is None or not collection.space.segmented or not self._settings.segment_rows:
            return await self._nearest.find(collection, wish)
        depth = wish.offset + wish.limit
        found, hits = await asyncio.gather(
            self._nearest.find(collection, replace(wish, limit=depth, offset=0)),
            self._segments.search(collection, self._plan(wish, heard, depth)),
        )
        best = merged([*found.hits, *hits], wish.branches)
        return replace(found, hits=best[wish.offset : depth])

    def _plan(self, wish: Wish, heard: Branch, depth: int) -> SegmentPlan:
        least = wish.least_rank
        return SegmentPlan(
            vector=wish.vector,
            limit=depth,
            discount=DISCOUNT / heard.slope,
            rows=self._settings.segment_rows,
            least=None if least is None else (least - heard.intercept) / heard.slope,
            filter=wish.filter,
            exclude_ids=wish.exclude_ids,
            with_vectors=wish.with_vectors,
        )

    async def locate(
        self, collection: Collection, vector: NDArray[np.float32], hits: Iterable[Hit]
    ) -> Mapping[str, Segment]:
        """Tell, by id, which segment of the recordings among the hits is most like the vector."""
        ids = {hit.item.id for hit in hits if hit.item.modality is Modality.AUDIO}
        return await self._segments.best(collection, vector, ids) if ids else {}


def merged(hits: Sequence[Hit], branches: Sequence[Branch]) -> list[Hit]:
    """Return each item's best hit, the best first; ties keep their order."""
    by_kind = {branch.modality: branch for branch in branches}

    def rank(hit: Hit) -> float:
        branch = by_kind[hit.item.modality]
        return branch.slope * hit.similarity + branch.intercept

    best: dict[str, Hit] = {}
    for hit in sorted(hits, key=rank, reverse=True):
        best.setdefault(hit.item.id, hit)
    return list(best.values())
