"""Vectorize's metadata indexes: the values that items had when they were written since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.domain.filters import MetadataIndex, MetadataKind
from app.errors import InvalidInput, LimitReached, NotFound
from app.store.errors import translated
from app.store.metadata_conditions import indexed_expression
from app.store.mutations import log_mutation
from app.store.names import items_table, metadata_index
from app.store.transactions import writing

if TYPE_CHECKING:
    from collections.abc import Mapping

    import asyncpg

    from app.domain.collections import Collection
    from app.domain.filters import Path
    from app.domain.vector_indexes import Mutation
    from app.store.database import Database

_LIST = """
SELECT key, path, kind FROM metadata_indexes WHERE collection_key = $1 ORDER BY key
"""
_DECLARE = """
INSERT INTO metadata_indexes (collection_key, path, kind) VALUES ($1, $2, $3)
RETURNING key, path, kind
"""
_TRIGGER = """
CREATE OR REPLACE TRIGGER index_metadata BEFORE INSERT OR UPDATE ON {items} FOR EACH ROW
EXECUTE FUNCTION index_metadata()
"""
_INDEX = "CREATE INDEX {name} ON {items} (({value})) WHERE ({value}) IS NOT NULL"


class MetadataIndexStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self, collection: Collection) -> list[MetadataIndex]:
        """In the order of creation."""
        with translated():
            return await _list(self._database.pool, collection)

    async def create(
        self, collection: Collection, path: Path, kind: MetadataKind, caller: str, most: int
    ) -> Mutation:
        """Index what is written from now on, by whichever way it comes; log it.

        One of the same path and kind stays as it is. Raises InvalidInput where there is one of
        another kind, LimitReached where there are `most` already.
        """
        async with writing(self._database, collection) as connection:
            await _lock(connection, collection)
            known = {index.path: index for index in await _list(connection, collection)}
            if path not in known:
                if len(known) >= most:
                    raise LimitReached("metadata indexes", most)
                await _create(connection, collection, path, kind)
            elif known[path].kind is not kind:
                name, other = known[path].name, known[path].kind
                raise InvalidInput.at((), f"{name} is indexed as {other} already")
            return await log_mutation(connection, collection, caller)

    async def delete(self, collection: Collection, path: Path, caller: str) -> Mutation:
        """Forget an index and log it; what it held is not read any more. Raises NotFound."""
        async with writing(self._database, collection) as connection:
            await _lock(connection, collection)
            known = {index.path: index for index in await _list(connection, collection)}
            if path not in known:
                raise NotFound("metadata index", ".".join(path))
            key = known[path].key
            await connection.execute("DELETE FROM metadata_indexes WHERE key = $1", key)
            await connection.execute(f"DROP INDEX {metadata_index(key)}")
            return await log_mutation(connection, collection, caller)


async def _list(
    connection: asyncpg.Connection | asyncpg.Pool, collection: Collection
) -> list[MetadataIndex]:
    return [_index_from(row) for row in await connection.fetch(_LIST, collection.key)]


async def _lock(connection: asyncpg.Connection, collection: Collection) -> None:
    """Wait for the collection's writers, and keep out whoever else changes its indexes."""
    items = items_table(collection.key)
    await connection.execute(f"LOCK TABLE {items} IN SHARE ROW EXCLUSIVE MODE")


async def _create(
    connection: asyncpg.Connection, collection: Collection, path: Path, kind: MetadataKind
) -> None:
    row = await connection.fetchrow(_DECLARE, collection.key, list(path), kind.value)
    index = _index_from(row)
    items, value = items_table(collection.key), indexed_expression(index, "indexed")
    await connection.execute(_TRIGGER.format(items=items))
    await connection.execute(
        _INDEX.format(name=metadata_index(index.key), items=items, value=value)
    )


def _index_from(row: Mapping[str, Any]) -> MetadataIndex:
    return MetadataIndex(row["key"], tuple(row["path"]), MetadataKind(row["kind"]))
