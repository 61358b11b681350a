from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from app.errors import Unavailable
from app.store.items import ItemStore
from app.store.outbox import Outbox
from tests.store.factories import a_collection, reserved_item

if TYPE_CHECKING:
    from app.store.database import Database


class Bucket:
    """A media store that remembers what it was told to delete."""

    def __init__(self, *, broken: bool = False) -> None:
        self.deleted: list[str] = []
        self.broken = broken

    async def delete(self, keys: list[str]) -> None:
        if self.broken:
            raise Unavailable("media", "the bucket is away")
        self.deleted += keys


@pytest.fixture
def outbox(database: Database) -> Outbox:
    return Outbox(database)


async def test_reservations_are_swept_when_they_fall_due(outbox: Outbox) -> None:
    bucket = Bucket()
    await outbox.reserve(["later"], 60)
    await outbox.reserve(["due/1", "due/2"], 0)
    assert await outbox.sweep(bucket.delete) == 2
    assert sorted(bucket.deleted) == ["due/1", "due/2"]
    assert await outbox.sweep(bucket.delete) == 0


async def test_media_of_a_stored_item_is_never_swept(database: Database, outbox: Outbox) -> None:
    collection = await a_collection(database)
    await outbox.reserve(["m"], 0.0)
    item = await reserved_item(database, "a", "m2")
    await ItemStore(database).put(collection, [item])
    bucket = Bucket()
    await outbox.sweep(bucket.delete)
    assert bucket.deleted == ["m"]


async def test_what_is_being_swept_can_no_longer_be_stored(
    database: Database, outbox: Outbox
) -> None:
    collection = await a_collection(database)
    item = await reserved_item(database, "a", "m")
    await database.pool.execute("UPDATE media_outbox SET due_at = now()")

    async def store_meanwhile(keys: list[str]) -> None:
        with pytest.raises(Unavailable):
            await ItemStore(database).put(collection, [item])

    assert await outbox.sweep(store_meanwhile) == 1


async def test_a_broken_store_leaves_the_media_for_later(
    database: Database, outbox: Outbox
) -> None:
    bucket = Bucket(broken=True)
    await outbox.reserve(["m"], 0)
    with pytest.raises(Unavailable, match="bucket"):
        await outbox.sweep(bucket.delete)
    assert await outbox.pending() == 1
    assert await outbox.sweep(bucket.delete) == 0  # not at once
    pauses = []
    for _ in range(3):
        await database.pool.execute("UPDATE media_outbox SET due_at = now()")
        with pytest.raises(Unavailable):
            await outbox.sweep(bucket.delete)
        query = "SELECT extract(epoch FROM due_at - now())::float8 FROM media_outbox"
        pauses.append(await database.pool.fetchval(query))
    assert pauses == sorted(pauses)
    assert pauses[-1] > pauses[0] + 1
    bucket.broken = False
    await database.pool.execute("UPDATE media_outbox SET due_at = now()")
    assert await outbox.sweep(bucket.delete) == 1
    assert await outbox.pending() == 0


async def test_sweepers_share_the_work(outbox: Outbox) -> None:
    await outbox.reserve([f"m{n}" for n in range(100)], 0)
    bucket = Bucket()
    counts = await asyncio.gather(*(outbox.sweep(bucket.delete, limit=20) for _ in range(8)))
    assert sum(counts) == 100
    assert sorted(bucket.deleted) == sorted({*bucket.deleted})
