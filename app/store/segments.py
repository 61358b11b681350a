"""Segments of recordings: written with their items, and searched.

Their table is made when a space gets its first recording. What is deleted or replaced loses its
segments by a trigger on the collection's items, whoever deletes or replaces it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from pgvector import HalfVector

from app.domain.items import Hit
from app.domain.modality import Modality
from app.domain.segments import Segment
from app.errors import NotFound
from app.store.binding import Parameters
from app.store.errors import translated
from app.store.filters import compile_filter, item_scope
from app.store.names import (
    forget_segments_trigger,
    items_table,
    segments_table,
    vectors_table,
)
from app.store.rows import CODES, ITEM_COLUMNS, item_from, vector_from
from app.store.space_records import IN_USE, Record
from app.store.spaces import INLINE_BYTES, lock_out_writers

if TYPE_CHECKING:
    from collections.abc import Collection as Container
    from collections.abc import Mapping

    import asyncpg
    from numpy.typing import NDArray

    from app.domain.collections import Collection, Space
    from app.domain.search import SegmentPlan
    from app.domain.segments import Segments
    from app.store.database import Database

_NUMBER_BYTES = 2
_ROW_BYTES = 64  # of a segment, beside the numbers
_PAGE_BYTES = 8_192

_TABLE = """
CREATE TABLE {segments} (
    LIKE segments INCLUDING ALL, CHECK (space_key = {space_key}),
    CHECK (vector_dims(embedding) = {dimensions})
) INHERITS (segments);
CREATE TRIGGER {trigger} AFTER DELETE OR UPDATE OF modality ON {items}
    FOR EACH ROW WHEN (OLD.modality = {audio}) EXECUTE FUNCTION forget_segments({name});
"""
_SEGMENTED = "SELECT segmented FROM {table} WHERE {key} = $1"
_SET_SEGMENTED = "UPDATE {table} SET segmented = true WHERE {key} = $1"
_PUT = """
WITH input AS MATERIALIZED (
    SELECT * FROM unnest($1::text[], $2::smallint[], $3::real[], $4::real[], $5::halfvec[])
    AS i (id, place, starts, ends, embedding)
), item AS MATERIALIZED (
    SELECT seq, id FROM {items} WHERE id IN (SELECT input.id FROM input) ORDER BY id FOR KEY SHARE
), longer AS (
    DELETE FROM {segments} AS s USING item WHERE s.item_seq = item.seq
    AND s.place > (SELECT max(place) FROM input WHERE input.id = item.id)
)
INSERT INTO {segments} (space_key, item_seq, place, starts, ends, embedding)
SELECT {space_key}, item.seq, input.place, input.starts, input.ends, input.embedding
FROM input JOIN item ON item.id = input.id COLLATE "C"
ON CONFLICT (item_seq, place) DO UPDATE SET
    starts = excluded.starts, ends = excluded.ends, embedding = excluded.embedding
"""
_BEST = """
SELECT i.id, best.starts, best.ends FROM {items} AS i CROSS JOIN LATERAL (
    SELECT s.starts, s.ends FROM {segments} AS s WHERE s.item_seq = i.seq
    ORDER BY s.embedding <#> $2::halfvec, s.place LIMIT 1
) AS best WHERE i.id = ANY ($1::text[])
"""


class SegmentStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def best(
        self, collection: Collection, vector: NDArray[np.float32], ids: Container[str]
    ) -> dict[str, Segment]:
        """Return the segment of each of the recordings that is most like `vector`, float32 [d].

        Those that were indexed before there were segments have none.
        """
        pool = self._database.pool
        with translated(collection):
            if not collection.space.segmented and not await pool.fetchval(
                "SELECT segmented FROM spaces WHERE key = $1", collection.space.key
            ):
                return {}
            query = _BEST.format(
                items=items_table(collection.key), segments=segments_table(collection.space.key)
            )
            rows = await pool.fetch(query, list(ids), HalfVector(vector.astype(np.float16)))
        return {row["id"]: _segment(row) for row in rows}

    async def search(self, collection: Collection, plan: SegmentPlan) -> list[Hit]:
        """Return the recordings with the best segments, compared one by one, the best first.

        None where the space has more segments than `plan.rows`.
        """
        statement, values = _search(collection, plan)
        with translated(collection):
            rows = await self._database.pool.fetch(statement, *values)
        return [
            Hit(
                item_from(row),
                row["similarity"],
                vector_from(row["embedding"]) if plan.with_vectors else None,
            )
            for row in rows
        ]


def _inline(space: Space) -> bool:
    return _NUMBER_BYTES * space.spec.dimensions <= INLINE_BYTES


def _pages(space: Space, rows: int) -> int:
    """Return how many of the database's pages so many segments fill."""
    size = _ROW_BYTES + (_NUMBER_BYTES * space.spec.dimensions if _inline(space) else 0)
    return rows // (_PAGE_BYTES // size)


