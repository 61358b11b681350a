"""Migrations in the database: what is written meanwhile, who is at it, the switch, what is left."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.domain.collections import IndexState, SpaceSpec
from app.domain.items import WriteMode
from app.domain.model_migrations import MigrationState
from app.domain.search import Branch, SearchPlan
from app.errors import (
    MigrationRunning,
    NotFound,
    Outdated,
    ReadyVectors,
    Unavailable,
)
from app.store import model_migrations
from app.store.collections import CollectionStore
from app.store.items import ItemStore
from app.store.model_migrations import MigrationStore
from app.store.names import items_table, vectors_table
from app.store.reembedding import Embedded, LeaseLost, ReembeddingStore
from app.store.search import SearchStore
from app.store.vectors import VectorStore
from tests.store.factories import a_collection, an_item, reloaded, unit_vectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.model_migrations import MigrationJob
    from app.store.database import Database
    from app.store.reembedding import Page

NEW = SpaceSpec("another-model", 8)


class Migrating:
    """A collection with a migration under way, and what a worker would do, by hand."""

    def __init__(self, database: Database, collection: Collection) -> None:
        self.database = database
        self.collection = collection
        self.items = ItemStore(database)
        self.migrations = MigrationStore(database)
        self.rows = ReembeddingStore(database)
        self.id = ""

    async def begin(self, *ids: str) -> MigrationJob:
        await self.write(*ids)
        self.id = (await self.migrations.begin(self.collection, NEW)).id
        job = await self.migrations.claim()
        assert job is not None
        return job

    async def write(self, *ids: str, text: str = "first") -> None:
        if ids:
            await self.items.put(self.collection, [an_item(name, text=text) for name in ids])

    async def page(self, job: MigrationJob, limit: int = 100) -> Page:
        return await self.rows.page(self.collection, job, limit)

    async def put(self, job: MigrationJob, page: Page, failing: str = "") -> None:
        await self.rows.put(self.collection, job, embedded(page, failing))

    async def drain(self, job: MigrationJob) -> None:
        while (page := await self.page(job, 2)).items:
            await self.put(job, page)

    async def switch(self, job: MigrationJob) -> Collection:
        async with self.rows.switching(self.collection, job, 1.0) as switch:
            await switch.finish()
        return await reloaded(self.database, self.collection)

    async def progress(self) -> tuple[int, int, int]:
        now = await self.migrations.get(self.collection, self.id)
        return now.total, now.done, now.failed

    async def vectors(self, job: MigrationJob) -> dict[str, NDArray[np.float32]]:
        """What the new space holds, by id."""
        rows = await self.database.pool.fetch(
            f"SELECT i.id, v.embedding FROM {vectors_table(job.space.key)} AS v "
            f"LEFT JOIN {items_table(self.collection.key)} AS i ON i.seq = v.item_seq"
        )
        return {row["id"]: np.array(row["embedding"].to_numpy(), np.float32) for row in rows}

    async def tables(self, key: int) -> bool:
        found: bool = await self.database.pool.fetchval(
            "SELECT to_regclass($1) IS NOT NULL", vectors_table(key)
        )
        return found


def embedded(page: Page, failing: str = "") -> Embedded:
    good = {item.seq: made_of(item.text or "") for item in page.items if item.id != failing}
    bad = {item.seq: ("corrupt_media", "broken") for item in page.items if item.id == failing}
    return Embedded(page, good, {}, bad)


def made_of(text: str) -> NDArray[np.float32]:
    """The new model's vector of a text."""
    return unit_vectors(1, NEW.dimensions, seed=len(text))[0]


@pytest.fixture
async def migrating(database: Database) -> Migrating:
    return Migrating(database, await a_collection(database))


def same(stored: dict[str, NDArray[np.float32]], texts: dict[str, str]) -> bool:
    return stored.keys() == texts.keys() and all(
        np.allclose(stored[name], made_of(text), atol=1e-3) for name, text in texts.items()
    )


async def test_what_is_written_updated_and_deleted_meanwhile_is_in_the_new_space(
    migrating: Migrating,
) -> None:
    job = await migrating.begin("a", "b", "c", "d", "e")
    await migrating.put(job, await migrating.page(job, 2))
    await migrating.write("b", "d", text="another text")  # before and behind where it is
    await migrating.write("f", text="later")
    await migrating.items.delete(migrating.collection, ["a", "c"])
    await migrating.drain(job)
    texts = {"b": "another text", "d": "another text", "e": "first", "f": "later"}
    assert same(await migrating.vectors(job), texts)
    assert await migrating.progress() == (4, 4, 0)
    many = [an_item(f"n{n}", text="of many") for n in range(150)]  # by a staging table
    await migrating.items.put(migrating.collection, many)
    changed = [an_item("n7", text="updated"), an_item("none", text="is not there")]
    await migrating.items.put(migrating.collection, changed, WriteMode.UPDATE)
    await migrating.drain(job)
    texts |= {f"n{n}": "of many" for n in range(150)} | {"n7": "updated"}
    assert same(await migrating.vectors(job), texts)
    assert await migrating.progress() == (154, 154, 0)


