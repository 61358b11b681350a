"""Collections and their spaces: where items live and how their vectors compare."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from app.errors import NotFound

if TYPE_CHECKING:
    from datetime import datetime

    from app.domain.fields import FieldIndex


class Metric(StrEnum):
    """How near two vectors are. The engine ranks by *similarity*: higher is nearer, always.

    Similarity is the cosine, the dot product, or the negated Euclidean or Manhattan distance.
    """

    COSINE = "cosine"
    DOT = "dot"
    EUCLIDEAN = "euclidean"
    MANHATTAN = "manhattan"


class VectorPrecision(StrEnum):
    """How a space keeps its numbers.

    `float16` for encoders' output; `float32` to give back exactly what was sent.
    """

    FLOAT16 = "float16"
    FLOAT32 = "float32"


class SpaceKind(StrEnum):
    """What an item has in a space: a vector, a sparse one, or several that are one document."""

    DENSE = "dense"
    SPARSE = "sparse"
    MULTI = "multi"


class IndexKind(StrEnum):
    """What an HNSW index of a space holds: its vectors in half precision, or their signs."""

    FLOAT16 = "float16"
    BINARY = "binary"


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
    kind: SpaceKind = SpaceKind.DENSE


@dataclass(frozen=True, slots=True)
class Space:
    """`name` is unique in the collection; that of its own space is "" for most.

    `index_kind` is the kind of index that is there, or is being built. Vectors belong to the
    generation that they are written in. `indexed` are the generations, ascending, that its indexes
    end with; what is of a later one is in none. `segmented` tells that the space has had a
    recording since there are segments.
    """

    key: int
    spec: SpaceSpec
    index_state: IndexState
    name: str = ""
    index_kind: IndexKind = IndexKind.FLOAT16
    indexed: tuple[int, ...] = ()
    segmented: bool = False

    @property
    def spans(self) -> tuple[Span, ...]:
        """The spans of generations that have an index each."""
        return tuple(map(Span, (None, *self.indexed), self.indexed))


@dataclass(frozen=True, slots=True)
class Span:
    """Generations of a space's vectors: those later than `after`, the last of them `until`."""

    after: int | None
    until: int


@dataclass(frozen=True, slots=True)
class SearchTuning:
    """What a collection sets for itself about search; None leaves it to the service's settings.

    `m` and `ef_construction` make the index, `ef_search` walks it (pgvector's words). Up to
    `exact_rows` candidates are compared one by one; above `hnsw_rows` items there is an index,
    above `binary_rows` one of the vectors' signs.
    """

    m: int | None = None
    ef_construction: int | None = None
    ef_search: int | None = None
    exact_rows: int | None = None
    hnsw_rows: int | None = None
    binary_rows: int | None = None


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
    other_spaces: tuple[Space, ...] = ()
    fields: tuple[FieldIndex, ...] = ()
    tuning: SearchTuning = SearchTuning()

    @property
    def spaces(self) -> tuple[Space, ...]:
        """All spaces, its own first."""
        return (self.space, *self.other_spaces)

    def space_named(self, name: str) -> Space:
        """Return the space of that name; raises NotFound."""
        for space in self.spaces:
            if space.name == name:
                return space
        raise NotFound("space", name)