def _segment(row: Mapping[str, Any]) -> Segment:
    return Segment(row["starts"], row["ends"])


def _search(collection: Collection, plan: SegmentPlan) -> tuple[str, list[Any]]:
    parameters = Parameters()
    items, segments = items_table(collection.key), segments_table(collection.space.key)
    query = f"{parameters.bind(HalfVector(plan.vector.astype(np.float16)))}::halfvec"
    # The table's size is known without reading it.
    most = parameters.bind(_pages(collection.space, plan.rows))
    size = f"pg_relation_size('{segments}') / {_PAGE_BYTES}"
    conditions = [f"(SELECT {size} <= {most})", "s.embedding IS NOT NULL"]
    chosen = []
    if plan.filter is not None:
        chosen.append(f"({compile_filter(plan.filter, parameters.bind, item_scope(collection))})")
    if plan.exclude_ids:
        chosen.append(f"i.id <> ALL ({parameters.bind(list(plan.exclude_ids))}::text[])")
    if chosen:
        matching = f"SELECT i.seq FROM {items} AS i WHERE {' AND '.join(chosen)}"
        conditions.append(f"s.item_seq IN ({matching})")
    discount = f"{parameters.bind(plan.discount)}::float8"
    similarity = f"max(-(s.embedding <#> {query})) - {discount} * ln(count(*))"
    cut = ""
    if plan.least is not None:
        cut = f"WHERE similarity >= {parameters.bind(plan.least)}::float8"
    vector = join = ""
    if plan.with_vectors:
        vector = ", v.embedding"
        join = f"JOIN {vectors_table(collection.space.key)} AS v ON v.item_seq = i.seq"
    return (
        "WITH heard AS MATERIALIZED ("
        f"SELECT s.item_seq, {similarity} AS similarity FROM {segments} AS s "
        f"WHERE {' AND '.join(conditions)} GROUP BY s.item_seq"
        ") "
        f"SELECT best.similarity, {ITEM_COLUMNS}{vector} FROM ("
        f"SELECT * FROM heard {cut} ORDER BY similarity DESC, item_seq "
        f"LIMIT {parameters.bind(plan.limit)}"
        f") AS best JOIN {items} AS i ON i.seq = best.item_seq {join} "
        "ORDER BY best.similarity DESC, i.seq"
    ), parameters.values


async def make_segments_table(
    database: Database, collection: Collection, space: Space, record: Record = IN_USE
) -> None:
    """Make sure that recordings can be written to the space. Raises NotFound where it is gone.

    Waits for the collection's writers: not to be called within a writing transaction.
    """
    if space.segmented:
        return
    with translated(collection):
        async with database.pool.acquire() as connection:
            if await connection.fetchval(record.within(_SEGMENTED), space.key):
                return
            async with connection.transaction():
                await lock_out_writers(connection, collection)
                await make_segments_table_alone(connection, collection, space, record)


async def make_segments_table_alone(
    connection: asyncpg.Connection, collection: Collection, space: Space, record: Record
) -> None:
    """As `make_segments_table`, in a transaction that has locked out the writers."""
    query = f"{record.within(_SEGMENTED)} FOR UPDATE"
    segmented = await connection.fetchval(query, space.key)
    if segmented is None:
        raise NotFound("collection", collection.id)
    if not segmented:
        await connection.execute(_table(collection, space))
        await connection.execute(record.within(_SET_SEGMENTED), space.key)


def _table(collection: Collection, space: Space) -> str:
    """Return the script that makes the space's table of segments."""
    table = segments_table(space.key)
    script = _TABLE.format(
        segments=table,
        space_key=int(space.key),
        dimensions=int(space.spec.dimensions),
        trigger=forget_segments_trigger(space.key),
        items=items_table(collection.key),
        audio=CODES[Modality.AUDIO],
        name=table.replace('"', "'"),
    )
    if not _inline(space):
        script += f"ALTER TABLE {table} ALTER embedding SET STORAGE EXTERNAL;"
    return script


async def put_segments(
    connection: asyncpg.Connection,
    collection: Collection,
    space: Space,
    by_id: Mapping[str, Segments],
) -> None:
    """Set the segments of items that exist, in place of what they have, within a transaction.

    The space's table is there: see `make_segments_table`.
    """
    ids: list[str] = []
    places: list[int] = []
    embeddings: list[HalfVector | None] = []
    for name, segments in by_id.items():
        ids += [name] * len(segments.spans)
        places += range(len(segments.spans))
        embeddings += [HalfVector(row) for row in segments.vectors.astype(np.float16)] or [None]
    spans = [span for segments in by_id.values() for span in segments.spans]
    statement = _PUT.format(
        items=items_table(collection.key),
        segments=segments_table(space.key),
        space_key=int(space.key),
    )
    starts, ends = [span.start for span in spans], [span.end for span in spans]
    await connection.execute(statement, ids, places, starts, ends, embeddings)
