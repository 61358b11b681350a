"""Fusing ranked lists, and choosing among the ranked for diversity."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

Fused = list[tuple[str, float]]


def reciprocal_ranks(
    lists: Sequence[Sequence[str]], k: float = 2.0, weights: Sequence[float] = ()
) -> Fused:
    """Fuse lists of ids by reciprocal rank (Cormack, Clarke and Büttcher, 2009).

    A place p from 0 counts 1 / ((p + 1) / w + k - 1), w the list's weight, which defaults to 1:
    Qdrant's form, with its k of 2. Ties keep the order in which the ids were first seen.
    """
    scores: dict[str, float] = {}
    for number, ids in enumerate(lists):
        weight = weights[number] if weights else 1.0
        if weight <= 0:
            continue
        for place, name in enumerate(ids):
            scores[name] = scores.get(name, 0.0) + 1 / ((place + 1) / weight + k - 1)
    return _best_first(scores)


def distributions(
    lists: Sequence[Sequence[tuple[str, float]]], weights: Sequence[float] = ()
) -> Fused:
    """Fuse lists of ids and scores by their distributions: Qdrant's DBSF.

    Each list's scores are scaled so that the mean less three standard deviations is 0 and the
    mean plus three is 1 (all are 0.5 where they do not differ), then summed.
    """
    fused: dict[str, float] = {}
    for number, scored in enumerate(lists):
        weight = weights[number] if weights else 1.0
        values = [score for _, score in scored]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        low = (statistics.fmean(values) if values else 0.0) - 3 * deviation
        for name, score in scored:
            scaled = (score - low) / (6 * deviation) if deviation else 0.5
            fused[name] = fused.get(name, 0.0) + weight * scaled
    return _best_first(fused)


def diverse(
    relevance: NDArray[np.float64], likeness: NDArray[np.float64], weight: float, limit: int
) -> list[int]:
    """Choose up to `limit` places by maximal marginal relevance, the first being the best.

    `relevance` is float64 [n], best first; `likeness` float64 [n, n] tells how near each is to
    each. The next is the one with the greatest (1 - weight) * relevance - weight * likeness to
    the most like of those chosen (Carbonell and Goldstein, 1998).
    """
    count = len(relevance)
    if not count or limit <= 0:
        return []
    chosen = [0]
    pending = np.ones(count, dtype=bool)
    pending[0] = False
    nearest = likeness[:, 0].copy()
    while len(chosen) < min(limit, count):
        merits = np.where(pending, (1 - weight) * relevance - weight * nearest, -np.inf)
        best = int(np.argmax(merits))
        chosen.append(best)
        pending[best] = False
        nearest = np.maximum(nearest, likeness[:, best])
    return chosen


def _best_first(scores: dict[str, float]) -> Fused:
    return sorted(scores.items(), key=lambda entry: -entry[1])
