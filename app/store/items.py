"""Items and their vectors: written, listed, fetched and deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app.domain.collections import VectorPrecision
from app.domain.items import WriteMode, Written
from app.errors import InvalidInput, NotFound, Outdated, Unavailable
from app.store.errors import translated
from app.store.filters import compile_filter, item_scope
from app.store.names import items_table, vectors_table
from app.store.rows import CODES, ITEM_COLUMNS, item_from, vector_from
from app.store.segments import make_segments_table, put_segments
from app.store.transactions import writing
from app.store.writing import upsert_few, write_many

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from collections.abc import Collection as Container

    import asyncpg
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.filters import Filter
    from app.domain.items import Item, NewItem
    from app.domain.modality import Modality
    from app.store.database import Database

    Also = Callable[[asyncpg.Connection, Written], Awaitable[None]]
    AlsoDelete = Callable[[asyncpg.Connection], Awaitable[None]]

FIRST_BEYOND_HALF = 65_520.0  # rounds to infinity in half precision
FEW = 100  # items that are written by one statement, without a staging table

_DELETE = """
WITH found AS MATERIALIZED (
    SELECT seq FROM {items} WHERE id = ANY ($1) ORDER BY id FOR UPDATE
), gone AS (
    DELETE FROM {items} WHERE seq IN (SELECT seq FROM found) RETURNING seq
), vectors AS (
    DELETE FROM {vectors} WHERE item_seq IN (SELECT seq FROM gone)
)
SELECT count(*) FROM gone
"""
_COUNT = """
UPDATE collections SET item_count = item_count + $2, updated_at = now()
WHERE key = $1 RETURNING current_space
"""
_GIVE_UP_MEDIA = "INSERT INTO media_outbox (key) SELECT unnest($1::text[])"
_CLAIM_MEDIA = "DELETE FROM media_outbox WHERE key = ANY ($1) AND reserved RETURNING key"


class ItemStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self,
        collection: Collection,
        items: Sequence[NewItem],
        mode: WriteMode = WriteMode.UPSERT,
        also: Also | None = None,
    ) -> Written:
        """Write the items, all or none of them; and `also` what goes with them.

        Of several items with one id the last counts, or the first where `mode` is INSERT. Media
        must have been reserved in the outbox; the media of items that are replaced, or left out,
        is queued for deletion.
        Callers validate text, ids and metadata: no NUL and no lone surrogates, which Postgres
        cannot hold. Raises InvalidInput for what cannot be stored, NotFound for a deleted
        collection, Outdated for one that changed its model, and Unavailable where reserved media
        has been given up meanwhile.
        """
        sent = reversed(items) if mode is WriteMode.INSERT else items
        batch = list({item.id: item for item in sent}.values())
        if mode is WriteMode.INSERT:
            batch.reverse()
        if not batch:
            return Written(0, 0)
        vectors = _vectors(collection, batch)
        media = {item.media.key: item.id for item in batch if item.media is not None}
        segments = {item.id: item.segments for item in batch if item.segments is not None}
        if segments:
            await make_segments_table(self._database, collection, collection.space)
        async with writing(self._database, collection) as connection:
            if media:
                await _claim_media(connection, collection, media)
            if mode is WriteMode.UPSERT and len(batch) <= FEW:
                written = await upsert_few(connection, collection, batch, vectors)
            else:
                written = await write_many(connection, collection, batch, vectors, mode)
            if unused := {name for name in media if media[name] in written.skipped}:
                await connection.execute(_GIVE_UP_MEDIA, list(unused))
            if heard := {name: segments[name] for name in segments.keys() - set(written.skipped)}:
                await put_segments(connection, collection, collection.space, heard)
            if also is not None:
                await also(connection, written)
            await _count(connection, collection, written.inserted)
        return written

    async def delete(
        self, collection: Collection, ids: Container[str], also: AlsoDelete | None = None
    ) -> int:
        """Delete those that exist and return how many did, and do `also` what goes with it.

        Their media is queued for deletion.
        """
        statement = _DELETE.format(
            items=items_table(collection.key), vectors=vectors_table(collection.space.key)
        )
        async with writing(self._database, collection) as connection:
            deleted: int = await connection.fetchval(statement, list(ids))
            if also is not None:
                await also(connection)
            await _count(connection, collection, -deleted)
        return deleted

    async def get(self, collection: Collection, ids: Container[str]) -> list[Item]:
        """Those that exist, in no particular order."""
        query = (
            f"SELECT {ITEM_COLUMNS} FROM {items_table(collection.key)} AS i WHERE i.id = ANY ($1)"
        )
        with translated(collection):
            rows = await self._database.pool.fetch(query, list(ids))
        return [item_from(row) for row in rows]

    async def vectors(
        self, collection: Collection, ids: Container[str]
    ) -> dict[str, NDArray[np.float32]]:
        """The vectors, float32 [d], of those that exist."""
        query = (
            f"SELECT i.id, v.embedding FROM {items_table(collection.key)} AS i "
            f"JOIN {vectors_table(collection.space.key)} AS v ON v.item_seq = i.seq "
            "WHERE i.id = ANY ($1)"
        )
        with translated(collection):
            rows = await self._database.pool.fetch(query, list(ids))
        return {row["id"]: vector_from(row["embedding"]) for row in rows}

    async def list(
        self,
        collection: Collection,
        *,
        limit: int,
        offset: int,
        modalities: Container[Modality | None] | None = None,
        filter: Filter | None = None,  # noqa: A002
    ) -> tuple[list[Item], int]:
        """A page in the order of creation, and how many items match in all."""
        values: list[Any] = []

        def bind(value: Any) -> str:
            values.append(value)
            return f"${len(values)}"

        conditions = []
        if modalities is not None:
            codes = sorted(CODES[modality] for modality in modalities)
            conditions.append(f"i.modality = ANY ({bind(codes)}::smallint[])")
        if filter is not None:
            conditions.append(f"({compile_filter(filter, bind, item_scope(collection))})")
        source = f"FROM {items_table(collection.key)} AS i"
        total = "c.item_count"
        if conditions:
            source += f" WHERE {' AND '.join(conditions)}"
            total = f"(SELECT count(*) {source})"
        query = f"""
        SELECT {total} AS total, page.* FROM collections AS c LEFT JOIN (
            SELECT i.seq, {ITEM_COLUMNS} {source}
            ORDER BY i.seq LIMIT {bind(limit)} OFFSET {bind(offset)}
        ) AS page ON true
        WHERE c.key = {bind(collection.key)} ORDER BY page.seq
        """
        with translated(collection):
            rows = await self._database.pool.fetch(query, *values)
        if not rows:
            raise NotFound("collection", collection.id)
        return [item_from(row) for row in rows if row["id"] is not None], rows[0]["total"]


def _vectors(collection: Collection, items: Sequence[NewItem]) -> NDArray[np.float32]:
    """The items' vectors, float32 [n, d], once it is sure that all can be stored."""
    dimensions = collection.space.spec.dimensions
    for item in items:
        if item.vector.shape != (dimensions,):
            raise InvalidInput.at(
                (), f"item {item.id!r}: a vector of {dimensions} numbers is needed"
            )
    matrix = np.stack([item.vector for item in items])
    halves = collection.space.spec.precision is VectorPrecision.FLOAT16
    bound = FIRST_BEYOND_HALF if halves else np.inf
    if not (-bound < matrix.min() and matrix.max() < bound):  # nor for NaN, which both pass on
        raise InvalidInput.at((), "a vector holds a number that is not finite or too large")
    return matrix


async def _claim_media(
    connection: asyncpg.Connection, collection: Collection, media: dict[str, str]
) -> None:
    """Take the media off the outbox; what an item had already, it may keep."""
    claimed = {row["key"] for row in await connection.fetch(_CLAIM_MEDIA, list(media))}
    missing = [key for key in media if key not in claimed]
    if not missing:
        return
    kept = await connection.fetch(
        f"SELECT media_key FROM {items_table(collection.key)} "
        "WHERE (id, media_key) IN (SELECT * FROM unnest($1::text[], $2::text[]))",
        [media[key] for key in missing],
        missing,
    )
    if len(kept) < len(missing):
        raise Unavailable("database", "the media was given up before its item was stored")


async def _count(connection: asyncpg.Connection, collection: Collection, change: int) -> None:
    """Keep the collection's count, last of all: the lock on its row is short.

    Its own space must be the one that was written to.
    """
    space_key = await connection.fetchval(_COUNT, collection.key, change)
    if space_key is None:
        raise NotFound("collection", collection.id)
    if space_key != collection.space.key:
        raise Outdated(collection.id)
