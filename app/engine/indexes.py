"""What a collection's clients decide about its indexes: declared fields, and tuning."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.domain.fields import FieldState
from app.errors import InvalidInput, Violation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Collection, IndexKind, IndexState, SearchTuning
    from app.domain.fields import FieldIndex, FieldType
    from app.domain.filters import Path
    from app.engine.housekeeping import Housekeeper
    from app.engine.recent import RecentCollections
    from app.store.collections import CollectionStore
    from app.store.fields import FieldIndexStore
    from app.store.indexes import BuildProgress, IndexStore

# pgvector's, and for thresholds what a bigint holds.
_BOUNDS = {
    "m": (2, 100),
    "ef_construction": (4, 1000),
    "ef_search": (1, 1000),
    "exact_rows": (0, 2**62),
    "hnsw_rows": (0, 2**62),
    "binary_rows": (0, 2**62),
}


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The vector index of one space; `progress` is that of a build under way."""

    space: str
    state: IndexState
    kind: IndexKind
    progress: BuildProgress | None


class IndexAdministration:
    def __init__(
        self,
        collections: CollectionStore,
        recent: RecentCollections,
        fields: FieldIndexStore,
        indexes: IndexStore,
        housekeeper: Housekeeper,
    ) -> None:
        self._collections = collections
        self._recent = recent
        self._fields = fields
        self._indexes = indexes
        self._housekeeper = housekeeper

    async def create_field(
        self,
        project: str,
        collection_id: str,
        path: Path,
        kind: FieldType,
        *,
        options: str = "{}",
        wait: bool = False,
    ) -> FieldIndex:
        """Declare a field; its indexes are built in the background, or awaited with `wait`.

        Of another type than before it is built anew; of the same one, only its options change.
        """
        collection = await self._collections.get(project, collection_id)
        field = await self._fields.declare(collection, path, kind, options)
        await self._build(collection, wait=False)
        while wait and field.state is FieldState.BUILDING:  # again: one may just have ended
            await self._build(collection, wait=True)
            declared = await self._fields.declared(collection)
            field = next((each for each in declared if each.key == field.key), field)
        return field

    async def list_fields(self, project: str, collection_id: str) -> Sequence[FieldIndex]:
        collection = await self._collections.get(project, collection_id)
        return collection.fields

    async def drop_field(
        self, project: str, collection_id: str, path: Path, *, wait: bool = False
    ) -> None:
        """Forget a field; searches by it still find the same. Raises NotFound."""
        collection = await self._collections.get(project, collection_id)
        await self._fields.drop(collection, path)
        await self._build(collection, wait=wait)

    async def tune(self, project: str, collection_id: str, tuning: SearchTuning) -> Collection:
        """Set what the collection decides for itself about search; indexes follow by themselves.

        Raises InvalidInput for what pgvector does not take.
        """
        violations = [
            Violation((name,), f"{name} is {least} to {most}")
            for name, (least, most) in _BOUNDS.items()
            if (value := getattr(tuning, name)) is not None and not least <= value <= most
        ]
        if violations:
            raise InvalidInput(violations)
        collection = await self._collections.get(project, collection_id)
        await self._indexes.tune(collection, tuning)
        self._recent.forget(project, collection_id)
        collection = await self._collections.get(project, collection_id)
        self._housekeeper.consider_index(collection, anew=True)
        return collection

    async def status(self, project: str, collection_id: str) -> list[IndexStatus]:
        """Tell of each space whether it has an index, and how far one has come."""
        collection = await self._collections.get(project, collection_id)
        return [
            IndexStatus(
                space.name,
                space.index_state,
                space.index_kind,
                await self._indexes.progress(collection, space),
            )
            for space in collection.spaces
        ]

    async def _build(self, collection: Collection, *, wait: bool) -> None:
        self._recent.forget(collection.project_id, collection.id)
        task = self._housekeeper.build_fields(collection)
        if wait:
            await asyncio.shield(task)
