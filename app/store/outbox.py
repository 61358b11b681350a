"""Media that is to be deleted, and media whose item is still being written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.store.errors import translated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from collections.abc import Collection as Container

    from app.store.database import Database

LEASE_SECONDS = 30.0  # how long one sweep may take before another tries the same media
LONGEST_BACKOFF_SECONDS = 3600.0

_RESERVE = """
INSERT INTO media_outbox (key, due_at, reserved)
SELECT key, now() + make_interval(secs => $2), true FROM unnest($1::text[]) AS key
"""
# Short transactions only: what is claimed is no longer reserved, so no item can take it, and it
# falls due again should the sweeper die.
_CLAIM = """
UPDATE media_outbox SET
    reserved = false, attempts = attempts + 1, due_at = now() + make_interval(secs => $2)
WHERE key IN (
    SELECT key FROM media_outbox WHERE due_at <= now() ORDER BY due_at LIMIT $1
    FOR UPDATE SKIP LOCKED
) RETURNING key
"""
_EXPIRE = """
UPDATE media_outbox SET due_at = now(), reserved = false WHERE key = ANY ($1) AND reserved
"""
_POSTPONE = """
UPDATE media_outbox
SET due_at = now() + make_interval(secs => least($2, 2 ^ least(attempts, 20)))
WHERE key = ANY ($1)
"""


class Outbox:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, keys: Container[str], ttl_seconds: float) -> None:
        """Announce media that is about to be uploaded.

        Unless an item claims it within the time (`ItemStore.put`), it is deleted.
        """
        with translated():
            await self._database.pool.execute(_RESERVE, list(keys), ttl_seconds)

    async def expire(self, keys: Container[str]) -> None:
        """Give up reservations before their time: no item will claim that media."""
        with translated():
            await self._database.pool.execute(_EXPIRE, list(keys))

    async def sweep(self, delete: Callable[[list[str]], Awaitable[None]], limit: int = 1000) -> int:
        """Delete due media with `delete`, which must not mind what is gone already.

        Return how many; call again while that is `limit`. What `delete` raises is passed on, and
        the media is tried again later, after ever longer pauses. Several sweepers may run.
        """
        pool = self._database.pool
        with translated():
            rows = await pool.fetch(_CLAIM, limit, LEASE_SECONDS)
        keys = [row["key"] for row in rows]
        if not keys:
            return 0
        try:
            await delete(keys)
        except BaseException:
            with translated():
                await pool.execute(_POSTPONE, keys, LONGEST_BACKOFF_SECONDS)
            raise
        with translated():
            await pool.execute("DELETE FROM media_outbox WHERE key = ANY ($1)", keys)
        return len(keys)

    async def pending(self) -> int:
        """How many media wait for deletion, those reserved left out."""
        query = "SELECT count(*) FROM media_outbox WHERE NOT reserved"
        with translated():
            count: int = await self._database.pool.fetchval(query)
        return count
