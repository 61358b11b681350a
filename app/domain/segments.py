"""Segments: the parts of a recording, each with a vector of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_SEGMENTS = 128


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a recording, in seconds from its beginning."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Segments:
    """A recording's parts in order, MOST_SEGMENTS at most; neighbours may overlap.

    `vectors` is float32 [n, d], one for each of the `spans`, made as the item's own is. A recording
    that is one segment has none (float32 [0, d]): its vector is the item's.
    """

    spans: tuple[Segment, ...]
    vectors: NDArray[np.float32]
