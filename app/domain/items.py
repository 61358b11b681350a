"""Items: what is stored, listed and found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    import numpy as np
    from numpy.typing import NDArray

    from app.domain.media import MediaRef
    from app.domain.modality import Modality
    from app.domain.segments import Segments


class WriteMode(StrEnum):
    """What becomes of an item whose id is there already, or of one whose is not.

    insert leaves what is there; update leaves out what is not; upsert does neither.
    """

    INSERT = "insert"
    UPSERT = "upsert"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Written:
    """How many items are new, how many took another's place, and which were left out."""

    inserted: int
    replaced: int
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to write: `vector` is float32 [d] and `metadata` a JSON object as text.

    `modality` is None for a vector that a client brought itself; `segments` are a recording's.
    """

    id: str
    modality: Modality | None
    vector: NDArray[np.float32]
    text: str | None = None
    media: MediaRef | None = None
    metadata: str = "{}"
    namespace: str = ""
    segments: Segments | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A stored item. `metadata` stays JSON text: it passes through unparsed.

    `indexed` is JSON text as well: what the metadata indexes hold of it, by their keys.
    """

    id: str
    modality: Modality | None
    text: str | None
    media: MediaRef | None
    metadata: str
    namespace: str
    created_at: datetime
    updated_at: datetime
    indexed: str = "{}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A found item and its similarity (see Metric); `vector` only where it was asked for."""

    item: Item
    similarity: float
    vector: NDArray[np.float32] | None = None
