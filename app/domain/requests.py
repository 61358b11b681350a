"""What a face asks of the engine, and what the engine answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from app.domain.modality import Modality
from app.domain.rankings import TextFields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from app.domain.filters import Filter, Path
    from app.domain.items import Item
    from app.domain.queries import Diversity
    from app.domain.rankings import FacetCount, GroupValue
    from app.domain.search import SearchReport
    from app.domain.segments import Segment
    from app.errors import ItemFailure

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TextInput:
    text: str
    field: str = "text"

    @property
    def modality(self) -> Modality:
        return Modality.TEXT


@dataclass(frozen=True, slots=True)
class UrlInput:
    """Media to fetch. `field` is the request field that it came in, for messages."""

    modality: Modality
    url: str
    field: str


@dataclass(frozen=True, slots=True)
class InlineInput:
    """Media whose bytes came with the request."""

    modality: Modality
    data: bytes
    field: str


MediaInput = UrlInput | InlineInput
Input = TextInput | MediaInput


class OnError(StrEnum):
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class IndexItem:
    """One item to index: `metadata` is a JSON object as text, `id` None to have one made."""

    input: Input
    metadata: str = "{}"
    id: str | None = None


@dataclass(frozen=True, slots=True)
class IndexedItem:
    id: str
    modality: Modality


@dataclass(frozen=True, slots=True)
class IndexOutcome:
    """`items` follows the order sent and holds None where an item was skipped."""

    items: Sequence[IndexedItem | None]
    failures: Sequence[ItemFailure]
    model_id: str
    input_tokens: int


@dataclass(frozen=True, slots=True)
class Example:
    """Items whose vectors steer a search: towards the positive, away from the negative."""

    positive: tuple[str, ...] = ()
    negative: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WeightedInput:
    """One of several inputs: what it weighs in the search, negative to lead away from it."""

    input: Input
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Hybrid:
    """Full-text search beside that by vectors: `weight` is its share, from 0 to 1.

    `text` of None stands for the texts of the inputs.
    """

    weight: float = 0.5
    text: str | None = None
    fields: TextFields = field(default_factory=TextFields)


@dataclass(frozen=True, slots=True)
class FacetRequest:
    """How many items have which values at `path`; `name` is what the request calls it."""

    name: str
    path: Path
    limit: int = 10


@dataclass(frozen=True, slots=True)
class GroupBy:
    path: Path
    size: int = 3


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Inputs, an example or both; `threshold` is a least score.

    `inputs` stands for several in place of `input`. With `group_by` groups are counted where
    items are counted otherwise, and diversity has no place.
    """

    input: Input | None = None
    inputs: tuple[WeightedInput, ...] = ()
    example: Example | None = None
    top_k: int = 10
    offset: int = 0
    threshold: float | None = None
    modalities: frozenset[Modality] | None = None
    filter: Filter | None = None
    exact: bool = False
    with_vectors: bool = False
    hybrid: Hybrid | None = None
    facets: tuple[FacetRequest, ...] = ()
    group_by: GroupBy | None = None
    diversity: Diversity | None = None


@dataclass(frozen=True, slots=True)
class ScoredHit:
    """`score` is calibrated to 0..1; `similarity` is the cosine it was made from.

    `hybrid_score` is what a hybrid search ranks by; `segment` the part of a recording that is most
    like the query.
    """

    item: Item
    score: float
    similarity: float
    vector: NDArray[np.float32] | None = None
    hybrid_score: float | None = None
    segment: Segment | None = None


@dataclass(frozen=True, slots=True)
class HitGroup:
    value: GroupValue
    hits: Sequence[ScoredHit]


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """`seconds` says where the time went: `encode`, `database`.

    `report` tells how the nearest were found. `groups` is None unless they were asked for; `hits`
    are then the best of each.
    """

    hits: Sequence[ScoredHit]
    model_id: str
    input_tokens: int
    report: SearchReport
    seconds: Mapping[str, float] = field(default_factory=dict)
    groups: Sequence[HitGroup] | None = None
    facets: Mapping[str, Sequence[FacetCount]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list: `total` counts what the whole list holds."""

    entries: Sequence[T]
    total: int
    limit: int
    offset: int
