"""Filling a migration's new space, putting it in the old one's place, dropping what is left.

Items up to the number `last` are taken in their order. What is written once the migration has
begun is remembered by triggers and taken from their list. A vector counts for an item as it was
when it was read: where it has been written since, its vector is passed over, and the item is in
the list.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg

from app.domain.media import MediaRef
from app.domain.model_migrations import MigrationJob, MigrationState, Unembedded
from app.store.binding import wrapped
from app.store.errors import translated
from app.store.generations import coming_generation
from app.store.names import (
    collection_lock,
    forget_segments_trigger,
    items_table,
    migration_trigger,
    segments_table,
    vectors_table,
)
from app.store.rows import CODES, MODALITIES, VECTOR_TYPES
from app.store.segments import make_segments_table, make_segments_table_alone, put_segments
from app.store.space_records import TO_COME
from app.store.transactions import alone, writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.segments import Segments
    from app.store.database import Database

DROP_LOCK_TIMEOUT = "500ms"

_ITEM = "i.seq, i.id, i.xmin::text AS version, i.modality, i.text, i.media_key, i.media_type"
_IN_ORDER = """
SELECT {item} FROM {items} AS i
WHERE i.seq > (SELECT reached FROM model_migrations WHERE key = $1)
    AND i.seq <= (SELECT last FROM model_migrations WHERE key = $1)
ORDER BY i.seq LIMIT $2
"""
_WRITTEN = """
SELECT {item} FROM model_migration_items AS w JOIN {items} AS i ON i.seq = w.item_seq
WHERE w.migration_key = $1 AND w.code IS NULL ORDER BY w.item_seq LIMIT $2
"""
# In the order of writers, that none waits for the other. The second statement sees what those
# that were waited for have committed.
_LOCK = "SELECT FROM {items} WHERE seq = ANY ($1::bigint[]) ORDER BY id FOR SHARE"
_UNCHANGED = """
SELECT i.seq FROM {items} AS i
JOIN unnest($1::bigint[], $2::text[]) AS r (seq, version) ON r.seq = i.seq
WHERE i.xmin::text = r.version
"""
_PUT = """
WITH put AS (
    INSERT INTO {vectors} (space_key, item_seq, modality, embedding, generation)
    SELECT {space_key}, *, {generation}
    FROM unnest($1::bigint[], $2::smallint[], $3::{type}[])
    ON CONFLICT (item_seq) DO UPDATE SET modality = excluded.modality,
        embedding = excluded.embedding, generation = excluded.generation
    RETURNING xmax = 0 AS inserted
)
SELECT count(*) FILTER (WHERE inserted) FROM put
"""
_TAKE_BACK = """
WITH gone AS (DELETE FROM {vectors} WHERE item_seq = ANY ($1::bigint[]) RETURNING 1)
SELECT count(*) FROM gone
"""
_DONE = """
DELETE FROM model_migration_items WHERE migration_key = $1 AND item_seq = ANY ($2::bigint[])
"""
_FAIL = """
INSERT INTO model_migration_items (migration_key, item_seq, item_id, code, message)
SELECT $1, * FROM unnest($2::bigint[], $3::text[], $4::text[], $5::text[])
ON CONFLICT (migration_key, item_seq) DO UPDATE SET
    item_id = excluded.item_id, code = excluded.code, message = excluded.message
"""
_PROGRESS = """
UPDATE model_migrations SET done = done + $3, reached = greatest(reached, $4), attempts = 0,
    error = NULL, updated_at = now()
WHERE key = $1 AND owner = $2 AND finished_at IS NULL RETURNING true
"""
_SWITCH = """
UPDATE model_migrations AS m SET
    state = $3, error = NULL, total = c.item_count, leftover = m.from_space, owner = NULL,
    updated_at = now(), finished_at = now()
FROM collections AS c
WHERE m.key = $1 AND m.owner = $2 AND m.finished_at IS NULL
    AND c.key = m.collection_key AND c.current_space = m.from_space
RETURNING m.from_space
"""
# The new space takes over the name, which is unique in the collection.
_NAME = "SELECT name FROM spaces WHERE key = $1"
_RENAME = "UPDATE spaces SET name = name || chr(1) || key WHERE key = $1"
_INSERT = """
INSERT INTO spaces (key, collection_key, name, model_id, dimensions, metric, precision,
    index_state, index_kind, generation, indexed, segmented)
