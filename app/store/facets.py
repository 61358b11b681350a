"""Facets, groups and counts: items gathered by what their metadata hold."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from app.domain.rankings import FacetCount, Group, Ranked
from app.errors import NotFound
from app.store.binding import Parameters
from app.store.errors import translated
from app.store.names import items_table
from app.store.rankings import item_conditions, vector_query, where_clause
from app.store.rows import ITEM_COLUMNS, item_from

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.domain.filters import Path
    from app.domain.rankings import ByVector, Scope
    from app.store.database import Database

# Strings, whole numbers and booleans: what jsonb writes with a point is none.
_COUNTABLE = (
    "CASE jsonb_typeof(e.value) WHEN 'string' THEN true WHEN 'boolean' THEN true "
    "WHEN 'number' THEN strpos(e.value::text, '.') = 0 ELSE false END"
)


class FacetStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, collection: Collection, scope: Scope) -> int:
        """Count the items of the scope, exactly."""
        parameters = Parameters()
        conditions = where_clause(item_conditions(collection, scope, parameters))
        query = f"SELECT count(*) FROM {items_table(collection.key)} AS i{conditions}"
        with translated(collection):
            count: int = await self._database.pool.fetchval(query, *parameters.values)
        return count

    async def estimate(self, collection: Collection, scope: Scope) -> int:
        """Guess how many items the scope has, from statistics: no item is read."""
        parameters = Parameters()
        conditions = where_clause(item_conditions(collection, scope, parameters))
        query = f"SELECT FROM {items_table(collection.key)} AS i{conditions}"
        with translated(collection):
            plan = await self._database.pool.fetchval(
                f"EXPLAIN (FORMAT JSON) {query}", *parameters.values
            )
        rows: int = json.loads(plan)[0]["Plan"]["Plan Rows"]
        return min(rows, collection.item_count)

    async def facet(
        self, collection: Collection, path: Path, scope: Scope, limit: int
    ) -> list[FacetCount]:
        """Count the items of the scope by their values at `path`, the most frequent first.

        An item counts once for each value of an array. Ties are in jsonb's order of values.
        """
        parameters = Parameters()
        values = (
            f"SELECT DISTINCT i.seq, e.value FROM {items_table(collection.key)} AS i "
            f"CROSS JOIN LATERAL jsonb_path_query(i.metadata, {parameters.bind_path(path)}) "
            f"AS e (value) "
            f"{where_clause([*item_conditions(collection, scope, parameters), _COUNTABLE])}"
        )
        query = (
            f"SELECT value, count(*) AS count FROM ({values}) AS valued GROUP BY value "
            f"ORDER BY count(*) DESC, value LIMIT {parameters.bind(limit)}"
        )
        with translated(collection):
            rows = await self._database.pool.fetch(query, *parameters.values)
        return [FacetCount(json.loads(row["value"]), row["count"]) for row in rows]

    async def group(
        self,
        collection: Collection,
        by: ByVector,
        scope: Scope,
        path: Path,
        *,
        limit: int,
        size: int,
    ) -> list[Group]:
        """Return the best `limit` groups by their values at `path`, each with its best `size`.

        Every item of the scope is scored: there are never fewer groups, nor fewer items in one,
        than exist. `collection` may be stale; raises NotFound where it is not there any more.
        """
        parameters = Parameters()
        scored = vector_query(collection, by, scope, parameters)
        items = items_table(collection.key)
        query = f"""
        WITH live AS MATERIALIZED (
            SELECT EXISTS (
                SELECT FROM collections WHERE key = {parameters.bind(collection.key)}
            ) AS here
        ), scored AS MATERIALIZED ({scored}), placed AS (
            SELECT s.item_seq, s.score, s.value, row_number() OVER (
                PARTITION BY s.value ORDER BY s.score DESC, s.item_seq
            ) AS place FROM (
                SELECT DISTINCT scored.item_seq, scored.score, e.value
                FROM scored JOIN {items} AS i ON i.seq = scored.item_seq
                CROSS JOIN LATERAL jsonb_path_query(i.metadata, {parameters.bind_path(path)})
                AS e (value) WHERE {_COUNTABLE} AND (SELECT here FROM live)
            ) AS s
        ), best AS (
            SELECT value, row_number() OVER (ORDER BY score DESC, item_seq, value) AS rank
            FROM placed WHERE place = 1
            ORDER BY score DESC, item_seq, value LIMIT {parameters.bind(limit)}
        )
        SELECT live.here, found.* FROM live LEFT JOIN (
            SELECT best.value AS group_value, best.rank, placed.place, placed.score, {ITEM_COLUMNS}
            FROM best JOIN placed ON placed.value = best.value
            JOIN {items} AS i ON i.seq = placed.item_seq
            WHERE placed.place <= {parameters.bind(size)}
        ) AS found ON true ORDER BY found.rank, found.place
        """
        with translated(collection):
            rows = await self._database.pool.fetch(query, *parameters.values)
        if not rows[0]["here"]:
            raise NotFound("collection", collection.id)
        groups: dict[str, list[Ranked]] = {}
        for row in rows:
            if row["id"] is None:
                break
            ranked = Ranked(item_from(row), row["score"])
            groups.setdefault(row["group_value"], []).append(ranked)
        return [Group(json.loads(value), tuple(hits)) for value, hits in groups.items()]
