from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.domain.collections import SpaceSpec, VectorPrecision
from app.domain.filters import MetadataKind
from app.domain.items import NewItem, WriteMode
from app.errors import InvalidInput, LimitReached, NotFound
from app.store.collections import CollectionStore
from app.store.items import ItemStore
from app.store.metadata_indexes import MetadataIndexStore
from app.store.mutations import MutationStore
from app.store.ready_vectors import ReadyVectorStore
from tests.store.factories import DIMENSIONS, RAW, a_collection, an_item, reloaded, unit_vectors

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.store.database import Database

CALLER = "a caller"
UPSERT, INSERT = WriteMode.UPSERT, WriteMode.INSERT


def vector_store(database: Database) -> ReadyVectorStore:
    return ReadyVectorStore(database, ItemStore(database))


def a_batch(*ids: str, metadata: str = "{}", seed: int = 0) -> list[NewItem]:
    vectors = unit_vectors(len(ids), seed=seed)
    return [
        NewItem(name, None, vector, metadata=metadata)
        for name, vector in zip(ids, vectors, strict=True)
    ]


async def test_vectors_come_back_as_they_were_written(database: Database) -> None:
    store, collection = vector_store(database), await a_collection(database, RAW)
    batch = a_batch("a", "b")
    await store.write(collection, batch, UPSERT, CALLER)
    found = await store.get(collection, ["b", "a", "c"])
    assert set(found) == {"a", "b"}
    for sent in batch:
        item, vector = found[sent.id]
        assert (item.id, item.modality, item.metadata) == (sent.id, None, "{}")
        assert np.array_equal(vector, sent.vector)
    assert (await reloaded(database, collection)).item_count == 2


@pytest.mark.parametrize("precision", VectorPrecision)
async def test_an_upsert_replaces_and_an_insert_does_not(
    database: Database, precision: VectorPrecision
) -> None:
    spec = SpaceSpec(None, DIMENSIONS, precision=precision)
    store, collection = vector_store(database), await a_collection(database, spec)
    first, second = a_batch("a", "b", seed=1), a_batch("b", "c", seed=2)
    await store.write(collection, first, INSERT, CALLER)
    inserted = await store.write(collection, second, INSERT, CALLER)
    assert inserted.ids == ["c"]
    found = await store.get(collection, ["b"])
    np.testing.assert_allclose(found["b"][1], first[1].vector, atol=1e-3)
    upserted = await store.write(collection, second, UPSERT, CALLER)
    assert sorted(upserted.ids) == ["b", "c"]
    found = await store.get(collection, ["b"])
    np.testing.assert_allclose(found["b"][1], second[0].vector, atol=1e-3)
    assert (await reloaded(database, collection)).item_count == 3


async def test_two_upserts_of_one_id_end_whole(database: Database) -> None:
    """Vector and metadata of what is stored come from the same batch, whoever wins."""
    store, collection = vector_store(database), await a_collection(database, RAW)
    ids = [f"v{number}" for number in range(50)]
    batches = [a_batch(*ids, metadata=f'{{"seed": {seed}}}', seed=seed) for seed in range(6)]
    await asyncio.gather(
        *(
            store.write(collection, batch, INSERT if seed == 0 else UPSERT, CALLER)
            for seed, batch in enumerate(batches)
        ),
        *(store.delete(collection, ids[::7], CALLER) for _ in range(3)),
    )
    found = await store.get(collection, ids)
    for item, vector in found.values():
        seed = int(item.metadata.split()[1].rstrip("}"))
        assert np.array_equal(vector, batches[seed][ids.index(item.id)].vector)
    assert len(found) == (await reloaded(database, collection)).item_count
    vectors = await database.pool.fetchval(f"SELECT count(*) FROM vectors_s{collection.space.key}")
    assert vectors == len(found)


async def test_an_upsert_takes_the_place_of_content(database: Database) -> None:
    store, collection = vector_store(database), await a_collection(database)
    await ItemStore(database).put(collection, [an_item("a")])
    await store.write(collection, a_batch("a"), UPSERT, CALLER)
    [item] = await ItemStore(database).get(collection, ["a"])
    assert (item.modality, item.text, item.media) == (None, None, None)


