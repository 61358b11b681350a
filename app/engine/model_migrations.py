"""Changing the model of a collection while it is written to and searched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain.requests import Page
from app.errors import InvalidInput, MigrationEnded, ReadyVectors, SameModel
from app.store.model_migrations import running

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.domain.model_migrations import MigrationFailure, ModelMigration
    from app.encoders.cards import Card
    from app.encoders.service import EncoderService
    from app.engine.migrator import Migrator
    from app.store.collections import CollectionStore
    from app.store.model_migrations import MigrationStore


class ModelMigrations:
    """What clients do with migrations; the Migrator runs them."""

    def __init__(
        self,
        collections: CollectionStore,
        migrations: MigrationStore,
        encoders: EncoderService,
        migrator: Migrator,
    ) -> None:
        self._collections = collections
        self._migrations = migrations
        self._encoders = encoders
        self._migrator = migrator

    async def start(self, project: str, collection_id: str, model_id: str) -> ModelMigration:
        """Begin to embed all items anew; the model changes when all is done.

        Raises NotFound for an unknown collection or model, SameModel, MigrationRunning,
        ReadyVectors where there is nothing to embed, InvalidInput where the model cannot embed a
        kind of item that there is, and Unavailable where it cannot be loaded.
        """
        collection = await self._collections.get(project, collection_id)
        card = self._encoders.card(model_id)
        if collection.space.spec.model_id is None:
            raise ReadyVectors(
                f"collection {collection.name!r} holds vectors of its clients, and no content to "
                "embed"
            )
        if await self._migrations.is_running(collection):
            raise running(collection)
        if collection.space.spec.model_id == model_id:
            raise SameModel(f"collection {collection.name!r} has the model {model_id} already")
        await self._check_items(collection, card)
        await self._encoders.load(model_id)
        spec = replace(collection.space.spec, model_id=model_id, dimensions=card.dimensions)
        migration = await self._migrations.begin(collection, spec)
        self._migrator.wake()
        return migration

    async def list(
        self, project: str, collection_id: str, *, limit: int, offset: int
    ) -> Page[ModelMigration]:
        """List a collection's migrations, the newest first."""
        collection = await self._collections.get(project, collection_id)
        entries, total = await self._migrations.list(collection, limit=limit, offset=offset)
        return Page(entries, total, limit, offset)

    async def get(self, project: str, collection_id: str, migration_id: str) -> ModelMigration:
        collection = await self._collections.get(project, collection_id)
        return await self._migrations.get(collection, migration_id)

    async def failures(
        self, project: str, collection_id: str, migration_id: str, *, limit: int, offset: int
    ) -> Page[MigrationFailure]:
        """List the items that could not be embedded, the oldest first."""
        collection = await self._collections.get(project, collection_id)
        entries, total = await self._migrations.failures(
            collection, migration_id, limit=limit, offset=offset
        )
        return Page(entries, total, limit, offset)

    async def cancel(self, project: str, collection_id: str, migration_id: str) -> ModelMigration:
        """End a migration, and leave the collection as it is. Raises MigrationEnded."""
        collection = await self._collections.get(project, collection_id)
        if not await self._migrations.cancel(collection, migration_id):
            raise MigrationEnded(f"migration {migration_id} has ended already")
        self._migrator.wake()
        return await self._migrations.get(collection, migration_id)

    async def _check_items(self, collection: Collection, card: Card) -> None:
        """Refuse what the model could not embed before anything is begun."""
        counts = await self._migrations.modalities(collection)
        if ready := counts.pop(None, 0):
            raise ReadyVectors(
                f"collection {collection.name!r} holds {ready} ready vectors, which no model can "
                "make anew"
            )
        missing = [
            f"{kind} ({counts[kind]} items)"
            for kind in sorted(kind for kind in counts if kind is not None)
            if kind not in card.types
        ]
        if missing:
            raise InvalidInput.at(
                ("model_id",),
                f"the model {card.id} takes no {' and no '.join(missing)}, which the collection "
                "holds",
            )
