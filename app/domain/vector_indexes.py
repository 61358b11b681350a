"""Collections of ready vectors as Vectorize has them: metadata indexes, batches, mutations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.domain.filters import Equals, Not, OneOf, Range

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    import numpy as np
    from numpy.typing import NDArray

    from app.domain.filters import MetadataIndex, Path
    from app.domain.items import Hit
    from app.domain.requests import Input

PREFIX_BYTES = 64

# Not stands before the other two equalities only.
Clause = Equals | OneOf | Range | Not


def path_of(clause: Clause) -> Path:
    """The field that a condition, or its negation, is on."""
    match clause:
        case Not(clause=Equals() | OneOf() as inner):
            return inner.path
        case Equals() | OneOf() | Range():
            return clause.path
    raise TypeError(clause)


@dataclass(frozen=True, slots=True)
class VectorBatch:
    """Vectors to write, one per place; ids are unique within the batch.

    `vectors` is float32 [n, d]. `metadata` are JSON objects as text. `inputs` holds, by place,
    content to be embedded, whose vectors are empty rows.
    """

    ids: Sequence[str]
    namespaces: Sequence[str]
    metadata: Sequence[str]
    vectors: NDArray[np.float32]
    inputs: Mapping[int, Input] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Mutation:
    """A change that was applied; `ids` are those that it touched."""

    id: UUID
    applied_at: datetime
    ids: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class IndexInfo:
    dimensions: int
    count: int
    processed: Mutation | None


@dataclass(frozen=True, slots=True)
class IdPage:
    """A page of ids. `after` continues behind the page in the same snapshot; None at the end."""

    ids: Sequence[str]
    total: int
    after: IdCursor | None


@dataclass(frozen=True, slots=True)
class IdCursor:
    """Where a listing goes on: behind item number `last`, up to number `end` of the snapshot."""

    collection_key: int
    last: int
    end: int
    total: int


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """What to find: exactly one of `vector` (float32 [d]), `item_id` and `input` is given."""

    vector: NDArray[np.float32] | None = None
    item_id: str | None = None
    input: Input | None = None
    top_k: int = 5
    namespace: str | None = None
    conditions: Sequence[Clause] = ()
    with_vectors: bool = False
    with_indexed: bool = False


@dataclass(frozen=True, slots=True)
class VectorMatches:
    """The hits, best first; `indexes` are the declared metadata indexes, where needed."""

    hits: Sequence[Hit]
    indexes: Sequence[MetadataIndex] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
