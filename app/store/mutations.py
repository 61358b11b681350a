"""The log of mutations: which changes were applied to a collection, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.domain.vector_indexes import Mutation
from app.errors import NotFound
from app.store.errors import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import asyncpg

    from app.domain.collections import Collection
    from app.store.database import Database

KEPT = "1 hour"
AWAITED = "5 minutes"  # langchain-cloudflare's patience
MOMENT = "4 seconds"  # a little less than the pause between its questions

_LOCK = "SELECT true FROM collections WHERE key = $1 FOR NO KEY UPDATE"

# Ids are UUIDs of version 7 (RFC 9562, method 3: 12 bits of the millisecond's fraction), later
# than the last one's whatever the clock does. Mutations of a collection are logged one at a time.
_LOG = """
WITH last AS (
    SELECT max(applied_at) + interval '1 microsecond' AS at FROM mutations WHERE collection_key = $1
), now AS (
    SELECT at, (extract(epoch FROM at) * 1000000)::bigint AS us
    FROM (SELECT greatest(clock_timestamp(), at) AS at FROM last) AS latest
), parts AS (
    SELECT at, lpad(to_hex(us / 1000), 12, '0') AS ms,
           lpad(to_hex(us % 1000 * 4096 / 1000), 3, '0') AS fraction,
           substr(gen_random_uuid()::text, 20) AS random
    FROM now
), forgotten AS (
    DELETE FROM mutations WHERE collection_key = $1 AND applied_at < now() - $3::text::interval
)
INSERT INTO mutations (collection_key, id, applied_at, caller)
SELECT $1, (left(ms, 8) || '-' || right(ms, 4) || '-7' || fraction || '-' || random)::uuid, at, $2
FROM parts RETURNING id, applied_at
"""

# The last mutation, as a rule. Clients wait until they are told the very id that they were given,
# and another's mutation may follow before they ask: who asks again after a while is told each of
# their recent ones in turn, those told least first.
_PROCESSED = f"""
WITH last AS MATERIALIZED (
    SELECT id, shown_at FROM mutations WHERE collection_key = $1 ORDER BY id DESC LIMIT 1
), awaited AS (
    SELECT id FROM mutations
    WHERE collection_key = $1 AND caller = $2 AND applied_at > now() - interval '{AWAITED}'
        AND (SELECT shown_at < now() - interval '{MOMENT}' FROM last)
    ORDER BY shown, random() LIMIT 1
), chosen AS (
    SELECT coalesce((SELECT id FROM awaited), (SELECT id FROM last)) AS id
)
UPDATE mutations AS m
SET shown = m.shown + 1, shown_at = coalesce(m.shown_at, now())
FROM chosen WHERE m.collection_key = $1 AND m.id = chosen.id
RETURNING m.id, m.applied_at
"""


class MutationStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def processed(self, collection: Collection, caller: str) -> Mutation | None:
        """The mutation up to which all are applied, or one of the caller's own before it."""
        with translated():
            row = await self._database.pool.fetchrow(_PROCESSED, collection.key, caller)
        return None if row is None else _mutation_from(row)


async def log_mutation(
    connection: asyncpg.Connection, collection: Collection, caller: str, ids: Sequence[str] = ()
) -> Mutation:
    """Log at the end of a transaction, so that the log has the order of commits.

    `ids` are those that were touched. Raises NotFound for a deleted collection.
    """
    if not await connection.fetchval(_LOCK, collection.key):
        raise NotFound("collection", collection.id)
    return _mutation_from(await connection.fetchrow(_LOG, collection.key, caller, KEPT), ids)


def _mutation_from(row: Mapping[str, Any], ids: Sequence[str] = ()) -> Mutation:
    return Mutation(row["id"], row["applied_at"], ids)
