"""What goes over the wire about migrations to other models; all of it is an addition."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from app.domain.model_migrations import MigrationState

Count = Annotated[int, Meta(ge=0)]


class StartMigration(Struct, forbid_unknown_fields=True):
    """The model to change to."""

    model_id: Annotated[
        str, Meta(min_length=1, max_length=100, description="One of the models that are listed.")
    ]


class Migration(Struct):
    """A migration to another model, and how far it has come."""

    id: Annotated[str, Meta(examples=["mig_2c7xk4w9q5m3v6bnahj5ztrd"])]
    state: Annotated[
        MigrationState,
        Meta(
            description="`pending`, `embedding` and `indexing` are under way; `completed`, "
            "`failed` and `canceled` have ended."
        ),
    ]
    from_model_id: str
    model_id: str
    total: Annotated[
        Count, Meta(description="The collection's items: as of now, or of the migration's end.")
    ]
    done: Annotated[Count, Meta(description="Items that have their new vector.")]
    failed: Annotated[Count, Meta(description="Items that cannot be embedded; see `failures`.")]
    error: Annotated[
        str | None, Meta(description="What it failed with, or what it waits for before it goes on.")
    ]
    created_at: datetime
    started_at: datetime | None
    updated_at: datetime
    finished_at: datetime | None


class MigrationPage(Struct):
    migrations: list[Migration]
    total: Annotated[Count, Meta(description="How many there are in all.")]
    limit: int
    offset: int


class MigrationFailure(Struct):
    """Why an item has no new vector."""

    id: Annotated[str, Meta(description="The item's id.", examples=["item_abc123"])]
    code: Annotated[str, Meta(description="Stable and machine-readable.")]
    message: Annotated[str, Meta(description="For people.")]


class MigrationFailurePage(Struct):
    failures: list[MigrationFailure]
    total: Annotated[Count, Meta(description="How many there are in all.")]
    limit: int
    offset: int
