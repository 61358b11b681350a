"""One build of a space's HNSW indexes, over a connection of its own."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from dataclasses import replace
from typing import TYPE_CHECKING

import asyncpg

from app.domain.collections import IndexKind, IndexState
from app.errors import NotFound
from app.store.generations import in_span, kept
from app.store.metrics import indexed_expression
from app.store.names import generation_index, hnsw_index, vectors_table
from app.store.rows import CODES
from app.store.space_records import IN_USE, Record

if TYPE_CHECKING:
    from collections.abc import Collection as Container
    from collections.abc import Sequence

    from app.domain.collections import SearchTuning, Space, Span

M = 16
EF_CONSTRUCTION = 64
MOST_BUILD_MEMORY = 2**30  # bytes; a graph that does not fit is built many times slower
ADOPTED = 0  # the generation that an index from before there were any ends with

_SPACE = "SELECT index_state, index_kind, indexed FROM {table} WHERE {key} = $1"
_SET_STATE = """
UPDATE {table} SET index_state = $2, index_kind = $3, indexed = $4 WHERE {key} = $1
"""
_NEXT_GENERATION = """
UPDATE {table} SET generation = generation + 1 WHERE {key} = $1 RETURNING generation - 1
"""
_INDEXES = """
SELECT c.relname AS name, a.amname = 'hnsw' AS hnsw, i.indisvalid AS valid,
       coalesce(c.reloptions, '{}') AS options
FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS a ON a.oid = c.relam
WHERE i.indrelid = to_regclass($1)
"""


class IndexBuilder:
    """Builds or drops the indexes of one space, all of one kind.

    An index covers a span of generations that has ended: what is written while it is built, and
    later, is of the next one and not in it. That an index is ready, and which it replaces, becomes
    true by one update of one row.
    """

    def __init__(
        self,
        connection: asyncpg.Connection,
        space: Space,
        kind: IndexKind,
        tuning: SearchTuning,
        record: Record = IN_USE,
    ) -> None:
        self._connection = connection
        self._record = record
        self._space = space
        self._kind = kind
        self._table = vectors_table(space.key)
        self._m = tuning.m or M
        # pgvector asks for at least twice as many.
        self._ef_construction = max(tuning.ef_construction or EF_CONSTRUCTION, 2 * self._m)

    async def run(self, *, busy: bool, least: int, grace: float) -> None:
        """Build what is due; see IndexStore.build."""
        state = await self._reload()
        await self._sweep(self._names(self._space.indexed, self._space.index_kind))
        stay, rows = await self._choose(busy=busy, least=least)
        if stay is None:
            return
        if state is not IndexState.READY:
            await self._set_state(IndexState.BUILDING, ())
        try:
            indexed = await self._build(stay, rows, busy=busy)
        except BaseException:
            if state is not IndexState.READY and not self._connection.is_closed():
                await self._set_state(IndexState.NONE, ())
            raise
        replaced = self._space.indexed[len(stay) :]
        await self._set_state(IndexState.READY, indexed)
        if replaced:
            await asyncio.sleep(grace)
            await self._sweep(self._names(indexed, self._kind))

    async def clear(self) -> None:
        """Drop all there are."""
        await self._set_state(IndexState.NONE, ())
        await self._sweep(())
        await self._drop(generation_index(self._space.key))

    async def _reload(self) -> IndexState:
        """Look at the space as it is now: another process may have built meanwhile."""
        row = await self._connection.fetchrow(self._record.within(_SPACE), self._space.key)
        if row is None:
            raise NotFound("space", self._space.name)
        state = IndexState(row["index_state"])
        self._space = replace(
            self._space,
            index_kind=IndexKind(row["index_kind"]),
            indexed=tuple(row["indexed"]) if state is IndexState.READY else (),
        )
        return state

    async def _choose(self, *, busy: bool, least: int) -> tuple[tuple[int, ...] | None, int]:
        """Return which spans' ends stay, and how many vectors the others and the rest have.

        None in the place of the ends where there is nothing to build.
        """
        ends = self._space.indexed
        sizes = [0] * (len(ends) + 1)  # the last is what is in no span
        counts = f"SELECT generation, count(*) AS n FROM {self._table} GROUP BY generation"
        for row in await self._connection.fetch(counts):
            sizes[bisect_left(ends, row["generation"])] += row["n"]
        if not await self._as_wanted():
            return (), sum(sizes)
        *spans, fresh = sizes
        stay = kept(spans, fresh, busy=busy)
        if stay == len(spans) and fresh <= least:
            return None, 0
        return ends[:stay], sum(sizes[stay:])

    async def _as_wanted(self) -> bool:
        """Whether there are indexes, and all as they would be made now."""
        indexed = self._space.indexed
        if not indexed or indexed[0] == ADOPTED or self._space.index_kind is not self._kind:
            return False
        wanted = {*self._options().replace(" ", "").split(",")}
        found = await self._connection.fetch(_INDEXES, self._table)
        good = {row["name"] for row in found if {*row["options"]} == wanted}
        return self._names(indexed, self._kind) <= good

    async def _build(self, stay: Sequence[int], rows: int, *, busy: bool) -> tuple[int, ...]:
        """Build one index per modality over all that the spans that stay leave; return all ends."""
        if busy:
            await self._connection.execute("SET max_parallel_maintenance_workers = 0")
        await self._reserve_memory(rows)
        await self._patiently(
            f"CREATE INDEX CONCURRENTLY IF NOT EXISTS {generation_index(self._space.key)} "
            f"ON {self._table} (generation)",
            generation_index(self._space.key),
        )
        until = await self._connection.fetchval(
            self._record.within(_NEXT_GENERATION), self._space.key
        )
        indexed = (*stay, until)
        span = replace(self._space, indexed=indexed).spans[-1]
        for code in _codes(self._space):
            await self._build_one(code, span)
        # Searches are planned by how many vectors there are of which modality and generation.
        await self._connection.execute(f"ANALYZE {self._table} (modality, generation)")
        return indexed

    async def _build_one(self, code: int, span: Span) -> None:
        name = hnsw_index(self._space.key, code, self._kind, span.until)
        expression, operators = indexed_expression(self._space.spec, self._kind)
        where = "" if self._space.spec.model_id is None else f"modality = {int(code)} AND "
        await self._patiently(
            f"CREATE INDEX CONCURRENTLY {name} ON {self._table} "
            f"USING hnsw ({expression} {operators}) WITH ({self._options()}) "
            f"WHERE {where}{in_span(span)}",
            name,
        )

    async def _patiently(self, statement: str, name: str) -> None:
        """Containers give little shared memory, which only parallel workers need."""
        try:
            await self._connection.execute(statement)
        except asyncpg.InsufficientResourcesError:
            await self._connection.execute("SET max_parallel_maintenance_workers = 0")
            await self._drop(name)
            await self._connection.execute(statement)

    async def _reserve_memory(self, rows: int) -> None:
        """Raise this connection's memory for building to what the graph needs, within reason."""
        dimensions = self._space.spec.dimensions
        size = dimensions // 8 if self._kind is IndexKind.BINARY else 2 * dimensions
        needed = rows * (size + 16 * self._m + 200)
        granted = min(needed, MOST_BUILD_MEMORY) // 1024
        await self._connection.execute(
            "SELECT set_config('maintenance_work_mem', greatest($1::bigint, setting::bigint)"
            "::text, false) FROM pg_settings WHERE name = 'maintenance_work_mem'",
            granted,
        )

    async def _sweep(self, keep: Container[str]) -> None:
        """Drop the others: replaced ones, and what builds that ended early left."""
        for row in await self._connection.fetch(_INDEXES, self._table):
            if not row["valid"] or (row["hnsw"] and row["name"] not in keep):
                await self._drop(f'"{row["name"]}"')

    async def _drop(self, name: str) -> None:
        await self._connection.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")

    async def _set_state(self, state: IndexState, indexed: Sequence[int]) -> None:
        await self._connection.execute(
            self._record.within(_SET_STATE), self._space.key, state, self._kind, list(indexed)
        )

    def _options(self) -> str:
        return f"m = {int(self._m)}, ef_construction = {int(self._ef_construction)}"

    def _names(self, indexed: Sequence[int], kind: IndexKind) -> set[str]:
        return {
            hnsw_index(self._space.key, code, kind, until).strip('"')
            for until in indexed
            for code in _codes(self._space)
        }


def _codes(space: Space) -> list[int]:
    """The modalities with an index of their own: each is ranked by itself.

    The vectors that clients bring have one index for all, in the place of no modality.
    """
    if space.spec.model_id is None:
        return [CODES[None]]
    return [code for modality, code in CODES.items() if modality is not None]
