"""The nearest to one vector: planned, run, and made good where an index found too few."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from app.domain.collections import IndexState, SpaceKind
from app.domain.filters import And, HasId, OfModality
from app.domain.modality import Modality
from app.domain.rankings import ByVector, NearestTo, Ranked
from app.domain.search import Branch, Strategy
from app.engine.planner import Wish, plan_search

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Collection
    from app.domain.filters import Filter
    from app.domain.rankings import Ranking, Scope
    from app.domain.search import Found, SearchPlan
    from app.settings import SearchSettings
    from app.store.search import SearchStore


class NearestSearcher:
    def __init__(self, settings: SearchSettings, rows: SearchStore) -> None:
        self._settings = settings
        self._rows = rows

    async def find(self, collection: Collection, wish: Wish) -> Found:
        """Find the nearest, never fewer than there are; NotFound where the collection is gone."""
        plan = plan_search(collection, wish, self._settings)
        found = await self._rows.search(collection, plan)
        if found.complete:
            return found
        again = await self._rows.search(collection, replace(plan, strategy=Strategy.EXACT))
        seconds = found.report.seconds + again.report.seconds
        return replace(again, report=replace(again.report, fallback=True, seconds=seconds))

    async def search(
        self, collection: Collection, rankings: Sequence[Ranking]
    ) -> list[list[Ranked] | None]:
        """Run the rankings that an index serves, in one round trip.

        None stands for those of which every score is to be computed: because no index serves
        them, or because it found too few.
        """
        wishes = [_wish(collection, ranking) for ranking in rankings]
        plans: dict[int, SearchPlan] = {}
        for place, wish in enumerate(wishes):
            if wish is None:
                continue
            plan = plan_search(collection, wish, self._settings)
            if plan.strategy is not Strategy.EXACT:
                plans[place] = plan
        results: list[list[Ranked] | None] = [None] * len(rankings)
        if plans:
            answers = await self._rows.search_all(collection, list(plans.values()))
            for (place, plan), found in zip(plans.items(), answers, strict=True):
                if found.complete:
                    results[place] = _ranked(found, plan)
        return results


def _ranked(found: Found, plan: SearchPlan) -> list[Ranked]:
    ranks = {branch.modality: branch for branch in plan.branches}
    hits = []
    for hit in found.hits:
        branch = ranks.get(hit.item.modality) or plan.branches[0]
        hits.append(Ranked(hit.item, branch.slope * hit.similarity + branch.intercept))
    return hits


def _wish(collection: Collection, ranking: Ranking) -> Wish | None:
    """What the ranking asks for, where an index may serve it."""
    by = ranking.by
    if not (
        isinstance(by, ByVector)
        and isinstance(by.score, NearestTo)
        and isinstance(by.score.vector, np.ndarray)
        and by.space.spec.kind is SpaceKind.DENSE
        and by.space.index_state is IndexState.READY
    ):
        return None
    raw, kinds = by.space.spec.model_id is None, ranking.scope.modalities
    if (raw and by.curves is not None) or kinds == frozenset():
        return None
    scale = by.score.scale
    branches = tuple(Branch(kind, scale) for kind in ([None] if raw else sorted(kinds or Modality)))
    if by.curves is not None:
        branches = tuple(
            Branch(kind, by.curves[kind].slope, by.curves[kind].intercept)
            for kind in sorted(kinds or Modality)
        )
    return Wish(
        vector=by.score.vector,
        branches=branches,
        limit=ranking.limit,
        offset=ranking.offset,
        space=None if by.space.key == collection.space.key else by.space,
        filter=_filter(ranking.scope, raw=raw),
        exclude_ids=ranking.scope.exclude_ids,
        least_rank=by.least,
    )


def _filter(scope: Scope, *, raw: bool) -> Filter | None:
    clauses: list[Filter] = []
    if scope.filter is not None:
        clauses.append(scope.filter)
    if scope.only_ids is not None:
        clauses.append(HasId(scope.only_ids))
    if raw and scope.modalities is not None:
        clauses.append(OfModality(frozenset(scope.modalities)))
    return And(tuple(clauses)) if clauses else None
