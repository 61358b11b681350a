from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from app.domain.filters import Equals
from app.domain.items import Written
from app.domain.modality import Modality
from app.errors import InvalidInput, NotFound, Unavailable
from app.store.collections import CollectionStore
from app.store.items import ItemStore
from app.store.outbox import Outbox
from tests.store.factories import (
    RAW,
    a_collection,
    an_item,
    reloaded,
    reserved_item,
    unit_vectors,
)

if TYPE_CHECKING:
    from app.domain.items import NewItem
    from app.store.database import Database


@pytest.fixture
def items(database: Database) -> ItemStore:
    return ItemStore(database)


async def test_what_is_put_is_there(database: Database, items: ItemStore) -> None:
    collection = await a_collection(database)
    image = await reserved_item(database, "item_b", "media/b")
    text = an_item("item_a", text="Grüße 👋", metadata='{"n": 12345678901234567890.5, "k": [null]}')
    await items.put(collection, [image, text])
    listed, total = await items.list(collection, limit=10, offset=0)
    assert total == 2
    assert [item.id for item in listed] == ["item_b", "item_a"]  # in the order sent
    assert listed[0].media == image.media
    assert listed[0].modality is Modality.IMAGE
    assert listed[1].text == "Grüße 👋"
    assert listed[1].metadata == '{"k": [null], "n": 12345678901234567890.5}'
    assert (await reloaded(database, collection)).item_count == 2
    stored = await items.vectors(collection, ["item_a", "item_b", "nothing"])
    assert set(stored) == {"item_a", "item_b"}
    assert_allclose(stored["item_a"], text.vector, atol=1e-3)
    assert stored["item_a"].dtype == np.float32


async def test_float32_spaces_give_back_what_was_sent(database: Database, items: ItemStore) -> None:
    collection = await a_collection(database, RAW)
    vector = unit_vectors(1)[0] * 1e20
    await items.put(collection, [an_item("a", vector, None)])
    assert_array_equal((await items.vectors(collection, ["a"]))["a"], vector)


async def test_putting_an_id_again_replaces_the_item(database: Database, items: ItemStore) -> None:
    collection = await a_collection(database)
    await items.put(collection, [an_item("a", text="old"), an_item("b")])
    before = (await items.get(collection, ["a"]))[0]
    vector = unit_vectors(1, seed=9)[0]
    await items.put(collection, [an_item("a", vector, text="new", metadata='{"x": 1}')])
    listed, total = await items.list(collection, limit=10, offset=0)
    assert (total, [item.id for item in listed]) == (2, ["a", "b"])  # where it was
    assert (listed[0].text, listed[0].metadata) == ("new", '{"x": 1}')
    assert listed[0].created_at == before.created_at
    assert listed[0].updated_at > before.updated_at
    assert_allclose((await items.vectors(collection, ["a"]))["a"], vector, atol=1e-3)
    assert (await reloaded(database, collection)).item_count == 2


async def test_the_last_of_equal_ids_in_a_batch_counts(
    database: Database, items: ItemStore
) -> None:
    collection = await a_collection(database)
    await items.put(collection, [an_item("a", text="first"), an_item("a", text="last")])
    listed, total = await items.list(collection, limit=10, offset=0)
    assert (total, listed[0].text) == (1, "last")
    await items.put(collection, [])


async def test_delete_tells_how_many_existed(database: Database, items: ItemStore) -> None:
    collection = await a_collection(database)
    await items.put(collection, [an_item(f"i{n}") for n in range(5)])
    assert await items.delete(collection, ["i1", "i3", "i3", "nothing"]) == 2
    assert [i.id for i in (await items.list(collection, limit=9, offset=0))[0]] == [
        "i0",
        "i2",
        "i4",
    ]
    assert set(await items.vectors(collection, ["i1", "i0"])) == {"i0"}
    assert (await reloaded(database, collection)).item_count == 3
    assert await items.delete(collection, ["i1"]) == 0
    leftover = f"SELECT count(*) FROM vectors_s{collection.space.key}"
    assert await database.pool.fetchval(leftover) == 3


async def test_list_filters_and_pages(database: Database, items: ItemStore) -> None:
    collection = await a_collection(database)
    await items.put(
        collection,
        [
            an_item(f"i{n}", metadata=f'{{"even": {"true" if n % 2 == 0 else "false"}}}')
            for n in range(10)
        ],
    )
    even = Equals(("even",), value=True)
    page, total = await items.list(collection, limit=2, offset=1, filter=even)
    assert ([item.id for item in page], total) == (["i2", "i4"], 5)
    for modalities, expected in (([Modality.TEXT], 10), ([Modality.IMAGE], 0), ([], 0)):
        page, total = await items.list(collection, limit=1, offset=0, modalities=modalities)
        assert (total, len(page)) == (expected, min(expected, 1))
    assert await items.list(collection, limit=5, offset=50) == ([], 10)