SELECT space_key, collection_key, $2, model_id, dimensions, metric, precision,
    index_state, index_kind, generation, indexed, segmented
FROM model_migrations WHERE key = $1
"""
_POINT = """
UPDATE collections SET current_space = $2, updated_at = now() WHERE key = $1
"""
_LEFTOVERS = """
SELECT m.key, m.collection_key, m.leftover FROM model_migrations AS m WHERE m.leftover IS NOT NULL
"""


class LeaseLost(Exception):
    """The migration has ended, or another process is at it: what was under way is undone."""


@dataclass(frozen=True, slots=True)
class Page:
    """Items to embed: those up to number `reached`, or some `written` since the beginning."""

    items: Sequence[Unembedded]
    reached: int = 0

    @property
    def written(self) -> bool:
        return not self.reached


@dataclass(frozen=True, slots=True)
class Embedded:
    """A page's outcome: vectors (float32 [d], unit length) and reasons for there being none.

    Recordings have segments beside their vector.
    """

    page: Page
    vectors: Mapping[int, NDArray[np.float32]]
    segments: Mapping[int, Segments]
    failures: Mapping[int, tuple[str, str]]


class ReembeddingStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, collection: Collection, job: MigrationJob, limit: int) -> Page:
        """What is to be embedded next; nothing where there is nothing at the moment."""
        with translated(collection):
            async with self._database.pool.acquire() as connection:
                return await _page(connection, job, limit)

    async def put(self, collection: Collection, job: MigrationJob, embedded: Embedded) -> None:
        """Store a page's vectors and failures, and that it is done. Raises LeaseLost."""
        if embedded.segments:
            await make_segments_table(self._database, collection, job.space, TO_COME)
        async with writing(self._database, collection) as connection:
            await _put(connection, collection, job, embedded)

    async def analyze(self, collection: Collection, job: MigrationJob) -> None:
        """Let Postgres know the new table, so that the first search is planned well."""
        connection = await self._database.connect()
        try:
            with translated(collection):
                await connection.execute(f"ANALYZE {vectors_table(job.space.key)}")
        finally:
            await connection.close()

    @asynccontextmanager
    async def switching(
        self, collection: Collection, job: MigrationJob, patience: float
    ) -> AsyncIterator[Switch]:
        """The transaction of the switch, which nobody writes during; see `alone`.

        What is put in it stays, even if the switch is left for later.
        """
        async with alone(self._database, collection, patience) as connection:
            yield Switch(connection, collection, job)

    async def drop_leftovers(self) -> None:
        """Drop the tables of spaces that were replaced or given up.

        Never waits long for a lock: what is still read is dropped next time.
        """
        with translated():
            for row in await self._database.pool.fetch(_LEFTOVERS):
                with suppress(asyncpg.LockNotAvailableError):
                    await self._drop(row)

    async def _drop(self, row: Mapping[str, Any]) -> None:
        async with self._database.pool.acquire() as connection, connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{DROP_LOCK_TIMEOUT}'")
            await connection.execute(
                "SELECT pg_advisory_xact_lock($1)", collection_lock(row["collection_key"])
            )
            taken = await connection.fetchval(
                "UPDATE model_migrations SET leftover = NULL "
                "WHERE key = $1 AND leftover IS NOT NULL RETURNING true",
                row["key"],
            )
            if not taken:  # by another process
                return
            await connection.execute(
                "DELETE FROM model_migration_items WHERE migration_key = $1 AND code IS NULL",
                row["key"],
            )
            if not await connection.fetchval(
                "SELECT EXISTS (SELECT FROM model_migrations "
                "WHERE collection_key = $1 AND finished_at IS NULL)",
                row["collection_key"],
            ):
                # Dropping them would wait for searches, and hold up others.
                items = items_table(row["collection_key"])
                for event in ("inserted", "updated", "deleted"):
                    trigger = migration_trigger(event)
                    await connection.execute(f"ALTER TABLE {items} DISABLE TRIGGER {trigger}")
            await self._drop_segments(connection, row)
            await connection.execute(f"DROP TABLE IF EXISTS {vectors_table(row['leftover'])}")

    async def _drop_segments(self, connection: asyncpg.Connection, row: Mapping[str, Any]) -> None:
        """Dropping their trigger would wait for searches, too."""
        segments = segments_table(row["leftover"])
        if await connection.fetchval("SELECT to_regclass($1) IS NOT NULL", segments):
            items = items_table(row["collection_key"])
            trigger = forget_segments_trigger(row["leftover"])
            await connection.execute(f"ALTER TABLE {items} DISABLE TRIGGER {trigger}")
            await connection.execute(f"DROP TABLE {segments}")


