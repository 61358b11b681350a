"""What a face asks of the engine, and what the engine answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from app.domain.modality import Modality

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from app.domain.filters import Filter
    from app.domain.items import Item
    from app.domain.search import SearchPlan
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
class SearchQuery:
    """An input, an example or both; `threshold` is a least score."""

    input: Input | None = None
    example: Example | None = None
    top_k: int = 10
    offset: int = 0
    threshold: float | None = None
    modalities: frozenset[Modality] | None = None
    filter: Filter | None = None
    exact: bool = False
    with_vectors: bool = False


@dataclass(frozen=True, slots=True)
class ScoredHit:
    """`score` is calibrated to 0..1; `similarity` is the cosine it was made from."""

    item: Item
    score: float
    similarity: float
    vector: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class SearchOutcome:
    """`seconds` says where the time went: `encode`, `database`."""

    hits: Sequence[ScoredHit]
    model_id: str
    input_tokens: int
    plan: SearchPlan
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list: `total` counts what the whole list holds."""

    entries: Sequence[T]
    total: int
    limit: int
    offset: int
