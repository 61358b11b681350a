"""HNSW indexes, built while the collection is read and written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import asyncpg

from app.domain.collections import IndexKind, IndexState, SearchTuning
from app.errors import NotFound
from app.store.errors import translated
from app.store.metrics import indexable_as, indexed_expression
from app.store.names import hnsw_index, index_lock, vectors_table
from app.store.rows import CODES

if TYPE_CHECKING:
    from app.domain.collections import Collection, Space
    from app.store.database import Database

M = 16
EF_CONSTRUCTION = 64
MOST_BUILD_MEMORY = 2**30  # bytes; a graph that does not fit is built many times slower

_SET_STATE = "UPDATE spaces SET index_state = $2, index_kind = $3 WHERE key = $1"
_STATE = "SELECT index_state FROM spaces WHERE key = $1"
_TUNE = """
UPDATE collections SET config = jsonb_set(config, '{search}', $2::jsonb), updated_at = now()
WHERE key = $1 RETURNING true
"""
_DUE = """
SELECT DISTINCT s.collection_key FROM spaces AS s JOIN collections AS c ON c.key = s.collection_key
WHERE s.kind = 'dense' AND s.index_state <> 'ready'
AND c.item_count > coalesce((c.config #>> '{search,hnsw_rows}')::bigint, $1)
"""
_EXISTING = """
SELECT i.indisvalid AS valid, coalesce(c.reloptions, '{}') AS options
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indexrelid = to_regclass($1)
"""
_INVALID = """
SELECT c.relname FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid
WHERE i.indrelid = to_regclass($1) AND NOT i.indisvalid
"""
_PROGRESS = """
SELECT p.phase, p.tuples_done, p.tuples_total, p.blocks_done, p.blocks_total
FROM pg_stat_progress_create_index AS p WHERE p.relid = to_regclass($1)
"""


@dataclass(frozen=True, slots=True)
class BuildProgress:
    """`phase` in Postgres' own words; `done` is a share of 1 within it, None where none is told."""

    phase: str
    done: float | None


class IndexStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def build(
        self, collection: Collection, space: Space | None = None, kind: IndexKind | None = None
    ) -> bool:
        """Build the space's indexes, one per modality, until they are ready.

        They are made as the collection's tuning says; those that are not of this kind, or made
        otherwise, are replaced. Takes minutes for 100,000 vectors. Where another process is at it
        already, or where no such index can be made, return False at once. What a crash left is
        cleared away first. Raises NotFound for a deleted collection.
        """
        space, kind = space or collection.space, kind or IndexKind.FLOAT16
        if not indexable_as(space.spec, kind):
            return False
        connection = await self._database.connect()
        try:
            with translated(collection):
                # Never waited for: a waiting statement's snapshot would hold up the build.
                if not await connection.fetchval(
                    "SELECT pg_try_advisory_lock($1)", index_lock(space.key)
                ):
                    return False
                await _Builder(connection, space, kind, collection.tuning).run()
        finally:
            await connection.close()
        return True

    async def drop(self, collection: Collection, space: Space | None = None) -> bool:
        """Drop the space's indexes; searches are exact then. False where one is being built."""
        space = space or collection.space
        connection = await self._database.connect()
        try:
            with translated(collection):
                if not await connection.fetchval(
                    "SELECT pg_try_advisory_lock($1)", index_lock(space.key)
                ):
                    return False
                state = (IndexState.NONE, IndexKind.FLOAT16)
                await connection.execute(_SET_STATE, space.key, *state)
                for kind in IndexKind:
                    await _Builder(connection, space, kind, collection.tuning).clear()
        finally:
            await connection.close()
        return True

    async def progress(self, collection: Collection, space: Space) -> BuildProgress | None:
        """How far the build that is under way has come; None where there is none."""
        with translated(collection):
            row = await self._database.pool.fetchrow(_PROGRESS, vectors_table(space.key))
        if row is None:
            return None
        for done, total in (("tuples_done", "tuples_total"), ("blocks_done", "blocks_total")):
            if row[total]:
                return BuildProgress(row["phase"], row[done] / row[total])
        return BuildProgress(row["phase"], None)

    async def due(self, hnsw_rows: int) -> list[int]:
        """Keys of collections with a space that may need an index and has none yet.

        `hnsw_rows` is what counts where a collection sets no number of its own.
        """
        with translated():
            rows = await self._database.pool.fetch(_DUE, hnsw_rows)
        return [row["collection_key"] for row in rows]

    async def tune(self, collection: Collection, tuning: SearchTuning) -> None:
        """Keep what a collection sets for itself. Raises NotFound."""
        given = {name: value for name, value in asdict(tuning).items() if value is not None}
        with translated(collection):
            known = await self._database.pool.fetchval(_TUNE, collection.key, json.dumps(given))
        if not known:
            raise NotFound("collection", collection.id)


class _Builder:
    """Builds or drops one kind of index over one space."""

    def __init__(
        self, connection: asyncpg.Connection, space: Space, kind: IndexKind, tuning: SearchTuning
    ) -> None:
        self._connection = connection
        self._space = space
        self._kind = kind
        self._m = tuning.m or M
        # pgvector asks for at least twice as many.
        self._ef_construction = max(tuning.ef_construction or EF_CONSTRUCTION, 2 * self._m)

    async def run(self) -> None:
        # Where there is an index, it serves until the new one does.
        state = await self._connection.fetchval(_STATE, self._space.key)
        if state != IndexState.READY:
            await self._set_state(IndexState.BUILDING)
        try:
            await self._sweep()
            await self._reserve_memory()
            for code in _codes(self._space):
                await self._build(code)
        except BaseException:
            if state != IndexState.READY and not self._connection.is_closed():
                await self._set_state(IndexState.NONE)
            raise
        await self._set_state(IndexState.READY)
        (other,) = set(IndexKind) - {self._kind}
        await _Builder(self._connection, self._space, other, SearchTuning()).clear()

    async def clear(self) -> None:
        for code in _codes(self._space):
            await self._drop(self._name(code))

    async def _set_state(self, state: IndexState) -> None:
        await self._connection.execute(_SET_STATE, self._space.key, state, self._kind)

    async def _build(self, code: int) -> None:
        name, table = self._name(code), vectors_table(self._space.key)
        existing = await self._connection.fetchrow(_EXISTING, name)
        wanted = f"m = {int(self._m)}, ef_construction = {int(self._ef_construction)}"
        if existing is not None and existing["valid"]:
            if {*existing["options"]} == {*wanted.replace(" ", "").split(",")}:
                return
            await self._connection.execute(f"ALTER INDEX {name} SET ({wanted})")
            await self._patiently(f"REINDEX INDEX CONCURRENTLY {name}")
            return
        expression, operators = indexed_expression(self._space.spec, self._kind)
        where = "" if self._space.spec.model_id is None else f" WHERE modality = {int(code)}"
        await self._drop(name)
        await self._patiently(
            f"CREATE INDEX CONCURRENTLY {name} ON {table} USING hnsw ({expression} {operators}) "
            f"WITH ({wanted}){where}",
            leftover=name,
        )

    async def _patiently(self, statement: str, leftover: str | None = None) -> None:
        """Containers give little shared memory, which only parallel workers need."""
        try:
            await self._connection.execute(statement)
        except asyncpg.InsufficientResourcesError:
            await self._connection.execute("SET max_parallel_maintenance_workers = 0")
            if leftover is not None:
                await self._drop(leftover)
            await self._connection.execute(statement)

    async def _reserve_memory(self) -> None:
        """Raise this connection's memory for building to what the graph needs, within reason."""
        table, dimensions = vectors_table(self._space.key), self._space.spec.dimensions
        rows = await self._connection.fetchval(f"SELECT count(*) FROM {table}")
        size = dimensions // 8 if self._kind is IndexKind.BINARY else 2 * dimensions
        needed = rows * (size + 16 * self._m + 200)
        granted = min(needed, MOST_BUILD_MEMORY) // 1024
        await self._connection.execute(
            "SELECT set_config('maintenance_work_mem', greatest($1::bigint, setting::bigint)"
            "::text, false) FROM pg_settings WHERE name = 'maintenance_work_mem'",
            granted,
        )

    async def _sweep(self) -> None:
        """Drop what builds that ended early left, rebuilds' unnamed halves among it."""
        table = vectors_table(self._space.key)
        for row in await self._connection.fetch(_INVALID, table):
            await self._drop(f'"{row["relname"]}"')

    async def _drop(self, name: str) -> None:
        await self._connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")

    def _name(self, code: int) -> str:
        return hnsw_index(self._space.key, code, self._kind)


def _codes(space: Space) -> list[int]:
    """The modalities with an index of their own: each is ranked by itself.

    The vectors that clients bring have one index for all, in the place of no modality.
    """
    if space.spec.model_id is None:
        return [CODES[None]]
    return [code for modality, code in CODES.items() if modality is not None]