class Switch:
    """What is done while nobody writes: the last items, then the new space in the old's place."""

    def __init__(
        self, connection: asyncpg.Connection, collection: Collection, job: MigrationJob
    ) -> None:
        self._connection = connection
        self._collection = collection
        self._job = job

    async def page(self, limit: int) -> Page:
        """What was written last and is still to be embedded."""
        return await _page(self._connection, self._job, limit)

    async def put(self, embedded: Embedded) -> None:
        if embedded.segments:
            await make_segments_table_alone(
                self._connection, self._collection, self._job.space, TO_COME
            )
        await _put(self._connection, self._collection, self._job, embedded)

    async def finish(self) -> None:
        """Put the space in its place, with the indexes it has. Raises LeaseLost."""
        job, execute = self._job, self._connection.execute
        old = await self._connection.fetchval(_SWITCH, job.key, job.owner, MigrationState.COMPLETED)
        if old is None:
            raise LeaseLost
        name = await self._connection.fetchval(_NAME, old)
        await execute(_RENAME, old)
        await execute(_INSERT, job.key, name)
        await execute(_POINT, job.collection_key, job.space.key)
        await execute("DELETE FROM spaces WHERE key = $1", old)


async def _page(connection: asyncpg.Connection, job: MigrationJob, limit: int) -> Page:
    items = items_table(job.collection_key)
    in_order = _IN_ORDER.format(item=_ITEM, items=items)
    if rows := await connection.fetch(in_order, job.key, limit):
        return Page([_unembedded(row) for row in rows], rows[-1]["seq"])
    written = _WRITTEN.format(item=_ITEM, items=items)
    return Page([_unembedded(row) for row in await connection.fetch(written, job.key, limit)])


async def _put(
    connection: asyncpg.Connection, collection: Collection, job: MigrationJob, embedded: Embedded
) -> None:
    items, vectors = items_table(job.collection_key), vectors_table(job.space.key)
    by_seq = {item.seq: item for item in embedded.page.items}
    await connection.execute(_LOCK.format(items=items), list(by_seq))
    rows = await connection.fetch(
        _UNCHANGED.format(items=items), list(by_seq), [item.version for item in by_seq.values()]
    )
    unchanged = [row["seq"] for row in rows]
    made = [seq for seq in unchanged if seq in embedded.vectors]
    failed = [seq for seq in unchanged if seq in embedded.failures]
    done: int = await connection.fetchval(
        _PUT.format(
            vectors=vectors,
            space_key=int(job.space.key),
            generation=coming_generation(job.space.key),
            type=VECTOR_TYPES[job.space.spec.precision],
        ),
        made,
        [CODES[by_seq[seq].modality] for seq in made],
        [wrapped(job.space, embedded.vectors[seq])[0] for seq in made],
    )
    if heard := {
        by_seq[seq].id: embedded.segments[seq] for seq in made if seq in embedded.segments
    }:
        await put_segments(connection, collection, job.space, heard)
    await connection.execute(_DONE, job.key, made)
    if failed:
        done -= await connection.fetchval(_TAKE_BACK.format(vectors=vectors), failed)
        ids = [by_seq[seq].id for seq in failed]
        codes, messages = zip(*(embedded.failures[seq] for seq in failed), strict=True)
        await connection.execute(_FAIL, job.key, failed, ids, codes, messages)
    # Last of all, as those that delete items have it.
    if not await connection.fetchval(_PROGRESS, job.key, job.owner, done, embedded.page.reached):
        raise LeaseLost


def _unembedded(row: Mapping[str, Any]) -> Unembedded:
    key = row["media_key"]
    return Unembedded(
        seq=row["seq"],
        id=row["id"],
        version=row["version"],
        modality=MODALITIES[row["modality"]],
        text=row["text"],
        media=None if key is None else MediaRef(key, row["media_type"]),
    )
