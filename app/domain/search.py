"""A search as the engine plans it and the store runs it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.domain.filters import Filter
    from app.domain.modality import Modality


class Strategy(StrEnum):
    EXACT = "exact"
    HNSW = "hnsw"


@dataclass(frozen=True, slots=True)
class Branch:
    """The vectors of one modality (None: of vectors that clients brought) within a search.

    Branches are ranked together by `slope * similarity + intercept`: the logit of the calibrated
    score, so that modalities with different calibrations merge in the order of their scores.
    `least_rank` cuts off what ranks lower.
    """

    modality: Modality | None
    strategy: Strategy
    slope: float = 1.0
    intercept: float = 0.0
    least_rank: float | None = None


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """`vector` is float32 [d], of unit length for a model's space."""

    vector: NDArray[np.float32]
    branches: tuple[Branch, ...]
    limit: int
    offset: int = 0
    filter: Filter | None = None
    exclude_ids: tuple[str, ...] = ()
    with_vectors: bool = False
    ef_search: int = 100
