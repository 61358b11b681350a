"""From cosines to scores: the gap between modalities closed, and the rest calibrated.

Vectors of one modality crowd around their own mean, so a text lies nearer to any text than to the
picture it describes. Subtracting each modality's mean and renormalising puts the modalities on top
of each other (GR-CLIP, arXiv 2507.19054). What cosine is left means something else for each pair
of modalities; a logistic curve per pair, fitted on held-out pairs, makes it a probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from app.domain.modality import Modality
from app.encoders.cards import Logistic, pair_of, parse_pair
from app.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from app.encoders.cards import Card

GAP_FILE = "gap.safetensors"

# For cards without a calibration: a guess, but a sane one. CLIP-like models put matching pictures
# and texts at cosines of 0.2 to 0.35 and the same content of one modality near 1; both curves
# score a cosine of 1 above 0.99.
UNCALIBRATED_ACROSS = Logistic(slope=20.0, intercept=-5.0)
UNCALIBRATED_WITHIN = Logistic(slope=12.0, intercept=-6.0)

_LEAST_NORM = 1e-6


class Calibration:
    """One model's scores: 0 to 1, comparable across modalities, monotonic in cosine."""

    def __init__(self, card: Card) -> None:
        self._curves = {
            pair_of(one, other): UNCALIBRATED_WITHIN if one is other else UNCALIBRATED_ACROSS
            for one in Modality
            for other in Modality
        }
        self._curves |= {parse_pair(name): curve for name, curve in card.calibration.items()}

    def curve(self, query: Modality, item: Modality) -> Logistic:
        """Return the curve itself: its logits rank items of several modalities together."""
        return self._curves[pair_of(query, item)]

    def scores(self, query: Modality, item: Modality, cosines: ArrayLike) -> NDArray[np.float64]:
        """Turn cosines of gap-corrected vectors, of any shape, into scores of that shape."""
        curve = self.curve(query, item)
        logits = curve.slope * np.asarray(cosines, dtype=np.float64) + curve.intercept
        scores: NDArray[np.float64] = 1.0 / (1.0 + np.exp(-np.clip(logits, -700.0, 700.0)))
        return scores

    def least_cosine(self, query: Modality, item: Modality, score: float) -> float:
        """Return the cosine from which on the score is at least `score`.

        At least -1, which every pair reaches; above 1 (or infinite) where none does.
        """
        if score <= 0.0:
            return -1.0
        if score >= 1.0:
            return np.inf
        curve = self.curve(query, item)
        logit = np.log(score) - np.log1p(-score)
        return max(-1.0, float((logit - curve.intercept) / curve.slope))


class Gap:
    """What is taken off each modality, float32 [d]: its mean, or that less what all shall keep.

    A modality without one is left as it is.
    """

    def __init__(self, means: Mapping[Modality, NDArray[np.float32]]) -> None:
        self._means = dict(means)

    @classmethod
    def read(cls, directory: Path, dimensions: int) -> Gap:
        """Read `gap.safetensors` beside a card (tensors named as the modalities, [d] each).

        No file is no correction; a file that does not fit the card is Unavailable.
        """
        path = directory / GAP_FILE
        if not path.is_file():
            return cls({})
        try:
            tensors = load_file(path)
            means = {Modality(name): mean.astype(np.float32) for name, mean in tensors.items()}
        except (OSError, ValueError, SafetensorError) as error:
            raise Unavailable("model", f"{path}: {error}") from error
        for name, mean in means.items():
            if mean.shape != (dimensions,):
                raise Unavailable(
                    "model", f"{path}: {name} has shape {mean.shape}, not ({dimensions},)"
                )
        return cls(means)

    def mean(self, modality: Modality) -> NDArray[np.float32] | None:
        """Return the modality's mean vector, float32 [d], if there is one."""
        return self._means.get(modality)

    def close(self, modality: Modality, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Subtract the modality's mean from float32 [n, d] vectors and make them unit length.

        A vector that is its modality's mean has no direction left and stays as it was.
        """
        mean = self.mean(modality)
        if mean is None:
            return unit(vectors)
        centred = vectors - mean
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        return unit(np.where(norms > _LEAST_NORM, centred, vectors))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale float32 [n, d] rows to unit length; a row of zeros stays zeros."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.maximum(norms, _LEAST_NORM)
    return scaled
