"""Many items at once: binary COPY into a staging table, then one statement.

Vectors, most of what there is to write, are copied straight to where they stay.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
from pgvector import HalfVector, Vector

from app.domain.collections import VectorPrecision
from app.domain.items import WriteMode, Written
from app.store.generations import current_generation
from app.store.names import items_table, vectors_table
from app.store.rows import CODES, VECTOR_TYPES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import asyncpg
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.items import NewItem

# Vectors of one statement: where an index that is being built takes them, each costs milliseconds,
# and a statement's time is limited.
VECTORS_AT_ONCE = 1_000

_STAGING = """
CREATE TEMP TABLE IF NOT EXISTS staged_items (
    seq bigint, id text COLLATE "C", namespace text, modality smallint, text text, media_key text,
    media_type text, metadata jsonb
) ON COMMIT DELETE ROWS
"""
_COLUMNS = ("seq", "id", "namespace", "modality", "text", "media_key", "media_type", "metadata")
_NUMBERS = """
SELECT array_agg(nextval('item_seq')) AS numbers, {generation} AS generation
FROM generate_series(1, $1)
"""

# Items in the order sent have ascending numbers, but are locked in the order of their ids, so
# that two batches with items in common cannot wait for each other. What was there is told: the
# rest are new, with the numbers given to them.
_REPLACE = """
namespace = excluded.namespace, modality = excluded.modality, text = excluded.text,
media_key = excluded.media_key, media_type = excluded.media_type,
metadata = excluded.metadata, updated_at = now()
"""
_STORE = """
WITH stored AS (
    INSERT INTO {items}
        (collection_key, seq, id, namespace, modality, text, media_key, media_type, metadata)
    SELECT {collection_key}, seq, id, namespace, modality, text, media_key, media_type, metadata
    FROM staged_items ORDER BY id
    ON CONFLICT (id) {conflict}
    RETURNING id, seq, xmax = 0 AS inserted
)
"""
_REPLACED = _STORE + "SELECT id, seq FROM stored WHERE NOT inserted"
_SKIPPED = _STORE + (
    "SELECT id, NULL::bigint AS seq FROM staged_items EXCEPT SELECT id, NULL FROM stored"
)
_UPDATE = """
WITH found AS MATERIALIZED (
    SELECT i.seq, i.id FROM {items} AS i JOIN staged_items AS s ON s.id = i.id
    ORDER BY i.id FOR UPDATE OF i
), stored AS (
    UPDATE {items} AS i SET namespace = s.namespace, modality = s.modality, text = s.text,
        media_key = s.media_key, media_type = s.media_type, metadata = s.metadata,
        updated_at = now()
    FROM staged_items AS s JOIN found ON found.id = s.id WHERE i.seq = found.seq
)
SELECT id, seq FROM found
"""
_REPLACE_VECTORS = """
INSERT INTO {vectors} (space_key, item_seq, modality, embedding, generation)
SELECT {space_key}, *, {generation} FROM unnest($1::bigint[], $2::smallint[], $3::{type}[])
ON CONFLICT (item_seq) DO UPDATE SET modality = excluded.modality,
    embedding = excluded.embedding, generation = excluded.generation
