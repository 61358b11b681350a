"""Searching: a query to a vector, the vector to a plan, the plan to scored hits."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from app.domain.modality import Modality
from app.domain.requests import ScoredHit, SearchOutcome
from app.domain.search import Strategy
from app.encoders.work import Priority
from app.engine.inputs import model_of
from app.engine.planner import plan_search
from app.errors import InvalidInput, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.items import Hit
    from app.domain.requests import Example, SearchQuery
    from app.domain.search import SearchPlan
    from app.encoders.service import EncoderService
    from app.engine.inputs import InputEncoder
    from app.settings import SearchSettings
    from app.store.items import ItemStore
    from app.store.search import SearchStore


LEAST_LENGTH = 1e-6


@dataclass(frozen=True, slots=True)
class _Aim:
    """What to search with: `modality` says by which calibration the hits are scored."""

    vector: NDArray[np.float32]
    modality: Modality
    tokens: int


class Searcher:
    def __init__(
        self,
        settings: SearchSettings,
        inputs: InputEncoder,
        encoders: EncoderService,
        items: ItemStore,
        rows: SearchStore,
    ) -> None:
        self._settings = settings
        self._inputs = inputs
        self._encoders = encoders
        self._items = items
        self._rows = rows

    async def search(self, collection: Collection, query: SearchQuery) -> SearchOutcome:
        """Find the items most like the query, best first.

        Raises InvalidInput for an example that names no stored item or has no direction.
        """
        started = time.perf_counter()
        model_id = model_of(collection)
        aim = await self._aim(collection, model_id, query)
        encoded = time.perf_counter()
        curves = {
            kind: self._encoders.curve(model_id, aim.modality, kind)
            for kind in query.modalities or Modality
        }
        plan = plan_search(collection, query, aim.vector, curves, self._settings)
        hits = await self._run(collection, plan)
        done = time.perf_counter()
        return SearchOutcome(
            hits=self._score(model_id, aim.modality, hits),
            model_id=model_id,
            input_tokens=aim.tokens,
            plan=plan,
            seconds={"encode": encoded - started, "database": done - encoded},
        )

    async def _run(self, collection: Collection, plan: SearchPlan) -> list[Hit]:
        hits = await self._rows.search(collection, plan)
        approximate = any(branch.strategy is Strategy.HNSW for branch in plan.branches)
        if approximate and len(hits) < plan.limit:
            # An index scan that a filter thinned out may have stopped too early.
            exact = tuple(replace(branch, strategy=Strategy.EXACT) for branch in plan.branches)
            hits = await self._rows.search(collection, replace(plan, branches=exact))
        return hits

    def _score(self, model_id: str, modality: Modality, hits: Sequence[Hit]) -> list[ScoredHit]:
        scored = []
        for hit in hits:
            cosine = min(1.0, max(-1.0, hit.similarity))  # half precision may overshoot
            score = self._encoders.score(model_id, modality, hit.item.modality or modality, cosine)
            scored.append(ScoredHit(hit.item, float(score), cosine, hit.vector))
        return scored

    async def _aim(self, collection: Collection, model_id: str, query: SearchQuery) -> _Aim:
        encoded = None
        if query.input is not None:
            encoded = await self._inputs.encode(model_id, query.input, Priority.SEARCH)
        tokens = encoded.tokens if encoded else 0
        if query.example is None:
            if encoded is None or query.input is None:
                raise InvalidInput.at((), "a search needs an input or an example")
            return _Aim(encoded.vector, query.input.modality, tokens)
        stored = await self._vectors(collection, query.example)
        positive = [stored[name] for name in query.example.positive]
        negative = [stored[name] for name in query.example.negative]
        if encoded is not None:
            positive.append(encoded.vector)
        if not positive:
            raise InvalidInput.at(
                ("example", "positive"), "an example needs a positive item where no input is given"
            )
        if query.input is not None:
            modality = query.input.modality
        else:
            items = await self._items.get(collection, query.example.positive)
            modality = Counter(item.modality or Modality.TEXT for item in items).most_common(1)[0][
                0
            ]
        return _Aim(steer(positive, negative), modality, tokens)

    async def _vectors(
        self, collection: Collection, example: Example
    ) -> Mapping[str, NDArray[np.float32]]:
        """Return the examples' vectors; InvalidInput names those that are not stored."""
        stored = await self._items.vectors(collection, {*example.positive, *example.negative})
        missing = [
            Violation(("example", side, index), f"no such item: {name}")
            for side, ids in (("positive", example.positive), ("negative", example.negative))
            for index, name in enumerate(ids)
            if name not in stored
        ]
        if missing:
            raise InvalidInput(missing)
        return stored


def steer(
    positive: Sequence[NDArray[np.float32]], negative: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the unit vector that examples (float32 [d] each, at least one positive) point to.

    The mean of the positive ones, moved away from the mean of the negative ones by their
    difference: Qdrant's `average_vector` recommendation.
    """
    aim = np.stack(positive).mean(axis=0)
    if negative:
        aim = 2 * aim - np.stack(negative).mean(axis=0)
    length = float(np.linalg.norm(aim))
    if length < LEAST_LENGTH:
        raise InvalidInput.at(("example",), "the examples cancel each other out")
    direction: NDArray[np.float32] = aim / np.float32(length)
    return direction