async def test_an_item_written_while_it_is_embedded_is_embedded_once_more(
    migrating: Migrating,
) -> None:
    job = await migrating.begin("a", "b")
    read = await migrating.page(job)
    await migrating.write("a", text="changed since")
    await migrating.put(job, read)
    assert same(await migrating.vectors(job), {"b": "first"})
    [again] = (await migrating.page(job)).items
    assert (again.id, again.text) == ("a", "changed since")
    read = await migrating.page(job)
    await migrating.write("a", text="changed again")
    await migrating.put(job, read)
    assert [item.text for item in (await migrating.page(job)).items] == ["changed again"]
    await migrating.drain(job)
    assert same(await migrating.vectors(job), {"a": "changed again", "b": "first"})


async def test_an_item_deleted_while_it_is_embedded_leaves_no_vector(
    migrating: Migrating,
) -> None:
    job = await migrating.begin("a", "b")
    read = await migrating.page(job)
    await migrating.items.delete(migrating.collection, ["a"])
    await migrating.put(job, read)
    assert same(await migrating.vectors(job), {"b": "first"})
    assert await migrating.progress() == (1, 1, 0)


async def test_writers_and_the_worker_do_not_wait_for_each_other_in_circles(
    migrating: Migrating,
) -> None:
    names = [f"i{n}" for n in range(40)]
    job = await migrating.begin(*names)

    async def write(start: int) -> None:
        for round_ in range(10):
            await migrating.write(*names[start:], *names[:start], text="x" * (round_ + 1))
            await migrating.items.delete(migrating.collection, names[start : start + 3])

    async def work() -> None:
        while not writing.done():
            await migrating.drain(job)
            await asyncio.sleep(0)

    writing: asyncio.Future[Any] = asyncio.gather(*(write(start) for start in (0, 13, 27)))
    await asyncio.gather(writing, work())
    await migrating.drain(job)
    rows = await migrating.database.pool.fetch(
        f"SELECT id, text FROM {items_table(migrating.collection.key)}"
    )
    assert same(await migrating.vectors(job), {row["id"]: row["text"] for row in rows})
    assert await migrating.progress() == (len(rows), len(rows), 0)


async def test_there_is_one_at_a_time(migrating: Migrating) -> None:
    await migrating.begin("a")
    with pytest.raises(MigrationRunning):
        await migrating.migrations.begin(migrating.collection, NEW)


async def test_of_two_begun_at_once_one_is_refused(migrating: Migrating) -> None:
    begun = await asyncio.gather(
        *(migrating.migrations.begin(migrating.collection, NEW) for _ in range(2)),
        return_exceptions=True,
    )
    assert sorted(type(one).__name__ for one in begun) == ["MigrationRunning", "ModelMigration"]


async def test_the_new_space_is_not_seen_before_the_switch(migrating: Migrating) -> None:
    await migrating.begin("a")
    assert (await reloaded(migrating.database, migrating.collection)).other_spaces == ()


async def test_each_is_claimed_by_one(database: Database) -> None:
    store = MigrationStore(database)
    for _ in range(2):
        await store.begin(await a_collection(database), NEW)
    jobs = await asyncio.gather(*(store.claim() for _ in range(5)))
    keys = [job.key for job in jobs if job is not None]
    assert len(keys) == len(set(keys)) == 2


async def test_what_a_dead_process_left_is_taken_up_and_it_cannot_write_any_more(
    migrating: Migrating, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_migrations, "LEASE_SECONDS", 0.2)
    dead = await migrating.begin("a", "b", "c")
    page = await migrating.page(dead, 2)
    await migrating.put(dead, page)
    assert await migrating.migrations.claim() is None
    assert await migrating.migrations.renew(dead)
    await asyncio.sleep(0.3)
    alive = await migrating.migrations.claim()
    assert alive is not None
    assert alive.key == dead.key
    assert not await migrating.migrations.renew(dead)
    rest = await migrating.page(alive)
    assert [item.id for item in rest.items] == ["c"]
    with pytest.raises(LeaseLost):
        await migrating.put(dead, rest)
    assert same(await migrating.vectors(alive), {"a": "first", "b": "first"})
    with pytest.raises(LeaseLost):
        await migrating.switch(dead)
    await migrating.drain(alive)
    assert (await migrating.switch(alive)).space.spec == NEW


