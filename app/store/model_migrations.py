"""Migrations of collections to other models: begun, claimed, told of and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import asyncpg

from app.domain.collections import (
    IndexState,
    Metric,
    Space,
    SpaceSpec,
    VectorPrecision,
)
from app.domain.ids import new_id
from app.domain.model_migrations import (
    MigrationFailure,
    MigrationJob,
    MigrationState,
    ModelMigration,
)
from app.errors import MigrationRunning, NotFound, Outdated
from app.store.errors import translated
from app.store.names import items_table, migration_trigger
from app.store.rows import MODALITIES
from app.store.spaces import space_table
from app.store.transactions import alone

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.domain.collections import Collection
    from app.domain.modality import Modality
    from app.store.database import Database

LEASE_SECONDS = 20.0  # what a process that dies leaves is taken up after this time
LOCK_PATIENCE = 3.0

_INSERT = """
INSERT INTO model_migrations (
    id, collection_key, from_model_id, model_id, dimensions, metric, precision, from_space,
    space_key, last
)
SELECT $1, c.key, $3, $4, $5, $6, $7, c.current_space,
       nextval(pg_get_serial_sequence('spaces', 'key')),
       (SELECT coalesce(max(seq), 0) FROM {items})
FROM collections AS c WHERE c.key = $2 AND c.current_space = $8
RETURNING *, 0 AS failed
"""
# Replaced where an earlier migration left them.
_TRIGGERS = """
CREATE OR REPLACE TRIGGER {inserted} AFTER INSERT ON {items} REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION remember_written({key});
CREATE OR REPLACE TRIGGER {updated} AFTER UPDATE ON {items} REFERENCING NEW TABLE AS written
    FOR EACH STATEMENT EXECUTE FUNCTION remember_written({key});
CREATE OR REPLACE TRIGGER {deleted} AFTER DELETE ON {items} REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION forget_migrated({key});
"""
_EVENTS = ("inserted", "updated", "deleted")

_COLUMNS = """
m.*, c.item_count, (
    SELECT count(*) FROM model_migration_items AS i
    WHERE i.migration_key = m.key AND i.code IS NOT NULL
) AS failed
"""
_FROM = """
FROM model_migrations AS m JOIN collections AS c ON c.key = m.collection_key
WHERE m.collection_key = $1
"""
_CLAIM = """
UPDATE model_migrations SET
    owner = $1, due_at = now() + make_interval(secs => $2), updated_at = now(),
    started_at = coalesce(started_at, now()),
    state = CASE state WHEN 'pending' THEN 'embedding' ELSE state END
