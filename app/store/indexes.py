"""HNSW indexes, built while the collection is read and written."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from app.domain.collections import IndexKind
from app.errors import NotFound
from app.store.errors import translated
from app.store.generations import in_no_span
from app.store.index_builder import IndexBuilder
from app.store.metrics import indexable_as
from app.store.names import index_lock, vectors_table
from app.store.space_records import IN_USE, Record

if TYPE_CHECKING:
    from datetime import timedelta

    from app.domain.collections import Collection, SearchTuning, Space
    from app.store.database import Database

_TUNE = """
UPDATE collections SET config = jsonb_set(config, '{search}', $2::jsonb), updated_at = now()
WHERE key = $1 RETURNING true
"""
_DUE = """
SELECT DISTINCT s.collection_key FROM spaces AS s JOIN collections AS c ON c.key = s.collection_key
WHERE s.kind = 'dense' AND (s.index_state <> 'ready' OR c.updated_at >= now() - $2::interval)
AND c.item_count > coalesce((c.config #>> '{search,hnsw_rows}')::bigint, $1)
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
    def __init__(self, database: Database, grace: float = 0.0) -> None:
        """`grace`: seconds for which searches may still be planned for indexes that were there."""
        self._database = database
        self._grace = grace

    async def build(
        self,
        collection: Collection,
        space: Space | None = None,
        kind: IndexKind | None = None,
        *,
        busy: bool = False,
        least: int = 0,
        record: Record = IN_USE,
    ) -> bool:
        """Bring the space's vectors into indexes, one per modality and span of generations.

        They are made as the collection's tuning says; those that are not of this kind, or made
        otherwise, are replaced. Those that are there serve until the new one does, and for the
        `grace` after it. No more than `least` vectors that are in none stay so. While writes go on
        (`busy`), what must be built is, on one core. Takes minutes for 100,000 vectors. Where
        another process is at it already, or where no such index can be made, return False at once.
        What a crash left is cleared away first; `record` is where the space's state is kept. Raises
        NotFound for a deleted collection.
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
                builder = IndexBuilder(connection, space, kind, collection.tuning, record)
                await builder.run(busy=busy, least=least, grace=self._grace)
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
                await IndexBuilder(connection, space, IndexKind.FLOAT16, collection.tuning).clear()
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

    async def due(self, hnsw_rows: int, written: timedelta) -> list[int]:
        """Keys of collections with a space that may need an index and has none yet.

        Or whose indexes may lack what was written since so long ago. `hnsw_rows` is what counts
        where a collection sets no number of its own.
        """
        with translated():
            rows = await self._database.pool.fetch(_DUE, hnsw_rows, written)
        return [row["collection_key"] for row in rows]

    async def fresh(self, collection: Collection, space: Space, most: int) -> int:
        """How many vectors of a space with indexes are in none; `most` where there are more."""
        query = (
            f"SELECT count(*) FROM (SELECT FROM {vectors_table(space.key)} "
            f"WHERE {in_no_span(space)} LIMIT $1) AS fresh"
        )
        with translated(collection):
            rows: int = await self._database.pool.fetchval(query, most)
        return rows

    async def tune(self, collection: Collection, tuning: SearchTuning) -> None:
        """Keep what a collection sets for itself. Raises NotFound."""
        given = {name: value for name, value in asdict(tuning).items() if value is not None}
        with translated(collection):
            known = await self._database.pool.fetchval(_TUNE, collection.key, json.dumps(given))
        if not known:
            raise NotFound("collection", collection.id)