async def test_media_that_was_replaced_or_deleted_is_queued(
    database: Database, items: ItemStore
) -> None:
    collection = await a_collection(database)
    await items.put(collection, [await reserved_item(database, "a", "m/1")])
    await items.put(collection, [await reserved_item(database, "b", "m/2")])
    assert await Outbox(database).pending() == 0
    await items.put(collection, [await reserved_item(database, "a", "m/3")])
    queued = "SELECT array_agg(key ORDER BY key) FROM media_outbox"
    assert await database.pool.fetchval(queued) == ["m/1"]
    await items.put(collection, [an_item("a", text="no media any more")])
    await items.delete(collection, ["b"])
    assert await database.pool.fetchval(queued) == ["m/1", "m/2", "m/3"]


async def test_an_item_may_keep_its_media(database: Database, items: ItemStore) -> None:
    collection = await a_collection(database)
    item = await reserved_item(database, "a", "m/1")
    await items.put(collection, [item])
    await items.put(collection, [item])
    assert await Outbox(database).pending() == 0


async def test_media_that_was_given_up_fails_the_whole_batch(
    database: Database, items: ItemStore
) -> None:
    collection = await a_collection(database)
    lost = an_item("a", modality=Modality.IMAGE, media="never/reserved")
    kept = await reserved_item(database, "b", "m/b")
    with pytest.raises(Unavailable, match="given up"):
        await items.put(collection, [kept, lost])
    assert await items.list(collection, limit=1, offset=0) == ([], 0)
    await items.put(collection, [kept])  # its reservation is still there


@pytest.mark.parametrize(
    "item",
    [
        an_item("nul\0"),
        an_item("a", text="nul\0"),
        an_item("a", text="\ud800"),
        an_item("a", metadata='{"a": "\\u0000"}'),
        an_item("a", metadata='{"a": "\\ud800"}'),
        an_item("a", metadata="{"),
        an_item("a", np.full(16, np.nan, np.float32)),
        an_item("a", np.full(16, 1e6, np.float32)),
        an_item("a", np.ones(3, np.float32)),
    ],
)
async def test_what_cannot_be_stored_is_invalid_input(
    database: Database, items: ItemStore, item: NewItem
) -> None:
    collection = await a_collection(database)
    with pytest.raises(InvalidInput):
        await items.put(collection, [an_item("fine"), item])
    assert await items.list(collection, limit=1, offset=0) == ([], 0)


async def test_writers_of_the_same_ids_end_with_one_whole_item_each(
    database: Database, items: ItemStore
) -> None:
    collection = await a_collection(database)
    vectors = unit_vectors(8)

    async def write(writer: int) -> None:
        for turn in range(10):
            ids = [f"i{n}" for n in range(20)]
            if (writer + turn) % 2:
                ids.reverse()
            batch = [an_item(i, vectors[writer], text=str(writer)) for i in ids]
            await items.put(collection, batch)

    await asyncio.gather(*map(write, range(8)))
    listed, total = await items.list(collection, limit=100, offset=0)
    assert total == 20
    assert len(listed) == 20
    stored = await items.vectors(collection, [item.id for item in listed])
    for item in listed:
        assert_allclose(stored[item.id], vectors[int(item.text or "")], atol=1e-3)


async def test_writers_and_deleters_keep_the_count_exact(
    database: Database, items: ItemStore
) -> None:
    collection = await a_collection(database)

    async def write(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(15):
            ids = [f"i{n}" for n in rng.choice(30, 10, replace=False)]
            if rng.random() < 0.5:
                await items.put(collection, [an_item(i) for i in ids])
            else:
                await items.delete(collection, ids)

    await asyncio.gather(*map(write, range(6)))
    listed, total = await items.list(collection, limit=100, offset=0)
    assert len(listed) == total
    assert len(await items.vectors(collection, [item.id for item in listed])) == total
    rows = await database.pool.fetchval(f"SELECT count(*) FROM vectors_s{collection.space.key}")
    assert rows == total


async def test_a_put_is_there_before_the_deletion_or_not_found(
    database: Database, items: ItemStore
) -> None:
    store, outbox = CollectionStore(database), Outbox(database)
    acknowledged = 0
    for round_ in range(5):
        collection = await a_collection(database)
        batch = [await reserved_item(database, f"i{n}", f"{round_}/{n}") for n in range(12)]
        puts = [asyncio.create_task(items.put(collection, [item])) for item in batch]
        await asyncio.sleep(0.002 * round_)
        await store.delete("default", collection.id)
        results = await asyncio.gather(*puts, return_exceptions=True)
        assert {type(result) for result in results} <= {Written, NotFound}
        acknowledged += sum(isinstance(result, Written) for result in results)
    await store.drop_leftovers()
    # Media of acknowledged items went with the collection; that of the others is still reserved.
    assert await outbox.pending() == acknowledged


async def test_ten_thousand_items_in_one_batch(database: Database, items: ItemStore) -> None:
    collection = await a_collection(database)
    vectors = unit_vectors(10_000)
    await items.put(collection, [an_item(f"i{n}", v) for n, v in enumerate(vectors)])
    page, total = await items.list(collection, limit=2, offset=9_998)
    assert (total, [item.id for item in page]) == (10_000, ["i9998", "i9999"])
