"""Figures of unit vectors: what is found, what is kept, how a mixed collection ranks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]


def recall(found: Vectors, names: Vectors, truth: Sequence[int], top: int) -> float:
    """The share of examples whose true name is among the `top` nearest names."""
    scores = found @ names.T
    own = scores[np.arange(len(truth)), list(truth)]
    return float(((scores > own[:, None]).sum(1) < top).mean())


def concept_recall(
    queries: Vectors,
    asked: Sequence[str],
    gallery: Vectors,
    held: Sequence[str],
    tops: Sequence[int],
) -> list[float]:
    """The share of queries that find something of their concept among the nearest, per `tops`.

    `asked` and `held` name the concept of each query and of each thing in the gallery; a query
    whose concept the gallery does not hold can find nothing and counts as not found.
    """
    known = {name: number for number, name in enumerate(dict.fromkeys([*held, *asked]))}
    wanted = np.array([known[name] for name in asked])
    there = np.array([known[name] for name in held])
    order = np.argsort(-(queries @ gallery.T), axis=1, kind="stable")[:, : max(tops)]
    right = there[order] == wanted[:, None]
    return [float(right[:, :top].any(1).mean()) for top in tops]


def same_kind(vectors: Vectors, kinds: Sequence[int], top: int) -> float:
    """The share of each example's `top` nearest others that are of its own kind."""
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -np.inf)
    nearest = np.argsort(-scores, axis=1)[:, :top]
    return float((np.asarray(kinds)[nearest] == np.asarray(kinds)[:, None]).mean())


def share_of_texts(text_scores: Vectors, image_scores: Vectors, top: int) -> float:
    """The share of texts among the `top` first of texts and images ranked together.

    Scores are [queries, texts] and [queries, images], comparable with each other or not.
    """
    together = np.concatenate([text_scores, image_scores], axis=1)
    first = np.argsort(-together, axis=1, kind="stable")[:, :top]
    return float((first < text_scores.shape[1]).mean())


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Rank correlation; ties do not occur among cosines."""
    first, second = (np.argsort(np.argsort(values)).astype(np.float64) for values in (one, other))
    return float(np.corrcoef(first, second)[0, 1])
