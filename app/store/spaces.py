"""A collection's spaces: their tables, made and dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import asyncpg

from app.domain.collections import SpaceKind, VectorPrecision
from app.errors import InvalidInput, NameTaken, NotFound
from app.store.binding import SPARSE_DIMENSIONS
from app.store.errors import translated
from app.store.names import (
    collection_lock,
    forget_segments_trigger,
    forget_trigger,
    items_table,
    segments_table,
    vectors_table,
)
from app.store.rows import space_from

if TYPE_CHECKING:
    from app.domain.collections import Collection, Space, SpaceSpec
    from app.store.database import Database

# A row of a heap page: 8,160 bytes less tuple header, keys and the vector's own header.
INLINE_BYTES = 8000
BYTES_PER_NUMBER = {VectorPrecision.FLOAT16: 2, VectorPrecision.FLOAT32: 4}
MAX_SPACES = 64
LOCK_TIMEOUT = "3s"

_INSERT = """
INSERT INTO spaces (collection_key, name, kind, model_id, dimensions, metric, precision)
SELECT c.key, $2, $3, $4, $5, $6, $7 FROM collections AS c WHERE c.key = $1
AND (SELECT count(*) FROM spaces AS s WHERE s.collection_key = c.key) < $8
RETURNING *
"""
_TABLE = """
CREATE TABLE {vectors} (
    LIKE {parent} INCLUDING ALL, CHECK (space_key = {space_key}){dimensions}
) INHERITS ({parent});
"""
_FORGET = """
CREATE TRIGGER {trigger} AFTER DELETE ON {items} REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_vectors({vectors});
"""


class SpaceStore:
    """The spaces that a collection has beside its own."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, collection: Collection, name: str, spec: SpaceSpec) -> Space:
        """Add an empty space. Raises NameTaken, NotFound, InvalidInput for too many."""
        dimensions = SPARSE_DIMENSIONS if spec.kind is SpaceKind.SPARSE else spec.dimensions
        values = (spec.kind, spec.model_id, dimensions, spec.metric, spec.precision)
        with translated(collection):
            async with self._database.pool.acquire() as connection, connection.transaction():
                await lock_out_writers(connection, collection)
                try:
                    row = await connection.fetchrow(
                        _INSERT, collection.key, name, *values, MAX_SPACES
                    )
                except asyncpg.UniqueViolationError:
                    raise NameTaken("space", name) from None
                if row is None:
                    raise InvalidInput.at((), f"a collection has at most {MAX_SPACES} spaces")
                space = space_from(row, row["key"], name)
                await connection.execute(
                    space_table(space) + _forgetting(collection.key, space.key)
                )
        return space

    async def drop(self, collection: Collection, name: str) -> None:
        """Drop a space and its vectors; the collection's own stays. Raises NotFound."""
        with translated(collection):
            async with self._database.pool.acquire() as connection, connection.transaction():
                await lock_out_writers(connection, collection)
                key = await connection.fetchval(
                    "DELETE FROM spaces WHERE collection_key = $1 AND name = $2 AND key <> $3 "
                    "RETURNING key",
                    collection.key,
                    name,
                    collection.space.key,
                )
                if key is None:
                    raise NotFound("space", name)
                items = items_table(collection.key)
                await connection.execute(
                    f"DROP TRIGGER {forget_trigger(key)} ON {items}; "
                    f"DROP TRIGGER IF EXISTS {forget_segments_trigger(key)} ON {items}; "
                    f"DROP TABLE {vectors_table(key)}; DROP TABLE IF EXISTS {segments_table(key)};"
                )


def space_table(space: Space) -> str:
    """Return the script that makes the space's table."""
    spec, table = space.spec, vectors_table(space.key)
    checked = ""
    match spec.kind:
        case SpaceKind.SPARSE:
            parent = "vectors_sparse"
        case SpaceKind.MULTI:
            parent = f"vectors_multi_{spec.precision}"
        case SpaceKind.DENSE:
            parent = f"vectors_{spec.precision}"
    if spec.kind is not SpaceKind.SPARSE:
        checked = f", CHECK (vector_dims(embedding) = {int(spec.dimensions)})"
    script = _TABLE.format(
        vectors=table, parent=parent, space_key=int(space.key), dimensions=checked
    )
    size = spec.dimensions * BYTES_PER_NUMBER[spec.precision]
    if spec.kind is not SpaceKind.SPARSE and size > INLINE_BYTES:
        script += f"ALTER TABLE {table} ALTER embedding SET STORAGE EXTERNAL;"
    return script


def _forgetting(collection_key: int, space_key: int) -> str:
    """What an item is deleted with: its vectors in the space."""
    return _FORGET.format(
        trigger=forget_trigger(space_key),
        items=items_table(collection_key),
        vectors=vectors_table(space_key).replace('"', "'"),
    )


async def lock_out_writers(connection: Any, collection: Collection) -> None:
    """Wait for the collection's writers, and keep them out: their statements name its tables.

    An index that is being built is not waited for long, or no writer would get by: Unavailable
    then asks to try again.
    """
    await connection.execute("SELECT pg_advisory_xact_lock($1)", collection_lock(collection.key))
    await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
