"""Collections, their spaces, and the tables that are theirs alone."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import asyncpg
from sqlalchemy import exc, text

from app.domain.ids import new_id
from app.errors import NameTaken, NotFound
from app.store.errors import translated
from app.store.names import collection_lock, items_table, segments_table, vectors_table
from app.store.rows import COLLECTION_COLUMNS, collection_from
from app.store.spaces import space_table

if TYPE_CHECKING:
    from collections.abc import Collection as Container
    from collections.abc import Iterator, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from app.domain.collections import Collection, SpaceSpec
    from app.store.database import Database

# Media of this many items is queued as its collection is deleted; that of larger ones when the
# tables are dropped.
QUEUE_AT_ONCE = 10_000
DROP_LOCK_TIMEOUT = "500ms"  # below deadlock_timeout: the reader wins

UNSET: Any = object()

_FROM = "FROM collections c JOIN spaces s ON s.key = c.current_space"
_INSERT = """
WITH keys AS MATERIALIZED (
    SELECT nextval(pg_get_serial_sequence('collections', 'key')) AS collection,
           nextval(pg_get_serial_sequence('spaces', 'key')) AS space
), c AS (
    INSERT INTO collections (key, id, project_id, name, description, current_space)
    SELECT collection, :id, :project_id, :name, :description, space FROM keys
    RETURNING *
), s AS (
    INSERT INTO spaces (key, collection_key, name, model_id, dimensions, metric, precision)
    SELECT space, collection, :space_name, :model_id, :dimensions, :metric, :precision FROM keys
    RETURNING *
)
"""
_DELETE = """
WITH gone AS (
    DELETE FROM collections WHERE key = :key RETURNING key, item_count <= :at_once AS queue
)
INSERT INTO dropped_collections (collection_key, space_keys, media_queued)
SELECT key, (
    SELECT array_agg(s.key) FROM (
        SELECT key FROM spaces WHERE collection_key = gone.key
        UNION SELECT space_key FROM model_migrations
            WHERE collection_key = gone.key AND finished_at IS NULL
        UNION SELECT leftover FROM model_migrations
            WHERE collection_key = gone.key AND leftover IS NOT NULL
    ) AS s
), queue
FROM gone RETURNING media_queued
"""
_TAKE_LEFTOVER = """
DELETE FROM dropped_collections WHERE collection_key = (
    SELECT collection_key FROM dropped_collections WHERE collection_key = $1
    FOR UPDATE SKIP LOCKED
) RETURNING space_keys, media_queued
"""
_TABLES = """
CREATE TABLE {items} (
    LIKE items INCLUDING ALL, CHECK (collection_key = {collection_key})
) INHERITS (items);
CREATE TRIGGER queue_deleted_media AFTER DELETE ON {items} FOR EACH ROW
    WHEN (OLD.media_key IS NOT NULL)
    EXECUTE FUNCTION queue_media();
CREATE TRIGGER queue_replaced_media AFTER UPDATE OF media_key ON {items} FOR EACH ROW
    WHEN (OLD.media_key IS NOT NULL AND OLD.media_key IS DISTINCT FROM NEW.media_key)
    EXECUTE FUNCTION queue_media();