"""


# A batch that is not worth several round trips, all in one.
_FEW = """
WITH input AS MATERIALIZED (
    SELECT nextval('item_seq') AS seq, *
    FROM unnest($1::text[], $2::text[], $3::smallint[], $4::text[], $5::text[], $6::text[],
                $7::text[], $8::{type}[])
    AS i (id, namespace, modality, text, media_key, media_type, metadata, embedding)
), stored AS (
    INSERT INTO {items}
        (collection_key, seq, id, namespace, modality, text, media_key, media_type, metadata)
    SELECT {collection_key}, seq, id, namespace, modality, text, media_key, media_type,
           metadata::jsonb
    FROM input ORDER BY id COLLATE "C"
    ON CONFLICT (id) DO UPDATE SET {replace}
    RETURNING id, seq, xmax = 0 AS inserted
), embedded AS (
    INSERT INTO {vectors} (space_key, item_seq, modality, embedding, generation)
    SELECT {space_key}, stored.seq, input.modality, input.embedding, {generation}
    FROM stored JOIN input ON input.id = stored.id COLLATE "C"
    ON CONFLICT (item_seq) DO UPDATE SET modality = excluded.modality,
        embedding = excluded.embedding, generation = excluded.generation
)
SELECT count(*) FILTER (WHERE inserted) FROM stored
"""


async def upsert_few(
    connection: asyncpg.Connection,
    collection: Collection,
    items: Sequence[NewItem],
    vectors: NDArray[np.float32],
) -> Written:
    """Write items of distinct ids, and their vectors [n, d], by one statement."""
    statement = _FEW.format(
        items=items_table(collection.key),
        vectors=vectors_table(collection.space.key),
        collection_key=int(collection.key),
        space_key=int(collection.space.key),
        type=VECTOR_TYPES[collection.space.spec.precision],
        generation=current_generation(collection.space.key),
        replace=_REPLACE,
    )
    columns = list(zip(*(_record(0, item)[1:] for item in items), strict=True))
    embeddings = _embeddings(collection, vectors)
    inserted = await connection.fetchval(statement, *columns, embeddings)
    return Written(inserted, len(items) - inserted)


async def write_many(
    connection: asyncpg.Connection,
    collection: Collection,
    items: Sequence[NewItem],
    vectors: NDArray[np.float32],
    mode: WriteMode,
) -> Written:
    """Write items of distinct ids, and their vectors [n, d], within a transaction."""
    await connection.execute(_STAGING)
    key = collection.space.key
    generation = current_generation(key)
    given = await connection.fetchrow(_NUMBERS.format(generation=generation), len(items))
    numbers: list[int] = given["numbers"]
    await connection.copy_records_to_table(
        "staged_items", columns=_COLUMNS, records=map(_record, numbers, items)
    )
    stored, embeddings = await asyncio.gather(
        connection.fetch(_statement(collection, mode)),
        asyncio.to_thread(_embeddings, collection, vectors),
    )
    known = {row["id"]: row["seq"] for row in stored}
    fresh, replaced, skipped = [], [], []
    for place, item in enumerate(items):
        if known.get(item.id) is not None:
            replaced.append(place)
        elif item.id in known or mode is WriteMode.UPDATE:
            skipped.append(item.id)
        else:
            fresh.append(place)
    for part in _parts(fresh):
        await connection.copy_records_to_table(
            vectors_table(key).strip('"'),
            columns=("space_key", "item_seq", "modality", "embedding", "generation"),
            records=(
                (key, numbers[n], CODES[items[n].modality], embeddings[n], given["generation"])
                for n in part
            ),
        )
    for part in _parts(replaced):
        await connection.execute(
            _REPLACE_VECTORS.format(
                vectors=vectors_table(key),
                space_key=int(key),
                type=VECTOR_TYPES[collection.space.spec.precision],
                generation=generation,
            ),
            [known[items[n].id] for n in part],
            [CODES[items[n].modality] for n in part],
            [embeddings[n] for n in part],
        )
    return Written(len(fresh), len(replaced), tuple(skipped))


def _embeddings(
    collection: Collection, vectors: NDArray[np.float32]
) -> list[HalfVector] | list[Vector]:
    if collection.space.spec.precision is VectorPrecision.FLOAT16:
        return [HalfVector(row) for row in vectors.astype(np.float16)]
    return [Vector(row) for row in vectors]  # a bare array would be taken for a nested one


def _parts(places: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(places), VECTORS_AT_ONCE):
        yield places[start : start + VECTORS_AT_ONCE]


def _record(number: int, item: NewItem) -> tuple[Any, ...]:
    media = item.media
    return (
        number,
        item.id,
        item.namespace,
        CODES[item.modality],
        item.text,
        media and media.key,
        media and media.content_type,
        item.metadata,
    )


def _statement(collection: Collection, mode: WriteMode) -> str:
    """What stores the staged items, and tells of those that were there already.

    Their numbers are NULL where they stay as they are.
    """
    items, key = items_table(collection.key), int(collection.key)
    match mode:
        case WriteMode.UPSERT:
            return _REPLACED.format(
                items=items, collection_key=key, conflict=f"DO UPDATE SET {_REPLACE}"
            )
        case WriteMode.INSERT:
            return _SKIPPED.format(items=items, collection_key=key, conflict="DO NOTHING")
        case WriteMode.UPDATE:
            return _UPDATE.format(items=items)
