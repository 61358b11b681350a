"""Items as Vectorize has them: written with a log, read with their vectors, listed by id."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.vector_indexes import IdCursor, IdPage
from app.errors import NotFound
from app.store.errors import translated
from app.store.mutations import log_mutation
from app.store.names import items_table, vectors_table
from app.store.rows import ITEM_COLUMNS, item_from, vector_from
from app.store.transactions import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg
    import numpy as np
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.items import Item, NewItem, WriteMode, Written
    from app.domain.vector_indexes import Mutation
    from app.store.database import Database
    from app.store.items import ItemStore

_IDS = """
SELECT seq, id FROM {items} WHERE seq > $1 AND seq <= $2 ORDER BY seq LIMIT $3
"""
_SNAPSHOT = """
SELECT item_count, (SELECT coalesce(max(seq), 0) FROM {items}) AS last
FROM collections WHERE key = $1
"""


class ReadyVectorStore:
    def __init__(self, database: Database, items: ItemStore) -> None:
        self._database = database
        self._items = items

    async def write(
        self, collection: Collection, items: Sequence[NewItem], mode: WriteMode, caller: str
    ) -> Mutation:
        """Write items of distinct ids, all or none, and log it; see ItemStore.put.

        The mutation's ids are those that were stored.
        """
        mutations: list[Mutation] = []

        async def log(connection: asyncpg.Connection, written: Written) -> None:
            skipped = set(written.skipped)
            stored = [item.id for item in items if item.id not in skipped]
            mutations.append(await log_mutation(connection, collection, caller, stored))

        if items:
            await self._items.put(collection, items, mode, log)
        else:
            async with writing(self._database, collection) as connection:
                mutations.append(await log_mutation(connection, collection, caller))
        [mutation] = mutations
        return mutation

    async def delete(self, collection: Collection, ids: Sequence[str], caller: str) -> Mutation:
        """Delete those that exist and log it; the mutation's ids are those given."""
        mutations: list[Mutation] = []

        async def log(connection: asyncpg.Connection) -> None:
            mutations.append(await log_mutation(connection, collection, caller, ids))

        await self._items.delete(collection, ids, log)
        [mutation] = mutations
        return mutation

    async def existing(self, collection: Collection, ids: Sequence[str]) -> set[str]:
        """Which of the ids are stored."""
        query = f"SELECT id FROM {items_table(collection.key)} WHERE id = ANY ($1)"
        with translated(collection):
            return {row["id"] for row in await self._database.pool.fetch(query, list(ids))}

    async def get(
        self, collection: Collection, ids: Sequence[str]
    ) -> dict[str, tuple[Item, NDArray[np.float32]]]:
        """Those that exist, each with its vector as float32 [d]."""
        query = (
            f"SELECT {ITEM_COLUMNS}, v.embedding FROM {items_table(collection.key)} AS i "
            f"JOIN {vectors_table(collection.space.key)} AS v ON v.item_seq = i.seq "
            "WHERE i.id = ANY ($1)"
        )
        with translated(collection):
            rows = await self._database.pool.fetch(query, list(ids))
        return {row["id"]: (item_from(row), vector_from(row["embedding"])) for row in rows}

    async def list_ids(
        self, collection: Collection, limit: int, cursor: IdCursor | None = None
    ) -> IdPage:
        """A page of the ids that there were when the first page was read, oldest first.

        Those deleted since are left out.
        """
        items = items_table(collection.key)
        pool = self._database.pool
        with translated(collection):
            if cursor is None:
                row = await pool.fetchrow(_SNAPSHOT.format(items=items), collection.key)
                if row is None:
                    raise NotFound("collection", collection.id)
                cursor = IdCursor(collection.key, 0, row["last"], row["item_count"])
            query = _IDS.format(items=items)
            rows = await pool.fetch(query, cursor.last, cursor.end, limit + 1)
        page = rows[:limit]
        after = None
        if len(rows) > limit:
            after = IdCursor(collection.key, page[-1]["seq"], cursor.end, cursor.total)
        return IdPage([row["id"] for row in page], cursor.total, after)