async def test_what_is_too_large_for_half_precision_is_refused(database: Database) -> None:
    collection = await a_collection(database, SpaceSpec(None, DIMENSIONS))
    batch = a_batch("a")
    batch[0].vector[0] = 1e6
    with pytest.raises(InvalidInput):
        await vector_store(database).write(collection, batch, UPSERT, CALLER)


async def test_a_deleted_collection_is_told(database: Database) -> None:
    store, collection = vector_store(database), await a_collection(database, RAW)
    await CollectionStore(database).delete("default", collection.id)
    with pytest.raises(NotFound):
        await store.write(collection, a_batch("a"), UPSERT, CALLER)
    with pytest.raises(NotFound):
        await store.list_ids(collection, 1)


async def test_mutations_are_ordered_as_they_are_applied(database: Database) -> None:
    store, collection = vector_store(database), await a_collection(database, RAW)
    mutations = await asyncio.gather(
        *(store.write(collection, a_batch(str(n)), UPSERT, CALLER) for n in range(20))
    )
    by_id = sorted(mutations, key=lambda mutation: mutation.id)
    assert by_id == sorted(mutations, key=lambda mutation: mutation.applied_at)
    assert {mutation.id.version for mutation in mutations} == {7}
    processed = await MutationStore(database).processed(collection, CALLER)
    assert processed is not None
    assert processed.id == by_id[-1].id


async def age(database: Database, collection: Collection, by: timedelta) -> None:
    await database.pool.execute(
        "UPDATE mutations SET applied_at = applied_at - $2::interval, "
        "shown_at = shown_at - $2::interval WHERE collection_key = $1",
        collection.key,
        by,
    )


async def test_who_asks_again_is_told_each_of_its_own_mutations(database: Database) -> None:
    store, collection = vector_store(database), await a_collection(database, RAW)
    log = MutationStore(database)
    assert await log.processed(collection, CALLER) is None
    for name in ("a", "b", "c"):
        await store.write(collection, a_batch(name), UPSERT, CALLER)
    last = await store.write(collection, a_batch("d"), UPSERT, "another")

    async def told(caller: str = CALLER) -> Any:
        found = await log.processed(collection, caller)
        assert found is not None
        return found.id

    assert [await told() for _ in range(3)] == [last.id] * 3  # at once: the last
    await age(database, collection, timedelta(seconds=5))
    assert len({await told() for _ in range(3)} - {last.id}) == 3
    assert await told("a third") == last.id
    await age(database, collection, timedelta(minutes=6))
    assert await told() == last.id


async def test_old_mutations_are_forgotten(database: Database) -> None:
    store, collection = vector_store(database), await a_collection(database, RAW)
    await store.write(collection, a_batch("a"), UPSERT, CALLER)
    await age(database, collection, timedelta(hours=2))
    await store.write(collection, a_batch("b"), UPSERT, CALLER)
    assert await database.pool.fetchval("SELECT count(*) FROM mutations") == 1


async def test_ten_field_indexes_are_created_by_any_number_at_once(database: Database) -> None:
    fields, collection = MetadataIndexStore(database), await a_collection(database, RAW)

    async def create(number: int) -> Any:
        return await fields.create(collection, (f"f{number}",), MetadataKind.NUMBER, CALLER, 3)

    outcomes = await asyncio.gather(*map(create, range(6)), return_exceptions=True)
    assert sum(isinstance(outcome, LimitReached) for outcome in outcomes) == 3
    assert len(await fields.list(collection)) == 3


async def test_a_field_index_is_made_and_dropped_while_others_write(database: Database) -> None:
    store, fields = vector_store(database), MetadataIndexStore(database)
    collection = await a_collection(database, RAW)

    async def write(worker: int) -> None:
        for number in range(10):
            batch = a_batch(f"{worker}-{number}", metadata='{"k": "x"}')
            await store.write(collection, batch, UPSERT, CALLER)

    async def change() -> None:
        for _ in range(3):
            await fields.create(collection, ("k",), MetadataKind.STRING, CALLER, 10)
            await fields.delete(collection, ("k",), CALLER)

    await asyncio.gather(change(), *map(write, range(4)))
    assert await fields.list(collection) == []
    indexes = "SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'metadata\\_%\\_idx'"
    assert await database.pool.fetchval(indexes) == 0
