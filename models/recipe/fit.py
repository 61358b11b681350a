"""What is measured after training and kept in the card: the gap's means and the calibration.

Both are fitted on pictures, sounds and captions that were not trained on.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from app.domain.modality import Modality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]

# With 0 Spearman with the sentence model is 0.957, with 0.3 it is 0.978; calibration is as good.
TEXT_MEAN_LEFT = 0.3
# The same content, whose cosine is 1, must score above 0.99; this logit is 0.995.
LEAST_LOGIT_OF_SAME = 5.3
NEWTON_STEPS = 50
SMALLEST_STEP = 1e-6
RIDGE = 1e-4


def balanced_mean(vectors: Vectors, names: Sequence[str]) -> Vectors:
    """The mean over concepts of their means: what is frequent must not count for more."""
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    means = np.stack([vectors[rows].mean(0) for rows in places.values()])
    return np.asarray(means.mean(0), dtype=np.float32)


def gap_means(
    vectors: Mapping[str, Vectors], names: Mapping[str, Sequence[str]]
) -> dict[str, Vectors]:
    """What is to be subtracted from the vectors of each kind, so that all have one mean.

    That mean is a part of the texts' own: the more of it is taken from texts, the better cosines
    tell matches of different kinds from others, and the less likenesses among texts stay as the
    sentence model saw them.
    """
    means = {kind: balanced_mean(vectors[kind], names[kind]) for kind in vectors}
    common = TEXT_MEAN_LEFT * means[Modality.TEXT]
    return {kind: mean - common for kind, mean in means.items()}


def platt(
    cosines: NDArray[np.float64], matches: NDArray[np.bool_], *, one_kind: bool = True
) -> tuple[float, float]:
    """Fit score = 1 / (1 + exp(-(slope · cosine + intercept))): returns slope and intercept.

    Platt 1999, but matches and others weigh alike, so that 0.5 is "as likely related as not". Where
    the same content, which only pairs of one kind can be, would not score above 0.99, the slope
    alone is fitted, through the logit that makes it so.
    """
    weights = _balanced(matches)
    design = np.stack([cosines, np.ones_like(cosines)], axis=1)
    slope, intercept = _newton(design, np.zeros(len(cosines)), matches, weights)
    if one_kind and (slope + intercept < LEAST_LOGIT_OF_SAME or slope <= 0):
        fixed = np.full(len(cosines), LEAST_LOGIT_OF_SAME)
        (slope,) = _newton(cosines[:, None] - 1, fixed, matches, weights)
        intercept = LEAST_LOGIT_OF_SAME - slope
    return float(slope), float(intercept)


def _balanced(matches: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights of pairs: one half on the matches, one half on the others."""
    weights: NDArray[np.float64] = np.where(matches, 0.5 / matches.sum(), 0.5 / (~matches).sum())
    return weights


def _newton(
    design: NDArray[np.float64],
    offset: NDArray[np.float64],
    matches: NDArray[np.bool_],
    weights: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Logistic regression with a small ridge, so that separable pairs do not run away.

    A step is halved until the loss falls: where all scores start near 1, full steps diverge.
    """

    def loss(beta: NDArray[np.float64]) -> float:
        logits = design @ beta + offset
        return float(
            weights @ (np.logaddexp(0, logits) - matches * logits) + RIDGE / 2 * beta @ beta
        )

    beta = np.zeros(design.shape[1])
    ridge = RIDGE * np.eye(len(beta))
    now = loss(beta)
    for _ in range(NEWTON_STEPS):
        score = 1 / (1 + np.exp(-np.clip(design @ beta + offset, -50, 50)))
        gradient = design.T @ (weights * (score - matches)) + ridge @ beta
        curvature = (design * (weights * score * (1 - score))[:, None]).T @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        while (then := loss(beta - step)) > now and np.abs(step).max() > SMALLEST_STEP:
            step = step / 2
        if np.abs(step).max() <= SMALLEST_STEP:
            break
        beta, now = beta - step, then
    return beta


def pairs(
    one: Vectors,
    one_groups: NDArray[np.intp],
    other: Vectors,
    other_groups: NDArray[np.intp],
    *,
    same_set: bool,
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cosines of every pair, and which of them match; an example is not paired with itself."""
    cosines = (one @ other.T).astype(np.float64)
    matches = one_groups[:, None] == other_groups[None, :]
    chosen = np.ones_like(matches)
    if same_set:
        chosen = np.triu(chosen, 1)
    return cosines[chosen], matches[chosen]


def expected_calibration_error(
    scores: NDArray[np.float64], matches: NDArray[np.bool_], bins: int = 10
) -> float:
    """Mean distance between score and share of matches over bins (Guo et al. 2017).

    Matches and others weigh alike, as in `platt`.
    """
    weights = _balanced(matches)
    places = np.minimum((scores * bins).astype(int), bins - 1)
    error = 0.0
    for place in range(bins):
        inside = places == place
        if weight := float(weights[inside].sum()):
            share = float(weights[inside] @ matches[inside]) / weight
            error += weight * abs(share - float(weights[inside] @ scores[inside]) / weight)
    return error


def calibrate(
    vectors: Mapping[str, Vectors], groups: Mapping[str, NDArray[np.intp]]
) -> dict[str, dict[str, float]]:
    """Fit a curve for each pair of kinds; `vectors` are gap-corrected, `groups` say what matches.

    The curve is fitted on all pairs; its error is that of curves fitted on one half of the
    examples and measured on the other. A pair of kinds of which either half holds no match, or
    nothing but matches, has no curve.
    """
    curves: dict[str, dict[str, float]] = {}
    for one, other in combinations_with_replacement(sorted(vectors), 2):
        every, *halves = (
            pairs(
                vectors[one][chosen],
                groups[one][chosen],
                vectors[other][chosen],
                groups[other][chosen],
                same_set=one == other,
            )
            for chosen in (slice(None), slice(0, None, 2), slice(1, None, 2))
        )
        if not all(0 < matches.sum() < len(matches) for _, matches in halves):
            continue
        slope, intercept = platt(*every, one_kind=one == other)
        errors = [
            _error(*measured, platt(*fitted, one_kind=one == other))
            for fitted, measured in (halves, halves[::-1])
        ]
        curves[f"{one}-{other}"] = {
            "slope": round(slope, 3),
            "intercept": round(intercept, 3),
            "error": round(sum(errors) / 2, 4),
        }
    return curves


def _error(
    cosines: NDArray[np.float64], matches: NDArray[np.bool_], curve: tuple[float, float]
) -> float:
    slope, intercept = curve
    scores = 1 / (1 + np.exp(-(slope * cosines + intercept)))
    return expected_calibration_error(scores, matches)
