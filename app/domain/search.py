"""A search as the engine plans it and the store runs it, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from app.domain.collections import Space
    from app.domain.filters import Filter
    from app.domain.items import Hit
    from app.domain.modality import Modality


class Strategy(StrEnum):
    """How the nearest are found.

    exact: every distance is computed, of all items or of those that pass the filter. hnsw: an
    HNSW index leads to them. binary: an HNSW index of the signs of the vectors' numbers does, and
    the distances of what it finds are computed.
    """

    EXACT = "exact"
    HNSW = "hnsw"
    BINARY = "binary"


@dataclass(frozen=True, slots=True)
class Branch:
    """The vectors of one modality within a search; None stands for all that clients brought.

    Branches are ranked together by `slope * similarity + intercept`: the logit of the calibrated
    score, so that modalities with different calibrations merge in the order of their scores.
    """

    modality: Modality | None
    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True, slots=True)
class FilterFirst:
    """Before an index is asked: whether few enough items pass the filter to compare them all.

    Up to `rows` of them are compared. With `sample_first` their number is estimated before they
    are looked for: where no declared field leads to them, that reads every item.
    """

    rows: int
    sample_first: bool = False


@dataclass(frozen=True, slots=True)
class SearchPlan:
    """`vector` is float32 [d], of unit length for a model's space.

    `least_rank` cuts off what ranks lower (see Branch). An index is asked for `walked` items, of
    which the nearest are kept; `ef_search` is raised as far as a filter thins them out.
    """

    vector: NDArray[np.float32]
    branches: tuple[Branch, ...]
    limit: int
    offset: int = 0
    strategy: Strategy = Strategy.EXACT
    space: Space | None = None
    filter: Filter | None = None
    filter_first: FilterFirst | None = None
    exclude_ids: tuple[str, ...] = ()
    least_rank: float | None = None
    with_vectors: bool = False
    ef_search: int = 100
    walked: int = 0

    @property
    def depth(self) -> int:
        return self.offset + self.limit


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """A search among the segments of recordings; `vector` is float32 [d] of unit length.

    A recording's similarity is that of its best segment, less `discount` times the logarithm of how
    many it has. `least` cuts off what is less similar. Above `rows` segments nothing is searched.
    """

    vector: NDArray[np.float32]
    limit: int
    discount: float
    rows: int
    least: float | None = None
    filter: Filter | None = None
    exclude_ids: tuple[str, ...] = ()
    with_vectors: bool = False


@dataclass(frozen=True, slots=True)
class SearchReport:
    """What a search did: `strategy` is the one that answered in the end.

    `rows` is how many items the collection has; `matching` how many passed the filter, where they
    were counted (`matching_capped`: at least so many); `estimated` how many of them the planner
    expected, where it took a sample; `fallback` tells that an index found too few.
    """

    strategy: Strategy
    rows: int
    matching: int | None = None
    matching_capped: bool = False
    estimated: int | None = None
    fallback: bool = False
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """`hits` are the best first; `complete` tells that no other item can be among them.

    An index that ended its walk before it had as many as wanted leaves a search incomplete.
    """

    hits: Sequence[Hit]
    plan: SearchPlan
    report: SearchReport
    complete: bool = True