"""


class CollectionStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        project_id: str,
        name: str,
        description: str | None,
        spec: SpaceSpec,
        space_name: str = "",
    ) -> Collection:
        """Create a collection with one space, a dense one. Raises NameTaken."""
        statement = text(f"{_INSERT} SELECT {COLLECTION_COLUMNS} FROM c, s")
        values = {
            "id": new_id("col"),
            "project_id": project_id,
            "name": name,
            "description": description,
            "space_name": space_name,
            "model_id": spec.model_id,
            "dimensions": spec.dimensions,
            "metric": spec.metric.value,
            "precision": spec.precision.value,
        }
        with translated(), _names_checked(project_id, name):
            async with self._database.engine.begin() as connection:
                row = (await connection.execute(statement, values)).one()
                collection = collection_from(row._asdict())
                await _create_tables(connection, collection)
        return collection

    async def get(self, project_id: str, collection_id: str) -> Collection:
        """Raises NotFound, also for another project's."""
        query = f"SELECT {COLLECTION_COLUMNS} {_FROM} WHERE c.id = $1 AND c.project_id = $2"
        with translated():
            row = await self._database.pool.fetchrow(query, collection_id, project_id)
        if row is None:
            raise NotFound("collection", collection_id)
        return collection_from(row)

    async def find(self, project_id: str, name: str) -> Collection | None:
        """The project's collection of that name."""
        query = f"SELECT {COLLECTION_COLUMNS} {_FROM} WHERE c.project_id = $1 AND c.name = $2"
        with translated():
            row = await self._database.pool.fetchrow(query, project_id, name)
        return None if row is None else collection_from(row)

    async def by_keys(self, keys: Container[int]) -> Sequence[Collection]:
        """Those that exist, of whatever project, in no particular order."""
        query = f"SELECT {COLLECTION_COLUMNS} {_FROM} WHERE c.key = ANY ($1)"
        with translated():
            rows = await self._database.pool.fetch(query, [*keys])
        return [collection_from(row) for row in rows]

    async def list(
        self, project_id: str, *, limit: int, offset: int, name: str | None = None
    ) -> tuple[list[Collection], int]:
        """A page in the order of creation, and how many there are in all."""
        where = "WHERE c.project_id = $1 AND ($2::text IS NULL OR c.name = $2)"
        query = f"""
        SELECT total, c.* FROM (SELECT count(*) AS total FROM collections c {where}) AS totals
        LEFT JOIN (
            SELECT {COLLECTION_COLUMNS} {_FROM} {where} ORDER BY c.key LIMIT $3 OFFSET $4
        ) AS c ON true ORDER BY c.key
        """
        with translated():
            rows = await self._database.pool.fetch(query, project_id, name, limit, offset)
        return [collection_from(row) for row in rows if row["key"] is not None], rows[0]["total"]

    async def update(
        self,
        project_id: str,
        collection_id: str,
        *,
        name: str = UNSET,
        description: str | None = UNSET,
    ) -> Collection:
        """Change only what is given. Raises NotFound, NameTaken."""
        given = {"name": name, "description": description}
        values = {field: value for field, value in given.items() if value is not UNSET}
        if not values:
            return await self.get(project_id, collection_id)
        changes = ", ".join(f"{field} = :{field}" for field in values)
        statement = text(
            f"UPDATE collections AS c SET {changes}, updated_at = now() FROM spaces AS s "
            "WHERE s.key = c.current_space AND c.id = :id AND c.project_id = :project_id "
            f"RETURNING {COLLECTION_COLUMNS}"
        )
        values |= {"id": collection_id, "project_id": project_id}
        with translated(), _names_checked(project_id, name):
            async with self._database.engine.begin() as connection:
                row = (await connection.execute(statement, values)).one_or_none()
        if row is None:
            raise NotFound("collection", collection_id)
        return collection_from(row._asdict())

    async def delete(self, project_id: str, collection_id: str) -> None:
        """Delete at once, whatever the size, after writes that are under way.

        The tables stay until `drop_leftovers`. Media is queued for deletion here, or there if
        there is much of it; neither can be forgotten. Raises NotFound.
        """
        collection = await self.get(project_id, collection_id)
        lock = text("SELECT pg_advisory_xact_lock(:lock)")
        values = {"key": collection.key, "at_once": QUEUE_AT_ONCE}
        with translated(collection):
            async with self._database.engine.begin() as connection:
                await connection.execute(lock, {"lock": collection_lock(collection.key)})
                queue = await connection.scalar(text(_DELETE), values)
                if queue is None:
                    raise NotFound("collection", collection_id)
                if queue:
                    await connection.execute(text(_queue_media(collection.key)))

    async def drop_leftovers(self) -> int:
        """Drop the tables of deleted collections; return of how many.

        Never waits long for a lock: tables that are still read are dropped next time.
        """
        query = "SELECT collection_key FROM dropped_collections ORDER BY dropped_at"
        with translated():
            leftovers = await self._database.pool.fetch(query)
            if not leftovers:
                return 0
            connection = await self._database.connect()
            try:
                return sum([await _drop(connection, row["collection_key"]) for row in leftovers])
            finally:
                await connection.close()


async def _drop(connection: asyncpg.Connection, key: int) -> bool:
    try:
        async with connection.transaction():
            leftover = await connection.fetchrow(_TAKE_LEFTOVER, key)
            if leftover is None:  # another process is at it
                return False
            await connection.execute(f"SET LOCAL lock_timeout = '{DROP_LOCK_TIMEOUT}'")
            if not leftover["media_queued"]:
                await connection.execute(_queue_media(key))
            spaces = leftover["space_keys"]
            tables = [items_table(key), *map(vectors_table, spaces), *map(segments_table, spaces)]
            await connection.execute(f"DROP TABLE IF EXISTS {', '.join(tables)}")
    except asyncpg.LockNotAvailableError:
        return False
    return True


async def _create_tables(connection: AsyncConnection, collection: Collection) -> None:
    script = _TABLES.format(
        items=items_table(collection.key), collection_key=int(collection.key)
    ) + space_table(collection.space)
    # One round trip for all of them: the driver's own simple query takes a script.
    raw = (await connection.get_raw_connection()).driver_connection
    assert raw is not None
    await raw.execute(script)


def _queue_media(collection_key: int) -> str:
    return (
        "INSERT INTO media_outbox (key) "
        f"SELECT media_key FROM {items_table(collection_key)} WHERE media_key IS NOT NULL "
        "ON CONFLICT (key) DO UPDATE SET due_at = now(), reserved = false, attempts = 0"
    )


@contextmanager
def _names_checked(project_id: str, name: str) -> Iterator[None]:
    try:
        yield
    except exc.IntegrityError as error:
        if "collections_project_id_name_key" in str(error.orig):
            raise NameTaken("collection", name) from error
        if "collections_project_id_fkey" in str(error.orig):
            raise NotFound("project", project_id) from error
        raise