async def test_what_is_released_can_be_claimed_at_once(migrating: Migrating) -> None:
    job = await migrating.begin("a")
    await migrating.migrations.release(job)
    again = await migrating.migrations.claim()
    assert again is not None
    assert again.owner != job.owner


async def test_failed_attempts_are_counted_until_something_is_done(migrating: Migrating) -> None:
    job = await migrating.begin("a")
    assert await migrating.migrations.postpone(job, 0.0, "no store", counted=False) == 0
    job = await migrating.migrations.claim() or pytest.fail("not due")
    assert await migrating.migrations.postpone(job, 0.0, "no memory") == 1
    assert await migrating.migrations.postpone(job, 0.0, "no memory") is None  # not ours any more
    assert (await migrating.migrations.get(migrating.collection, migrating.id)).error == "no memory"
    job = await migrating.migrations.claim() or pytest.fail("not due")
    await migrating.drain(job)
    assert (await migrating.migrations.get(migrating.collection, migrating.id)).error is None
    assert await migrating.migrations.postpone(job, 60.0, "again") == 1
    assert await migrating.migrations.claim() is None


async def test_the_switch_changes_the_space_and_all_that_names_it(
    migrating: Migrating, database: Database
) -> None:
    job = await migrating.begin("a", "b")
    await migrating.drain(job)
    after = await migrating.switch(job)
    assert after.space.spec == NEW
    assert (after.space.key, after.space.name) == (job.space.key, migrating.collection.space.name)
    assert after.other_spaces == ()
    assert after.space.index_state is IndexState.NONE
    stored = await migrating.items.vectors(after, ["a", "b"])
    assert same(stored, {"a": "first", "b": "first"})
    told = await migrating.migrations.get(after, migrating.id)
    assert told.state is MigrationState.COMPLETED
    assert (told.total, told.done, told.failed) == (2, 2, 0)
    assert told.finished_at is not None


async def test_who_knows_the_collection_as_it_was_is_told_and_changes_nothing(
    migrating: Migrating, database: Database
) -> None:
    job = await migrating.begin("a", "b")
    await migrating.drain(job)
    after = await migrating.switch(job)
    stale = migrating.collection
    vector = unit_vectors(1)[0]
    for _ in range(2):  # with the old table, and without
        with pytest.raises((Outdated, NotFound)):
            await migrating.write("c")
        with pytest.raises((Outdated, NotFound)):
            await migrating.items.delete(stale, ["a"])
        with pytest.raises((Outdated, NotFound)):
            await VectorStore(database).put(stale, {"": {"a": vector}})
        with pytest.raises(NotFound):
            await SearchStore(database).search(stale, SearchPlan(vector, (Branch(None),), 1))
        await migrating.rows.drop_leftovers()
        assert not await migrating.tables(stale.space.key)
    assert (await reloaded(database, after)).item_count == 2
    assert (await migrating.items.vectors(after, ["a", "c"])).keys() == {"a"}


async def test_what_was_replaced_is_dropped_and_another_migration_follows(
    migrating: Migrating,
) -> None:
    job = await migrating.begin("a", "b")
    await migrating.drain(job)
    migrating.collection = await migrating.switch(job)
    await migrating.rows.drop_leftovers()
    again = Migrating(migrating.database, migrating.collection)
    await again.items.put(again.collection, [an_item("c", made_of("first"), text="first")])
    job = await again.begin()
    await again.items.put(again.collection, [an_item("a", made_of("x"), text="changed")])
    await again.items.delete(again.collection, ["b"])
    await again.drain(job)
    after = await again.switch(job)
    assert same(await again.items.vectors(after, ["a", "b", "c"]), {"a": "changed", "c": "first"})
    listed, total = await again.migrations.list(after, limit=1, offset=0)
    assert (listed[0].id, total) == (again.id, 2)


async def test_a_table_that_is_still_read_is_dropped_later(
    migrating: Migrating, database: Database
) -> None:
    job = await migrating.begin("a")
    await migrating.drain(job)
    old = migrating.collection.space.key
    async with database.pool.acquire() as reader:
        async with reader.transaction():
            await reader.fetch(f"SELECT FROM {vectors_table(old)}")
            await migrating.switch(job)
            await migrating.rows.drop_leftovers()
            assert await migrating.tables(old)
        await migrating.rows.drop_leftovers()
        assert not await migrating.tables(old)


