"""Collections and their spaces: where items live and how their vectors compare."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


class Metric(StrEnum):
    """How near two vectors are. The engine ranks by *similarity*: higher is nearer, always.

    Similarity is the cosine, the dot product, or the negated Euclidean distance.
    """

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"


class VectorPrecision(StrEnum):
    """How a space keeps its numbers.

    `float16` for encoders' output; `float32` to give back exactly what was sent.
    """

    FLOAT16 = "float16"
    FLOAT32 = "float32"


class IndexState(StrEnum):
    NONE = "none"
    BUILDING = "building"
    READY = "ready"


@dataclass(frozen=True, slots=True)
class SpaceSpec:
    """A space to create. `model_id` is None for vectors that clients bring themselves.

    The vectors of a model's space are of unit length, so that cosine is their dot product.
    """

    model_id: str | None
    dimensions: int
    metric: Metric = Metric.COSINE
    precision: VectorPrecision = VectorPrecision.FLOAT16


@dataclass(frozen=True, slots=True)
class Space:
    key: int
    spec: SpaceSpec
    index_state: IndexState


@dataclass(frozen=True, slots=True)
class Collection:
    """`key` names the collection's partitions; `id` is what clients see."""

    key: int
    id: str
    project_id: str
    name: str
    description: str | None
    space: Space
    item_count: int
    created_at: datetime
    updated_at: datetime
