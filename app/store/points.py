"""Points: items that clients bring the vectors of, written whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.domain.items import NewItem, WriteMode
from app.domain.vectors import SparseVector
from app.errors import InvalidInput
from app.store.vectors import put_vectors, remove_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.items import Written
    from app.domain.vectors import NewPoint
    from app.store.items import ItemStore


class PointStore:
    def __init__(self, items: ItemStore) -> None:
        self._items = items

    async def put(
        self,
        collection: Collection,
        points: Sequence[NewPoint],
        mode: WriteMode = WriteMode.UPSERT,
    ) -> Written:
        """Write the points, all or none of them, in one transaction; see ItemStore.put.

        What takes another's place has none of its vectors. Raises NotFound for a space,
        InvalidInput for vectors that do not fit theirs.
        """
        sent = reversed(points) if mode is WriteMode.INSERT else points
        by_id = {point.id: point for point in sent}
        for name in {name for point in by_id.values() for name in point.vectors}:
            collection.space_named(name)

        async def also(connection: asyncpg.Connection, written: Written) -> None:
            kept = [by_id[name] for name in by_id.keys() - set(written.skipped)]
            for space in collection.spaces:
                vectors = {p.id: p.vectors[space.name] for p in kept if space.name in p.vectors}
                without = [point.id for point in kept if point.id not in vectors]
                if without:
                    await remove_vectors(connection, collection, space, without)
                if vectors and space is not collection.space:
                    await put_vectors(connection, collection, space, vectors)

        return await self._items.put(
            collection, [_item(collection, point) for point in points], mode, also
        )


def _item(collection: Collection, point: NewPoint) -> NewItem:
    """The item with the vector of the collection's own space, or one to be removed again."""
    vector = point.vectors.get(collection.space.name)
    if isinstance(vector, SparseVector):
        raise InvalidInput.at((), "a dense vector is needed, not a sparse one")
    return NewItem(
        id=point.id,
        modality=None,
        vector=_nothing(collection) if vector is None else vector,
        metadata=point.metadata,
        namespace=point.namespace,
    )


def _nothing(collection: Collection) -> NDArray[np.float32]:
    return np.zeros(collection.space.spec.dimensions, dtype=np.float32)
