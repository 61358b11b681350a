"""Changing a collection's model: a new space is filled beside the old one, then takes its place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from app.domain.collections import Space
    from app.domain.media import MediaRef
    from app.domain.modality import Modality


class MigrationState(StrEnum):
    PENDING = "pending"  # no process has taken it up yet
    EMBEDDING = "embedding"
    INDEXING = "indexing"  # the new space gets its index; what is written meanwhile is embedded
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


@dataclass(frozen=True, slots=True)
class ModelMigration:
    """What there is to know of a migration.

    `total` counts the collection's items, as of now or of the end; `done` those that have their
    vector in the new space, `failed` those that the new model could not embed. `error` says what
    ended it, or what it waits for.
    """

    id: str
    state: MigrationState
    from_model_id: str
    model_id: str
    total: int
    done: int
    failed: int
    error: str | None
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class MigrationJob:
    """A migration that this process has claimed; `space` is the new one, still without its row."""

    key: int
    owner: UUID
    collection_key: int
    space: Space

    @property
    def model_id(self) -> str:
        assert self.space.spec.model_id is not None
        return self.space.spec.model_id


@dataclass(frozen=True, slots=True)
class Unembedded:
    """An item to embed, as it was at `version`; `modality` is None for a ready vector."""

    seq: int
    id: str
    version: str
    modality: Modality | None
    text: str | None
    media: MediaRef | None


@dataclass(frozen=True, slots=True)
class MigrationFailure:
    """Why an item has no vector in the new space."""

    item_id: str
    code: str
    message: str
