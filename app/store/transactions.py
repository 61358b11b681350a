"""The transaction that every write to a collection is."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.store.errors import translated
from app.store.names import collection_lock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import asyncpg

    from app.domain.collections import Collection
    from app.store.database import Database


@asynccontextmanager
async def writing(database: Database, collection: Collection) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that the collection's deletion waits for, or that waits for it."""
    with translated(collection):
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "SELECT pg_advisory_xact_lock_shared($1)", collection_lock(collection.key)
            )
            yield connection


@asynccontextmanager
async def alone(
    database: Database, collection: Collection, patience: float
) -> AsyncIterator[asyncpg.Connection]:
    """A transaction that runs while nobody writes to the collection; searches go on.

    Raises Unavailable where those that write, or that build an index, do not end within
    `patience` seconds: whoever comes after them waits as well.
    """
    with translated(collection):
        async with database.pool.acquire() as connection, connection.transaction():
            await connection.execute(
                "SELECT set_config('lock_timeout', $1, true)", f"{int(patience * 1000)}ms"
            )
            await connection.execute(
                "SELECT pg_advisory_xact_lock($1)", collection_lock(collection.key)
            )
            yield connection
