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