WHERE key = (
    SELECT key FROM model_migrations WHERE finished_at IS NULL AND due_at <= now()
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING *
"""
# What only the owner of a lease may do.
_OWN = "WHERE key = $1 AND owner = $2 AND finished_at IS NULL RETURNING true"
_RENEW = f"UPDATE model_migrations SET due_at = now() + make_interval(secs => $3) {_OWN}"
_ENTER = f"UPDATE model_migrations SET state = $3, updated_at = now() {_OWN}"
_RELEASE = f"UPDATE model_migrations SET owner = NULL, due_at = now() {_OWN}"
_POSTPONE = """
UPDATE model_migrations SET
    owner = NULL, error = $4, attempts = attempts + $5, updated_at = now(),
    due_at = now() + make_interval(secs => least($3, 2 ^ least(attempts, 20)))
WHERE key = $1 AND owner = $2 AND finished_at IS NULL RETURNING attempts
"""
_END = """
UPDATE model_migrations AS m SET
    state = $2, error = $3, total = c.item_count, leftover = m.space_key, owner = NULL,
    updated_at = now(), finished_at = now()
FROM collections AS c
WHERE c.key = m.collection_key AND m.key = $1 AND m.finished_at IS NULL
"""


class MigrationStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, collection: Collection, spec: SpaceSpec) -> ModelMigration:
        """Make the table of a new space, and have written what is written from now on.

        Waits a moment for writes under way. Raises MigrationRunning where there is one already,
        Outdated where one has just ended, Unavailable where writers do not end.
        """
        own = collection.space
        values = (spec.model_id, spec.dimensions, spec.metric, spec.precision)
        items = items_table(collection.key)
        async with alone(self._database, collection, LOCK_PATIENCE) as connection:
            try:
                row = await connection.fetchrow(
                    _INSERT.format(items=items),
                    new_id("mig"),
                    collection.key,
                    own.spec.model_id,
                    *values,
                    own.key,
                )
            except asyncpg.UniqueViolationError:
                raise running(collection) from None
            if row is None:
                raise Outdated(collection.id)
            names = {event: migration_trigger(event) for event in _EVENTS}
            triggers = _TRIGGERS.format(items=items, key=int(collection.key), **names)
            await connection.execute(space_table(_space_from(row)) + triggers)
        return _migration_from({**row, "item_count": collection.item_count})

    async def get(self, collection: Collection, migration_id: str) -> ModelMigration:
        """Raises NotFound of kind `migration`."""
        _, migration = await self._find(collection, migration_id)
        return migration

    async def list(
        self, collection: Collection, *, limit: int, offset: int
    ) -> tuple[Sequence[ModelMigration], int]:
        """A page, the newest first, and how many there are in all."""
        query = f"SELECT {_COLUMNS} {_FROM} ORDER BY m.key DESC LIMIT $2 OFFSET $3"
        total = f"SELECT count(*) {_FROM}"
        pool = self._database.pool
        with translated():
            rows = await pool.fetch(query, collection.key, limit, offset)
            count: int = await pool.fetchval(total, collection.key)
        return [_migration_from(row) for row in rows], count

    async def is_running(self, collection: Collection) -> bool:
        query = f"SELECT EXISTS (SELECT {_FROM} AND m.finished_at IS NULL)"
        with translated():
            found: bool = await self._database.pool.fetchval(query, collection.key)
        return found

    async def modalities(self, collection: Collection) -> dict[Modality | None, int]:
        """How many items of each kind the collection holds; reads them all, however long."""
        query = (
            f"SELECT modality, count(*) AS n FROM {items_table(collection.key)} GROUP BY modality"
        )
        connection = await self._database.connect()
        try:
            with translated(collection):
                rows = await connection.fetch(query)
        finally:
            await connection.close()
        return {MODALITIES[row["modality"]]: row["n"] for row in rows}

    async def failures(
        self, collection: Collection, migration_id: str, *, limit: int, offset: int
    ) -> tuple[Sequence[MigrationFailure], int]:
        """A page of the items that could not be embedded, the oldest first; raises NotFound."""
        key, migration = await self._find(collection, migration_id)
        query = (
            "SELECT item_id, code, message FROM model_migration_items "
            "WHERE migration_key = $1 AND code IS NOT NULL ORDER BY item_seq LIMIT $2 OFFSET $3"
        )
        with translated():
            rows = await self._database.pool.fetch(query, key, limit, offset)
        failures = [MigrationFailure(r["item_id"], r["code"], r["message"]) for r in rows]
        return failures, migration.failed

    async def cancel(self, collection: Collection, migration_id: str) -> bool:
        """End it, and leave the collection as it is; False where it has ended already."""
        key, _ = await self._find(collection, migration_id)
        return await self.end(key, MigrationState.CANCELED)

    # -- for who runs them ------------------------------------------------------------------------

    async def claim(self) -> MigrationJob | None:
        """Take one that nobody is at, for `LEASE_SECONDS`; None where there is none."""
        owner = uuid4()
        with translated():
            row = await self._database.pool.fetchrow(_CLAIM, owner, LEASE_SECONDS)
        if row is None:
            return None
        space = _space_from(row)
        return MigrationJob(row["key"], owner, row["collection_key"], space)

    async def renew(self, job: MigrationJob) -> bool:
        """Keep a claim; False where it is lost: ended, or another process has it."""
        return await self._change(_RENEW, job.key, job.owner, LEASE_SECONDS)

    async def enter(self, job: MigrationJob, state: MigrationState) -> None:
        """Tell how far it has come."""
        await self._change(_ENTER, job.key, job.owner, state)

    async def release(self, job: MigrationJob) -> None:
        """Give up a claim: any process may take it."""
        await self._change(_RELEASE, job.key, job.owner)

    async def postpone(
        self, job: MigrationJob, longest: float, error: str, *, counted: bool = True
    ) -> int | None:
        """Give up a claim for a while, `longest` seconds at most, because of what failed.

        Return how many attempts have failed in a row, of those that are `counted`; None where the
        claim is lost.
        """
        with translated():
            attempts: int | None = await self._database.pool.fetchval(
                _POSTPONE, job.key, job.owner, longest, error, int(counted)
            )
        return attempts

    async def end(self, key: int, state: MigrationState, error: str | None = None) -> bool:
        """End it before its space took the place of the old one; False where it has ended."""
        with translated():
            status: str = await self._database.pool.execute(_END, key, state, error)
        return status == "UPDATE 1"

    async def models(self) -> Sequence[str]:
        """The models that collections are changing to."""
        query = "SELECT DISTINCT model_id FROM model_migrations WHERE finished_at IS NULL"
        with translated():
            rows = await self._database.pool.fetch(query)
        return [row["model_id"] for row in rows]

    async def _change(self, statement: str, *values: Any) -> bool:
        with translated():
            return bool(await self._database.pool.fetchval(statement, *values))

    async def _find(self, collection: Collection, migration_id: str) -> tuple[int, ModelMigration]:
        query = f"SELECT {_COLUMNS} {_FROM} AND m.id = $2"
        with translated():
            row = await self._database.pool.fetchrow(query, collection.key, migration_id)
        if row is None:
            raise NotFound("migration", migration_id)
        return row["key"], _migration_from(row)


def running(collection: Collection) -> MigrationRunning:
    return MigrationRunning(f"collection {collection.name!r} is changing its model already")


def _space_from(row: Mapping[str, Any]) -> Space:
    spec = SpaceSpec(
        row["model_id"],
        row["dimensions"],
        Metric(row["metric"]),
        VectorPrecision(row["precision"]),
    )
    return Space(row["space_key"], spec, IndexState.NONE)


def _migration_from(row: Mapping[str, Any]) -> ModelMigration:
    return ModelMigration(
        id=row["id"],
        state=MigrationState(row["state"]),
        from_model_id=row["from_model_id"],
        model_id=row["model_id"],
        total=row["item_count"] if row["finished_at"] is None else row["total"],
        done=row["done"],
        failed=row["failed"],
        error=row["error"],
        created_at=row["created_at"],
        started_at=row["started_at"],
        updated_at=row["updated_at"],
        finished_at=row["finished_at"],
    )
