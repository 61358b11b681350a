"""Vectors of items that exist: written, read and removed, space by space."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from app.domain.collections import SpaceKind
from app.errors import InvalidInput, NotFound, Outdated, ReadyVectors
from app.store.binding import unwrapped, vector_type, wrapped
from app.store.errors import NOT_DURING_MIGRATION, translated
from app.store.generations import current_generation
from app.store.names import collection_lock, items_table, vectors_table

if TYPE_CHECKING:
    from collections.abc import Collection as Container
    from collections.abc import Mapping

    import asyncpg
    from numpy.typing import NDArray

    from app.domain.collections import Collection, Space
    from app.domain.vectors import Vector
    from app.store.database import Database

MAX_ROWS = 1_024  # of a multi-vector

_OWN_SPACE = """
SELECT current_space, EXISTS (
    SELECT FROM model_migrations WHERE collection_key = c.key AND finished_at IS NULL
) AS replaced
FROM collections AS c WHERE key = $1
"""

_PUT = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::integer[], $3::{type}[]) AS i (id, place, embedding)
), item AS MATERIALIZED (
    SELECT seq, id, modality FROM {items} WHERE id IN (SELECT input.id FROM input)
    ORDER BY id FOR KEY SHARE
), {longer}stored AS (
    INSERT INTO {vectors} (space_key, item_seq, {columns})
    SELECT {space_key}, item.seq, {values}
    FROM input JOIN item ON item.id = input.id COLLATE "C"
    ON CONFLICT ({key}) DO UPDATE SET {replace}
)
SELECT id FROM item
"""


# Rows that the new multi-vector has as well are updated, not deleted and inserted.
_DROP_LONGER = """longer AS (
    DELETE FROM {vectors} AS v USING item WHERE v.item_seq = item.seq
    AND v.place > (SELECT max(place) FROM input WHERE input.id = item.id)
), """


class VectorStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def put(
        self, collection: Collection, vectors: Mapping[str, Mapping[str, Vector]]
    ) -> set[str]:
        """Set vectors of items, by space and then by id, all or none.

        Returns the ids that exist; the others are passed over. Raises NotFound for a space,
        InvalidInput for vectors that do not fit theirs.
        """
        known: set[str] = set()
        with translated(collection):
            async with self._database.pool.acquire() as connection, connection.transaction():
                await _lock(connection, collection, vectors)
                for name, by_id in sorted(vectors.items()):
                    space = collection.space_named(name)
                    known |= await put_vectors(connection, collection, space, by_id)
        return known

    async def get(
        self, collection: Collection, space: Space, ids: Container[str]
    ) -> dict[str, Vector]:
        """Return the vectors of those items that have one in the space."""
        multi = space.spec.kind is SpaceKind.MULTI
        order = " ORDER BY v.item_seq, v.place" if multi else ""
        query = (
            f"SELECT i.id, v.embedding FROM {items_table(collection.key)} AS i "
            f"JOIN {vectors_table(space.key)} AS v ON v.item_seq = i.seq "
            f"WHERE i.id = ANY ($1){order}"
        )
        with translated(collection):
            rows = await self._database.pool.fetch(query, list(ids))
        if not multi:
            return {row["id"]: unwrapped(row["embedding"]) for row in rows}
        matrices: dict[str, list[NDArray[np.float32]]] = {}
        for row in rows:
            vector = unwrapped(row["embedding"])
            assert isinstance(vector, np.ndarray)
            matrices.setdefault(row["id"], []).append(vector)
        return {name: np.stack(vectors) for name, vectors in matrices.items()}

    async def remove(
        self, collection: Collection, names: Container[str], ids: Container[str]
    ) -> None:
        """Remove the items' vectors from the spaces; the items stay. Raises NotFound."""
        with translated(collection):
            async with self._database.pool.acquire() as connection, connection.transaction():
                await _lock(connection, collection, names)
                for name in names:
                    space = collection.space_named(name)
                    await remove_vectors(connection, collection, space, ids)


async def _lock(
    connection: asyncpg.Connection, collection: Collection, names: Container[str]
) -> None:
    """Keep the collection's spaces as they are until the transaction ends.

    Raises Outdated, or ReadyVectors where its own space is among them and is being replaced.
    """
    await connection.execute(
        "SELECT pg_advisory_xact_lock_shared($1)", collection_lock(collection.key)
    )
    if collection.space.name not in names:
        return
    row = await connection.fetchrow(_OWN_SPACE, collection.key)
    if row is None:
        raise NotFound("collection", collection.id)
    if row["current_space"] != collection.space.key:
        raise Outdated(collection.id)
    if row["replaced"]:
        raise ReadyVectors(NOT_DURING_MIGRATION)


async def remove_vectors(
    connection: asyncpg.Connection, collection: Collection, space: Space, ids: Container[str]
) -> None:
    """Remove the items' vectors from the space, within the caller's transaction."""
    await connection.execute(
        f"DELETE FROM {vectors_table(space.key)} WHERE item_seq IN "
        f"(SELECT seq FROM {items_table(collection.key)} WHERE id = ANY ($1::text[]))",
        list(ids),
    )


async def put_vectors(
    connection: asyncpg.Connection,
    collection: Collection,
    space: Space,
    by_id: Mapping[str, Vector],
) -> set[str]:
    """Set vectors of the items that exist, within the caller's transaction; return their ids."""
    ids: list[str] = []
    places: list[int] = []
    embeddings: list[Any] = []
    for name, vector in by_id.items():
        rows = wrapped(space, vector)
        if len(rows) > MAX_ROWS:
            raise InvalidInput.at((), f"a multi-vector has at most {MAX_ROWS} vectors")
        ids += [name] * len(rows)
        places += range(len(rows))
        embeddings += rows
    multi = space.spec.kind is SpaceKind.MULTI
    columns = {"modality": "item.modality", "embedding": "input.embedding"}
    if multi:
        columns["place"] = "input.place"
    if space.spec.kind is SpaceKind.DENSE:
        columns["generation"] = current_generation(space.key)
    statement = _PUT.format(
        type=vector_type(space),
        items=items_table(collection.key),
        vectors=vectors_table(space.key),
        space_key=int(space.key),
        key="item_seq, place" if multi else "item_seq",
        columns=", ".join(columns),
        values=", ".join(columns.values()),
        replace=", ".join(f"{column} = excluded.{column}" for column in columns),
        longer=_DROP_LONGER.format(vectors=vectors_table(space.key)) if multi else "",
    )
    found = await connection.fetch(statement, ids, places, embeddings)
    return {row["id"] for row in found}
