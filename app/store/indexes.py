"""HNSW indexes, built while the collection is read and written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg

from app.domain.collections import IndexState
from app.store.errors import translated
from app.store.names import hnsw_index, index_lock, vectors_table
from app.store.rows import CODES
from app.store.search import MAX_HNSW_DIMENSIONS, indexed_expression

if TYPE_CHECKING:
    from app.domain.collections import Collection, Space
    from app.store.database import Database

M = 16
EF_CONSTRUCTION = 64
MOST_BUILD_MEMORY = 2**30  # bytes; a graph that does not fit is built many times slower

_SET_STATE = "UPDATE spaces SET index_state = $2 WHERE key = $1"


class IndexStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def build(self, collection: Collection) -> bool:
        """Build the indexes of the collection's space, one per modality, until they are ready.

        Takes minutes for 100,000 vectors. Where another process is at it already, or where the
        vectors have more dimensions than an index takes, return False at once. What a crash left
        is cleared away first. Raises NotFound for a deleted collection.
        """
        space = collection.space
        if space.spec.dimensions > MAX_HNSW_DIMENSIONS:
            return False
        connection = await self._database.connect()
        try:
            with translated(collection):
                # Never waited for: a waiting statement's snapshot would hold up the build.
                if not await connection.fetchval(
                    "SELECT pg_try_advisory_lock($1)", index_lock(space.key)
                ):
                    return False
                await _build_all(connection, space)
        finally:
            await connection.close()
        return True


async def _build_all(connection: asyncpg.Connection, space: Space) -> None:
    await connection.execute(_SET_STATE, space.key, IndexState.BUILDING.value)
    try:
        await _reserve_memory(connection, space)
        for code in _modalities(space):
            await _build_one(connection, space, code)
    except BaseException:
        if not connection.is_closed():
            await connection.execute(_SET_STATE, space.key, IndexState.NONE.value)
        raise
    await connection.execute(_SET_STATE, space.key, IndexState.READY.value)


def _modalities(space: Space) -> list[int]:
    """Codes of what the space can hold: a model's content, or vectors that clients bring."""
    raw = space.spec.model_id is None
    return [code for modality, code in CODES.items() if (modality is None) == raw]


async def _reserve_memory(connection: asyncpg.Connection, space: Space) -> None:
    """Raise this connection's memory for building to what the graph needs, within reason."""
    table = vectors_table(space.key)
    rows = await connection.fetchval(f"SELECT count(*) FROM {table}")
    needed = rows * (2 * space.spec.dimensions + 16 * M + 200)
    granted = min(needed, MOST_BUILD_MEMORY) // 1024
    await connection.execute(
        "SELECT set_config('maintenance_work_mem', greatest($1::bigint, setting::bigint)::text, "
        "false) FROM pg_settings WHERE name = 'maintenance_work_mem'",
        granted,
    )


async def _build_one(connection: asyncpg.Connection, space: Space, code: int) -> None:
    name, table = hnsw_index(space.key, code), vectors_table(space.key)
    valid = await connection.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)", name
    )
    if valid:
        return
    expression, operators = indexed_expression(space.spec)
    create = (
        f"CREATE INDEX CONCURRENTLY {name} ON {table} USING hnsw ({expression} {operators}) "
        f"WITH (m = {M}, ef_construction = {EF_CONSTRUCTION}) WHERE modality = {int(code)}"
    )
    try:
        await _drop(connection, name)
        await connection.execute(create)
    except asyncpg.InsufficientResourcesError:
        # Containers give little shared memory, which only parallel workers need.
        await connection.execute("SET max_parallel_maintenance_workers = 0")
        await _drop(connection, name)
        await connection.execute(create)


async def _drop(connection: asyncpg.Connection, name: str) -> None:
    await connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
