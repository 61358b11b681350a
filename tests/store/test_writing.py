"""Items written one by one, in bulk, and by several at once."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.domain.collections import Collection, SpaceSpec, VectorPrecision
from app.domain.items import NewItem, WriteMode
from app.domain.media import MediaRef
from app.errors import InvalidInput, NotFound
from app.store.collections import CollectionStore
from app.store.items import ItemStore
from app.store.outbox import Outbox

if TYPE_CHECKING:
    from app.store.database import Database

DIMENSIONS = 8
FEW, MANY = 3, 250  # below and above what one statement writes


@pytest.fixture(params=VectorPrecision)
async def collection(database: Database, request: Any) -> Collection:
    spec = SpaceSpec(None, DIMENSIONS, precision=request.param)
    return await CollectionStore(database).create("default", "items", None, spec)


@pytest.fixture
def items(database: Database) -> ItemStore:
    return ItemStore(database)


def item(name: str, number: int = 0, media: str | None = None) -> NewItem:
    vector = np.zeros(DIMENSIONS, dtype=np.float32)
    vector[number % DIMENSIONS] = 1
    ref = MediaRef(media, "image/png") if media else None
    metadata = json.dumps({"number": number})
    return NewItem(name, None, vector, str(number), ref, metadata, f"n{number}")


def batch(size: int, number: int = 0) -> list[NewItem]:
    return [item(f"i{n}", n + number) for n in range(size)]


async def state(items: ItemStore, collection: Collection) -> dict[str, tuple[Any, ...]]:
    """By id: the number in each part of the item, and that of its vector."""
    entries, total = await items.list(collection, limit=10_000, offset=0)
    assert len(entries) == total
    vectors = await items.vectors(collection, [entry.id for entry in entries])
    return {
        entry.id: (
            int(entry.text or -1),
            json.loads(entry.metadata)["number"],
            int(entry.namespace[1:]),
            int(vectors[entry.id].argmax()),
        )
        for entry in entries
    }


def whole(number: int) -> tuple[int, int, int, int]:
    return (number, number, number, number % DIMENSIONS)


@pytest.mark.parametrize("size", [FEW, MANY])
async def test_upsert_replaces_what_is_there(
    items: ItemStore, collection: Collection, size: int
) -> None:
    first = await items.put(collection, batch(size))
    again = await items.put(collection, [*batch(size, number=7), item("new", 1)])
    assert (first.inserted, first.replaced, first.skipped) == (size, 0, ())
    assert (again.inserted, again.replaced, again.skipped) == (1, size, ())
    expected = {f"i{n}": whole(n + 7) for n in range(size)} | {"new": whole(1)}
    assert await state(items, collection) == expected


@pytest.mark.parametrize("size", [FEW, MANY])
async def test_insert_leaves_what_is_there(
    items: ItemStore, collection: Collection, size: int
) -> None:
    await items.put(collection, batch(2))
    written = await items.put(collection, batch(size, number=7), WriteMode.INSERT)
    assert (written.inserted, written.replaced) == (size - 2, 0)
    assert sorted(written.skipped) == ["i0", "i1"]
    expected = {f"i{n}": whole(n if n < 2 else n + 7) for n in range(size)}
    assert await state(items, collection) == expected


@pytest.mark.parametrize("size", [FEW, MANY])
async def test_update_leaves_out_what_is_not_there(
    items: ItemStore, collection: Collection, size: int
) -> None:
    await items.put(collection, batch(2))
    written = await items.put(collection, batch(size, number=7), WriteMode.UPDATE)
    assert (written.inserted, written.replaced, len(written.skipped)) == (0, 2, size - 2)
    assert await state(items, collection) == {f"i{n}": whole(n + 7) for n in range(2)}


@pytest.mark.parametrize(
    ("mode", "kept"), [(WriteMode.UPSERT, 2), (WriteMode.INSERT, 1), (WriteMode.UPDATE, 2)]
)
async def test_of_one_id_sent_twice_one_counts(
    items: ItemStore, collection: Collection, mode: WriteMode, kept: int
) -> None:
    if mode is WriteMode.UPDATE:
        await items.put(collection, [item("a", 0)])
    await items.put(collection, [item("a", 1), item("a", 2)], mode)
    assert await state(items, collection) == {"a": whole(kept)}


async def test_items_are_listed_in_the_order_sent(items: ItemStore, collection: Collection) -> None:
    names = [f"i{n * 7919 % MANY}" for n in range(MANY)]
    await items.put(collection, [item(name) for name in names])
    entries, _ = await items.list(collection, limit=MANY, offset=0)
    assert [entry.id for entry in entries] == names


@pytest.mark.parametrize("size", [FEW, MANY])
async def test_all_or_nothing(items: ItemStore, collection: Collection, size: int) -> None:
    with pytest.raises(InvalidInput):
        await items.put(collection, [*batch(size), NewItem("nul\0", None, batch(1)[0].vector)])
    assert await state(items, collection) == {}
    await items.put(collection, batch(size))  # the connection is as good as new
    assert len(await state(items, collection)) == size


@pytest.mark.parametrize("mode", [WriteMode.INSERT, WriteMode.UPDATE])
async def test_media_of_items_left_out_is_deleted(
    database: Database, items: ItemStore, collection: Collection, mode: WriteMode
) -> None:
    there = "a" if mode is WriteMode.INSERT else "b"
    await items.put(collection, [item(there)])
    outbox = Outbox(database)
    await outbox.reserve(["left out", "kept"], 3600)
    sent = [item("a", media="left out"), item("b", media="kept")]
    await items.put(collection, sent, mode)
    deleted: list[str] = []

    async def delete(keys: list[str]) -> None:
        deleted.extend(keys)

    await outbox.sweep(delete)
    assert deleted == ["left out"]


@pytest.mark.parametrize("size", [FEW, MANY])
async def test_writers_of_the_same_ids_end_with_one_of_them_whole(
    items: ItemStore, collection: Collection, size: int
) -> None:
    async def write(writer: int) -> None:
        for turn in range(5):
            sent = [item(f"i{n}", 100 * writer + turn) for n in range(size)]
            await items.put(collection, sent if writer % 2 else sent[::-1])

    await asyncio.gather(*map(write, range(1, 5)))
    found = await state(items, collection)
    assert len(found) == size
    assert len(set(found.values())) == 1
    (last,) = set(found.values())
    assert last == whole(last[0])
    assert last[0] % 100 == 4


@pytest.mark.parametrize("mode", WriteMode)
async def test_a_deleted_collection_takes_nothing(
    database: Database, items: ItemStore, collection: Collection, mode: WriteMode
) -> None:
    await CollectionStore(database).delete("default", collection.id)
    with pytest.raises(NotFound):
        await items.put(collection, batch(FEW), mode)
