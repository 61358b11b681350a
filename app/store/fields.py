"""Declared fields: their indexes, built and dropped while the collection is read and written."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import asyncpg

from app.domain.fields import FieldState
from app.errors import InvalidInput, NotFound
from app.store.errors import translated
from app.store.field_indexes import ACCESSES, Access
from app.store.names import field_index, fields_lock, items_table
from app.store.rows import field_from
from app.store.text import storable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.domain.collections import Collection
    from app.domain.fields import FieldIndex, FieldType
    from app.domain.filters import Path
    from app.store.database import Database

MAX_FIELDS = 128
MAX_KEYS = 16
RETRY_SECONDS = 0.2

# Of another type than before it is another field: its indexes are new ones.
_FORGET_OTHER_TYPE = """
DELETE FROM field_indexes WHERE collection_key = $1 AND path = $2 AND type <> $3
"""
_DECLARE = """
INSERT INTO field_indexes AS f (collection_key, path, type, options)
SELECT c.key, $2, $3, $4::jsonb FROM collections AS c WHERE c.key = $1
ON CONFLICT (collection_key, path) DO UPDATE SET options = excluded.options
RETURNING to_jsonb(f) AS field,
    (SELECT count(*) FROM field_indexes AS o WHERE o.collection_key = f.collection_key) AS others
"""
_LIST = """
SELECT f.field FROM collections AS c LEFT JOIN LATERAL (
    SELECT f.key, to_jsonb(f) AS field FROM field_indexes AS f WHERE f.collection_key = c.key
) AS f ON true WHERE c.key = $1 ORDER BY f.key
"""
_SET_STATE = "UPDATE field_indexes SET state = $2 WHERE key = $1"
_PHYSICAL = """
SELECT c.relname, i.indisvalid FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass($1)
"""


class FieldIndexStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def declare(
        self, collection: Collection, path: Path, kind: FieldType, options: str = "{}"
    ) -> FieldIndex:
        """Declare a field, or give it another type or other options; `build` makes its indexes.

        Raises NotFound for a deleted collection, InvalidInput for a path that cannot be, or for
        too many fields.
        """
        if not 0 < len(path) <= MAX_KEYS or not all(key and storable(key) for key in path):
            raise InvalidInput.at(("path",), f"a field's path is 1 to {MAX_KEYS} keys")
        values = (collection.key, list(path), kind)
        async with self._transaction(collection) as connection:
            await connection.execute(_FORGET_OTHER_TYPE, *values)
            row = await connection.fetchrow(_DECLARE, *values, options)
            if row is None:
                raise NotFound("collection", collection.id)
            if row["others"] >= MAX_FIELDS:
                raise InvalidInput.at((), f"a collection has at most {MAX_FIELDS} fields")
        return field_from(json.loads(row["field"]))

    async def declared(self, collection: Collection) -> list[FieldIndex]:
        """Those declared, in the order of their declaration. Raises NotFound."""
        with translated(collection):
            rows = await self._database.pool.fetch(_LIST, collection.key)
        if not rows:
            raise NotFound("collection", collection.id)
        return [field_from(json.loads(row["field"])) for row in rows if row["field"] is not None]

    async def drop(self, collection: Collection, path: Path) -> None:
        """Forget a field; `build` clears its indexes away. Raises NotFound."""
        gone = "DELETE FROM field_indexes WHERE collection_key = $1 AND path = $2 RETURNING key"
        keys = [key if storable(key) else "" for key in path]
        with translated(collection):
            key = await self._database.pool.fetchval(gone, collection.key, keys)
        if key is None:
            raise NotFound("field", ".".join(path))

    async def build(self, collection: Collection) -> None:
        """Build what is declared and drop what no longer is, without blocking writers.

        Returns once that is done, by this process or another. Raises NotFound for a deleted
        collection; a field whose indexes could not be built is marked as failed.
        """
        connection = await self._database.connect()
        try:
            with translated(collection):
                # Never waited for: a waiting statement's snapshot would hold up the build.
                while not await connection.fetchval(  # noqa: ASYNC110 (no event tells)
                    "SELECT pg_try_advisory_lock($1)", fields_lock(collection.key)
                ):
                    await asyncio.sleep(RETRY_SECONDS)
                while not await _settle(connection, collection):
                    pass
        finally:
            await connection.close()

    async def unfinished(self) -> list[int]:
        """Keys of collections with fields whose indexes are not built yet."""
        query = "SELECT DISTINCT collection_key FROM field_indexes WHERE state = 'building'"
        with translated():
            return [row["collection_key"] for row in await self._database.pool.fetch(query)]

    @asynccontextmanager
    async def _transaction(self, collection: Collection) -> AsyncIterator[asyncpg.Connection]:
        with translated(collection):
            async with self._database.pool.acquire() as connection, connection.transaction():
                yield connection


async def _settle(connection: asyncpg.Connection, collection: Collection) -> bool:
    """Do one thing that is to be done; True once there is none."""
    rows = await connection.fetch(_LIST, collection.key)
    if not rows:
        raise NotFound("collection", collection.id)
    fields = [field_from(json.loads(row["field"])) for row in rows if row["field"] is not None]
    physical = await _physical(connection, collection)
    declared = {field.key for field in fields}
    for name, (key, valid) in physical.items():
        building = any(f.key == key and f.state is FieldState.BUILDING for f in fields)
        if key not in declared or (building and not valid):
            await connection.execute(f'DROP INDEX CONCURRENTLY IF EXISTS "{name}"')
            return False
    waiting = [field for field in fields if field.state is FieldState.BUILDING]
    if not waiting:
        return True
    await _build_one(connection, collection, waiting[0], physical)
    return False


async def _physical(
    connection: asyncpg.Connection, collection: Collection
) -> dict[str, tuple[int, bool]]:
    """By name, the field's key and whether the index is valid; those of fields alone."""
    rows = await connection.fetch(_PHYSICAL, items_table(collection.key))
    pattern = re.compile(rf"items_c{collection.key}_f(\d+)_\d+")
    return {
        row["relname"]: (int(found[1]), row["indisvalid"])
        for row in rows
        if (found := pattern.fullmatch(row["relname"]))
    }


async def _build_one(
    connection: asyncpg.Connection,
    collection: Collection,
    field: FieldIndex,
    physical: dict[str, Any],
) -> None:
    table = items_table(collection.key)
    try:
        for number, access in enumerate(ACCESSES[field.type]):
            name = field_index(collection.key, field.key, number)
            if name.strip('"') not in physical:
                await connection.execute(await _create(connection, name, table, access, field.path))
        await connection.execute(f"ANALYZE {table}")
    except asyncpg.PostgresError:
        if not connection.is_closed():
            await connection.execute(_SET_STATE, field.key, FieldState.FAILED)
        raise
    await connection.execute(_SET_STATE, field.key, FieldState.READY)


async def _create(
    connection: asyncpg.Connection, name: str, table: str, access: Access, path: Path
) -> str:
    """The path's keys are quoted by Postgres itself: definitions take no parameters."""
    value = "(metadata" + "".join(f" -> %{n}$L::text" for n in range(1, len(path) + 1)) + ")"
    definition = f"USING {access.method} ({access.over(value)}{access.closing}"
    template = f"CREATE INDEX CONCURRENTLY {name} ON {table} {definition}"
    statement: str = await connection.fetchval(
        "SELECT format($1, VARIADIC $2::text[])", template, list(path)
    )
    return statement