async def test_the_switch_does_not_wait_for_writers_for_ever(
    migrating: Migrating, database: Database
) -> None:
    job = await migrating.begin("a")
    await migrating.drain(job)
    entered, let_go = asyncio.Event(), asyncio.Event()

    async def hold(connection: Any) -> None:
        entered.set()
        await let_go.wait()

    slow = asyncio.create_task(migrating.items.delete(migrating.collection, ["b"], hold))
    await entered.wait()
    with pytest.raises(Unavailable):
        async with migrating.rows.switching(migrating.collection, job, 0.1):
            pytest.fail("a writer is at it")
    let_go.set()
    await slow
    assert (await migrating.switch(job)).space.spec == NEW


async def test_ready_vectors_are_refused_meanwhile(
    migrating: Migrating, database: Database
) -> None:
    job = await migrating.begin("a")
    ready = [an_item("ready", modality=None)]
    with pytest.raises(ReadyVectors):
        await migrating.items.put(migrating.collection, ready)
    vectors = VectorStore(database)
    with pytest.raises(ReadyVectors):
        await vectors.put(migrating.collection, {"": {"a": unit_vectors(1)[0]}})
    with pytest.raises(ReadyVectors):
        await vectors.remove(migrating.collection, [""], ["a"])
    await migrating.migrations.end(job.key, MigrationState.CANCELED)
    await migrating.items.put(migrating.collection, ready)
    await vectors.put(migrating.collection, {"": {"a": unit_vectors(1)[0]}})


async def test_failures_are_told_until_the_item_is_written_again(migrating: Migrating) -> None:
    job = await migrating.begin("a", "b", "c")
    await migrating.put(job, await migrating.page(job), failing="b")
    failures, total = await migrating.migrations.failures(
        migrating.collection, migrating.id, limit=10, offset=0
    )
    assert [(f.item_id, f.code, f.message) for f in failures] == [("b", "corrupt_media", "broken")]
    assert total == 1
    assert await migrating.progress() == (3, 2, 1)
    assert not (await migrating.page(job)).items
    await migrating.write("b", text="whole again")
    await migrating.drain(job)
    assert await migrating.progress() == (3, 3, 0)
    await migrating.write("a", text="changed")
    await migrating.put(job, await migrating.page(job), failing="a")
    assert same(await migrating.vectors(job), {"b": "whole again", "c": "first"})
    await migrating.items.delete(migrating.collection, ["a"])
    assert await migrating.progress() == (2, 2, 0)


async def test_a_canceled_one_leaves_nothing(migrating: Migrating) -> None:
    job = await migrating.begin("a", "b")
    await migrating.put(job, await migrating.page(job, 1))
    await migrating.write("a")
    assert await migrating.migrations.cancel(migrating.collection, migrating.id)
    assert not await migrating.migrations.cancel(migrating.collection, migrating.id)
    assert not await migrating.migrations.renew(job)
    with pytest.raises(LeaseLost):
        await migrating.put(job, await migrating.page(job))
    with pytest.raises(LeaseLost):
        async with migrating.rows.switching(migrating.collection, job, 1.0) as switch:
            await switch.finish()
    await migrating.rows.drop_leftovers()
    assert not await migrating.tables(job.space.key)
    waiting = "SELECT count(*) FROM model_migration_items"
    await migrating.write("a", "c")
    assert await migrating.database.pool.fetchval(waiting) == 0
    assert (await reloaded(migrating.database, migrating.collection)).space.key == (
        migrating.collection.space.key
    )


async def test_a_deleted_collection_takes_its_migration_along(
    migrating: Migrating, database: Database
) -> None:
    job = await migrating.begin("a", "b")
    await migrating.put(job, await migrating.page(job, 1))
    await migrating.write("a")
    collections = CollectionStore(database)
    read = await migrating.page(job)
    await collections.delete("default", migrating.collection.id)
    with pytest.raises(LeaseLost):
        await migrating.put(job, read)
    assert not await migrating.migrations.renew(job)
    await collections.drop_leftovers()
    for key in (job.space.key, migrating.collection.space.key):
        assert not await migrating.tables(key)
    with pytest.raises(NotFound):
        await migrating.page(job)
    assert await database.pool.fetchval("SELECT count(*) FROM model_migration_items") == 0


async def test_a_collection_deleted_after_the_switch_takes_the_old_space_along(
    migrating: Migrating, database: Database
) -> None:
    job = await migrating.begin("a")
    await migrating.drain(job)
    await migrating.switch(job)
    collections = CollectionStore(database)
    await collections.delete("default", migrating.collection.id)
    await collections.drop_leftovers()
    for key in (job.space.key, migrating.collection.space.key):
        assert not await migrating.tables(key)
