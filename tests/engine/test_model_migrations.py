"""Changing a collection's model while it is written to and searched."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from app.domain.collections import IndexState, SearchTuning
from app.domain.items import WriteMode
from app.domain.modality import Modality
from app.domain.model_migrations import MigrationState, ModelMigration
from app.domain.requests import (
    Example,
    FacetRequest,
    GroupBy,
    Hybrid,
    IndexItem,
    InlineInput,
    OnError,
    SearchQuery,
    TextInput,
)
from app.domain.search import Strategy
from app.domain.vector_indexes import VectorBatch, VectorQuery
from app.domain.vectors import NewPoint
from app.encoders.work import Priority
from app.engine import migrator
from app.engine.engine import Engine
from app.errors import (
    InvalidInput,
    MigrationEnded,
    MigrationRunning,
    NotFound,
    ReadyVectors,
    SameModel,
    Unavailable,
)
from app.settings import Settings
from app.store.names import vectors_table
from tests.encoders.factories import write_card
from tests.engine.factories import raw
from tests.engine.models import BUNDLED, OTHER, SMALL, TURNED, write_models
from tests.media.samples import tone, wav

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from app.domain.collections import Collection
    from app.domain.items import Item
    from app.store.reembedding import Embedded, Page
    from tests.servers.postgres import PostgresServer

PROJECT = "default"
TOUR = Path(__file__).parents[2] / "docs" / "tour"

_numbers = count(1)


@pytest.fixture(scope="module")
async def settings(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    directory = tmp_path_factory.mktemp("migrating")
    settings = Settings(data_dir=directory / "data")
    models = write_models(directory / "models")
    write_card(models, id="no-weights")
    return replace(
        settings,
        database=replace(settings.database, url=await postgres.create_database("migrated")),
        media=replace(settings.media, sweep_interval=0.2),
        models=replace(settings.models, directory=models, default=SMALL, preload=()),
    )


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Engine]:
    engine = await Engine.open(settings)
    await engine.encoders.ready()
    try:
        yield engine
    finally:
        await engine.close()


@pytest.fixture(scope="module")
async def engine(settings: Settings) -> AsyncIterator[Engine]:
    async with running(settings) as engine:
        yield engine


@pytest.fixture
async def collection(engine: Engine) -> Collection:
    return await a_collection(engine)


async def a_collection(engine: Engine, model: str = SMALL) -> Collection:
    return await engine.create_collection(
        PROJECT, name=f"collection {next(_numbers)}", description=None, model_id=model
    )


class Gate:
    """Holds up an engine's migrations after so many pages, until it is opened."""

    def __init__(self, engine: Engine, monkeypatch: pytest.MonkeyPatch, pages: int) -> None:
        self._pages = pages
        self._embed = engine._migrator._reembedder.embed
        self.reached, self.opened = asyncio.Event(), asyncio.Event()
        monkeypatch.setattr(engine._migrator._reembedder, "embed", self._pass)
        monkeypatch.setattr(migrator, "PAGE_ITEMS", 3)

    async def _pass(self, model_id: str, page: Page, priority: Priority) -> Embedded:
        self._pages -= 1
        if self._pages < 0:
            self.reached.set()
            await self.opened.wait()
        return await self._embed(model_id, page, priority)

    async def wait(self) -> None:
        async with asyncio.timeout(60):
            await self.reached.wait()


def text(words: str, name: str | None = None) -> IndexItem:
    return IndexItem(TextInput(words), json.dumps({"kind": words[:1]}), name)


def media(name: str) -> IndexItem:
    modality = Modality.IMAGE if name.endswith("jpg") else Modality.AUDIO
    data = (TOUR / name).read_bytes()
    return IndexItem(InlineInput(modality, data, "media"), id=name)


async def index(engine: Engine, collection: Collection, *items: IndexItem) -> None:
    await engine.index(PROJECT, collection.id, items, OnError.FAIL)


async def start(engine: Engine, collection: Collection, model: str) -> ModelMigration:
    return await engine.migrations.start(PROJECT, collection.id, model)


async def ended(
    engine: Engine, collection: Collection, migration: ModelMigration
) -> ModelMigration:
    async with asyncio.timeout(240):
        while True:
            now = await engine.migrations.get(PROJECT, collection.id, migration.id)
            if now.finished_at is not None:
                return now
            await asyncio.sleep(0.05)


async def migrated(engine: Engine, collection: Collection, model: str) -> ModelMigration:
    return await ended(engine, collection, await start(engine, collection, model))


async def search(engine: Engine, collection: Collection, query: SearchQuery) -> Sequence[Any]:
    return (await engine.search(PROJECT, collection.id, query)).hits


async def finds(engine: Engine, collection: Collection, words: str, name: str) -> bool:
    """Whether a text finds the item that it is the text of: like ones may be as near."""
    hits = await search(engine, collection, SearchQuery(TextInput(words), top_k=5))
    return name in {hit.item.id for hit in hits if hit.similarity > 0.995}


async def items_of(engine: Engine, collection: Collection) -> Sequence[Item]:
    page = await engine.list_items(PROJECT, collection.id, limit=1000, offset=0)
    return page.entries


async def check_vectors(engine: Engine, collection: Collection, model: str) -> int:
    """Hold every item's vector against what the model makes of its content."""
    items = await items_of(engine, collection)
    stored = await engine.points.get_vectors(PROJECT, collection.id, "", [i.id for i in items])
    assert stored.keys() == {item.id for item in items}
    for item in items:
        source: Any = TextInput(item.text or "")
        if item.media is not None:
            data = await engine.media.get(item.media.key)
            assert item.modality is not None
            source = InlineInput(item.modality, data, "media")
        encoded = await engine._indexer._inputs.encode(model, source, Priority.INDEX)
        vector = stored[item.id]
        assert isinstance(vector, np.ndarray)
        assert np.abs(vector - encoded.vector).max() < 2e-3, item.id
    return len(items)


class Load:
    """Indexes, updates, deletes and searches without a pause, and holds every answer right."""

    def __init__(self, engine: Engine, collection: Collection) -> None:
        self._engine = engine
        self._collection = collection
        self.texts: dict[str, str] = {}
        self.searches = 0
        self.rounds = 0

    async def write(self, stop: asyncio.Event) -> None:
        """Each round adds an item, changes one and deletes one, and finds what it wrote."""
        while not stop.is_set():
            began = time.monotonic()
            self.rounds += 1
            n = self.rounds
            added, changed = f"added-{n}", f"added-{n - n % 5}"
            for name, words in ((added, f"new thing number {n}"), (changed, f"revision {n}")):
                await index(self._engine, self._collection, text(words, name))
                self.texts[name] = words
                assert await finds(self._engine, self._collection, words, name)
            if n % 3 == 0:
                gone = f"added-{n - 1}"
                assert await self._delete(gone) == (gone in self.texts)
                self.texts.pop(gone, None)
            await _rest(began)

    async def go_on(self) -> None:
        """Let it do some more of everything."""
        rounds, searches = self.rounds + 4, self.searches + 5
        while self.rounds < rounds or self.searches < searches:  # noqa: ASYNC110
            await asyncio.sleep(0.05)

    async def _delete(self, name: str) -> int:
        return await self._engine.delete_items(PROJECT, self._collection.id, [name])

    async def search(self, stop: asyncio.Event) -> None:
        queries = [
            SearchQuery(TextInput("the constant thing"), top_k=3),
            SearchQuery(example=Example(("constant-1",)), top_k=3),
            SearchQuery(TextInput("thing"), top_k=3, facets=(FacetRequest("kind", ("kind",)),)),
            SearchQuery(TextInput("thing"), top_k=3, hybrid=Hybrid()),
            SearchQuery(TextInput("thing"), top_k=1, group_by=GroupBy(("kind",))),
        ]
        while not stop.is_set():
            for query in queries:
                began = time.monotonic()
                hits = await search(self._engine, self._collection, query)
                assert len(hits) == query.top_k, query
                self.searches += 1
                await _rest(began)


async def _rest(began: float) -> None:
    """Leave the encoder some time, on however slow a machine."""
    await asyncio.sleep(2 * (time.monotonic() - began))


@asynccontextmanager
async def load(*loads: Load) -> AsyncIterator[None]:
    """Run the loads' writers, one each, and searchers while the block runs."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for each in loads:
            group.create_task(each.search(stop))
            group.create_task(each.write(stop))
        yield
        stop.set()


async def test_nothing_is_missed_and_no_search_fails_meanwhile(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = await a_collection(engine, BUNDLED)
    monkeypatch.setattr(migrator, "PAGE_ITEMS", 4)
    names = ["cat.jpg", "rocket.jpg", "bell.wav"]
    await index(engine, collection, *(media(name) for name in names))
    constant = {f"constant-{n}": f"the constant thing number {n}" for n in range(15)}
    await index(engine, collection, *(text(words, name) for name, words in constant.items()))
    meanwhile = Load(engine, collection)
    async with load(meanwhile):
        done = await migrated(engine, collection, TURNED)
        await meanwhile.go_on()
    assert done.state is MigrationState.COMPLETED
    assert (done.from_model_id, done.model_id, done.failed) == (BUNDLED, TURNED, 0)
    assert done.done == done.total
    after = await engine.get_collection(PROJECT, collection.id)
    assert after.space.spec.model_id == TURNED
    texts = constant | meanwhile.texts
    assert {i.id for i in await items_of(engine, collection)} == {*names, *texts}
    assert after.item_count == await check_vectors(engine, collection, TURNED)
    for name, words in texts.items():
        assert await finds(engine, collection, words, name)
    for name in names:
        query = SearchQuery(media(name).input, top_k=1)
        outcome = await engine.search(PROJECT, collection.id, query)
        assert outcome.model_id == TURNED
        assert outcome.hits[0].item.id == name
        assert outcome.hits[0].score > 0.99


async def test_a_model_of_other_dimensions_takes_over_and_the_first_one_again(
    engine: Engine, collection: Collection
) -> None:
    await index(engine, collection, media("cat.jpg"), text("a kitten", "words"))
    assert (await migrated(engine, collection, OTHER)).state is MigrationState.COMPLETED
    after = await engine.get_collection(PROJECT, collection.id)
    assert (after.space.spec.model_id, after.space.spec.dimensions) == (OTHER, 40)
    await index(engine, collection, text("a dog", "dog"))
    assert await check_vectors(engine, collection, OTHER) == 3
    assert (await migrated(engine, collection, SMALL)).state is MigrationState.COMPLETED
    assert await check_vectors(engine, collection, SMALL) == 3
    listed = await engine.migrations.list(PROJECT, collection.id, limit=10, offset=0)
    assert [entry.model_id for entry in listed.entries] == [SMALL, OTHER]


async def test_recordings_have_their_segments_of_the_new_model(engine: Engine) -> None:
    collection = await a_collection(engine, BUNDLED)
    low, high = (tone(4.8, hertz=hertz) for hertz in (200.0, 3000.0))
    long = InlineInput(Modality.AUDIO, wav(np.concatenate([low, high], axis=1), 16_000), "media")
    await index(engine, collection, IndexItem(long, id="long"), media("bell.wav"))
    old = (await engine.get_collection(PROJECT, collection.id)).space.key
    assert (await migrated(engine, collection, TURNED)).state is MigrationState.COMPLETED
    space = (await engine.get_collection(PROJECT, collection.id)).space
    assert space.segmented
    count = "SELECT count(*), count(embedding) FROM segments WHERE space_key = $1"
    assert tuple(await engine.database.pool.fetchrow(count, space.key)) == (5, 4)
    query = SearchQuery(InlineInput(Modality.AUDIO, wav(high, 16_000), "media"), top_k=5)
    segments = {hit.item.id: hit.segment for hit in await search(engine, collection, query)}
    assert segments["long"].start >= 4.0
    await engine.delete_items(PROJECT, collection.id, ["long"])
    assert (await engine.database.pool.fetchrow(count, space.key))[0] == 1
    async with asyncio.timeout(30):
        while await engine.database.pool.fetchval(f"SELECT to_regclass('segments_s{old}')"):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_an_empty_collection_changes_its_model(
    engine: Engine, collection: Collection
) -> None:
    done = await migrated(engine, collection, OTHER)
    assert (done.state, done.total, done.done) == (MigrationState.COMPLETED, 0, 0)
    await index(engine, collection, text("a kitten", "words"))
    assert await finds(engine, collection, "a kitten", "words")


async def test_the_new_space_has_its_index_when_it_is_switched_to(
    engine: Engine, collection: Collection
) -> None:
    items = [text(f"thing number {n}", f"i{n}") for n in range(120)]
    for at in range(0, 120, 40):
        await index(engine, collection, *items[at : at + 40])
    await engine.indexes.tune(PROJECT, collection.id, SearchTuning(hnsw_rows=100, exact_rows=50))
    meanwhile = Load(engine, collection)
    meanwhile.texts = {f"constant-{n}": f"the constant thing {n}" for n in range(3)}
    await index(engine, collection, *(text(w, n) for n, w in meanwhile.texts.items()))
    migration = await start(engine, collection, OTHER)
    states = set()
    while True:
        current = await engine.get_collection(PROJECT, collection.id)
        states.add((await engine.migrations.get(PROJECT, collection.id, migration.id)).state)
        if current.space.spec.model_id == OTHER:
            break
        await asyncio.sleep(0.01)
    assert current.space.index_state is IndexState.READY
    outcome = await engine.search(PROJECT, collection.id, SearchQuery(TextInput("thing")))
    assert outcome.report.strategy is Strategy.HNSW
    assert len(outcome.hits) == 10
    assert MigrationState.EMBEDDING in states


async def test_what_one_process_leaves_another_goes_on_with(
    settings: Settings, postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(settings.database, url=await postgres.create_database("migrated"))
    settings = replace(settings, database=own)
    async with running(settings) as one:
        collection = await one.create_collection(PROJECT, name="left", description=None)
        await index(one, collection, *(text(f"thing {n}", f"i{n}") for n in range(12)))
        gate = Gate(one, monkeypatch, pages=2)
        migration = await start(one, collection, OTHER)
        await gate.wait()
        half = await one.migrations.get(PROJECT, collection.id, migration.id)
        assert (half.state, half.done, half.total) == (MigrationState.EMBEDDING, 6, 12)
        assert half.started_at is not None
        key = await one.database.pool.fetchval("SELECT space_key FROM model_migrations")
        rows = f"SELECT item_seq, xmin::text FROM {vectors_table(key)} ORDER BY item_seq"
        before = await one.database.pool.fetch(rows)
    async with running(settings) as other:
        done = await ended(other, collection, migration)
        assert (await other.database.pool.fetch(rows))[:6] == before  # and not made once more
        assert (done.state, done.done) == (MigrationState.COMPLETED, 12)
        assert done.started_at == half.started_at
        assert await check_vectors(other, collection, OTHER) == 12


async def test_processes_that_remember_the_old_model_find_all_the_same(
    engine: Engine, settings: Settings, collection: Collection
) -> None:
    constant = {f"constant-{n}": f"the constant thing number {n}" for n in range(20)}
    await index(engine, collection, *(text(words, name) for name, words in constant.items()))
    async with running(settings) as other:
        there = Load(other, collection)
        async with load(there):
            for model in (OTHER, SMALL, OTHER):
                done = await migrated(engine, collection, model)
                assert done.state is MigrationState.COMPLETED
                await there.go_on()
    for name, words in (constant | there.texts).items():
        assert await finds(engine, collection, words, name)
    assert await check_vectors(engine, collection, OTHER) == 20 + len(there.texts)


async def test_what_was_looked_up_before_the_switch_is_looked_up_again(
    engine: Engine, collection: Collection
) -> None:
    await index(engine, collection, text("a kitten", "words"), text("a bell", "gone"))
    await migrated(engine, collection, OTHER)
    stale, vectors = collection, engine.vector_indexes
    matches = await vectors.query(stale, VectorQuery(input=TextInput("a kitten"), top_k=1))
    assert [hit.item.id for hit in matches.hits] == ["words"]
    [(_, vector)] = await vectors.get_vectors(stale, ["words"])
    assert vector.shape == (40,)
    batch = VectorBatch(
        ["new"], [""], ["{}"], np.zeros((1, 24), dtype=np.float32), {0: TextInput("a dog")}
    )
    assert (await vectors.write(stale, batch, WriteMode.UPSERT, "caller")).ids == ["new"]
    await vectors.delete_vectors(stale, ["gone"], "caller")
    assert {item.id for item in await items_of(engine, collection)} == {"words", "new"}
    assert await check_vectors(engine, collection, OTHER) == 2


async def test_media_that_cannot_be_decoded_any_more_is_told_and_stops_nothing(
    engine: Engine, settings: Settings, collection: Collection
) -> None:
    names = ["cat.jpg", "coffee.jpg", "rocket.jpg"]
    await index(engine, collection, *(media(name) for name in names), text("fine", "fine"))
    stored = {item.id: item.media for item in await items_of(engine, collection)}
    assert stored["cat.jpg"]
    assert stored["rocket.jpg"]
    files = {path.name: path for path in (settings.data_dir / "media").rglob("*")}
    files[stored["cat.jpg"].key.replace("/", "~")].write_bytes(b"no image any more")
    files[stored["rocket.jpg"].key.replace("/", "~")].unlink()
    done = await migrated(engine, collection, OTHER)
    assert (done.state, done.total, done.done, done.failed) == (MigrationState.COMPLETED, 4, 2, 2)
    page = await engine.migrations.failures(PROJECT, collection.id, done.id, limit=10, offset=0)
    assert {f.item_id: f.code for f in page.entries} == {
        "cat.jpg": "unsupported_media",
        "rocket.jpg": "media_missing",
    }
    assert all(failure.message for failure in page.entries)
    second = await engine.migrations.failures(PROJECT, collection.id, done.id, limit=1, offset=1)
    assert (len(second.entries), second.total) == (1, 2)
    assert (await engine.get_item(PROJECT, collection.id, "cat.jpg")).id == "cat.jpg"
    hits = await search(engine, collection, SearchQuery(TextInput("a cat")))
    assert {hit.item.id for hit in hits} == {"coffee.jpg", "fine"}
    await index(engine, collection, media("cat.jpg"))
    hits = await search(engine, collection, SearchQuery(TextInput("a cat")))
    assert {hit.item.id for hit in hits} == {"cat.jpg", "coffee.jpg", "fine"}


async def test_a_kind_that_comes_later_and_the_model_lacks_is_told(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = await a_collection(engine, BUNDLED)
    await index(engine, collection, text("first", "first"))
    gate = Gate(engine, monkeypatch, pages=0)
    migration = await start(engine, collection, SMALL)
    await gate.wait()
    await index(engine, collection, media("bell.wav"))
    gate.opened.set()
    done = await ended(engine, collection, migration)
    assert (done.state, done.done, done.failed) == (MigrationState.COMPLETED, 1, 1)
    page = await engine.migrations.failures(PROJECT, collection.id, done.id, limit=10, offset=0)
    assert [(f.item_id, f.code) for f in page.entries] == [("bell.wav", "invalid_request")]
    assert "takes no audio" in page.entries[0].message


async def test_what_makes_no_sense_is_refused_before_anything_is_begun(engine: Engine) -> None:
    collection = await a_collection(engine, BUNDLED)
    await index(engine, collection, media("bell.wav"), text("words"))
    with pytest.raises(NotFound, match="model"):
        await start(engine, collection, "no-such-model")
    with pytest.raises(SameModel):
        await start(engine, collection, BUNDLED)
    with pytest.raises(InvalidInput, match=r"takes no audio \(1 items\)"):
        await start(engine, collection, SMALL)
    with pytest.raises(NotFound, match="collection"):
        await engine.migrations.start("other", collection.id, TURNED)
    page = await engine.migrations.list(PROJECT, collection.id, limit=10, offset=0)
    assert (page.entries, page.total) == ([], 0)


async def test_a_model_that_cannot_be_loaded_is_refused(
    engine: Engine, collection: Collection
) -> None:
    with pytest.raises(Unavailable):
        await start(engine, collection, "no-weights")
    page = await engine.migrations.list(PROJECT, collection.id, limit=10, offset=0)
    assert page.total == 0


async def test_ready_vectors_cannot_change_their_model(
    engine: Engine, collection: Collection
) -> None:
    bare = await engine.vector_indexes.create(
        PROJECT, name=f"bare {next(_numbers)}", description=None, spec=raw()
    )
    with pytest.raises(ReadyVectors, match="no content"):
        await start(engine, bare, OTHER)
    vector = np.ones(24, dtype=np.float32) / np.sqrt(np.float32(24))
    await engine.points.put(PROJECT, collection.id, [NewPoint("ready", {"": vector})])
    with pytest.raises(ReadyVectors, match="1 ready vectors"):
        await start(engine, collection, OTHER)


async def test_a_canceled_migration_leaves_the_old_model_and_another_may_begin(
    engine: Engine, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index(engine, collection, *(text(f"thing {n}", f"i{n}") for n in range(9)))
    gate = Gate(engine, monkeypatch, pages=1)
    migration = await start(engine, collection, OTHER)
    await gate.wait()
    with pytest.raises(MigrationRunning):
        await start(engine, collection, OTHER)
    with pytest.raises(MigrationRunning):
        await start(engine, collection, OTHER)
    canceled = await engine.migrations.cancel(PROJECT, collection.id, migration.id)
    assert (canceled.state, canceled.done, canceled.total) == (MigrationState.CANCELED, 3, 9)
    with pytest.raises(MigrationEnded):
        await engine.migrations.cancel(PROJECT, collection.id, migration.id)
    with pytest.raises(NotFound, match="migration"):
        await engine.migrations.cancel(PROJECT, collection.id, "mig_none")
    gate.opened.set()
    assert (await migrated(engine, collection, OTHER)).state is MigrationState.COMPLETED
    assert await check_vectors(engine, collection, OTHER) == 9


async def test_deleting_the_collection_ends_its_migration_and_the_next_one_follows(
    engine: Engine, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index(engine, collection, *(text(f"thing {n}") for n in range(9)))
    gate = Gate(engine, monkeypatch, pages=1)
    await start(engine, collection, OTHER)
    await gate.wait()
    key = await engine.database.pool.fetchval(
        "SELECT space_key FROM model_migrations WHERE collection_key = $1", collection.key
    )
    await engine.delete_collection(PROJECT, collection.id)
    gate.opened.set()
    other = await a_collection(engine)
    await index(engine, other, text("a kitten", "words"))
    assert (await migrated(engine, other, OTHER)).state is MigrationState.COMPLETED
    query = "SELECT num_nonnulls(to_regclass($1), to_regclass($2))"
    tables = [vectors_table(space) for space in (key, collection.space.key)]
    async with asyncio.timeout(60):
        while await engine.database.pool.fetchval(query, *tables):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_store_that_fails_is_waited_for(
    engine: Engine, settings: Settings, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrator, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(migrator, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(migrator, "MOST_ATTEMPTS", 1)
    await index(engine, collection, media("cat.jpg"))
    [item] = await items_of(engine, collection)
    assert item.media
    files = {path.name: path for path in (settings.data_dir / "media").rglob("*")}
    path = files[item.media.key.replace("/", "~")]
    path.rename(path.with_suffix(".away"))
    path.mkdir()  # whoever reads it
    migration = now = await start(engine, collection, OTHER)
    while now.error is None:
        await asyncio.sleep(0.05)
        now = await engine.migrations.get(PROJECT, collection.id, migration.id)
    assert "store" in now.error
    assert (now.done, now.failed, now.finished_at) == (0, 0, None)
    path.rmdir()
    path.with_suffix(".away").rename(path)
    done = await ended(engine, collection, migration)
    assert (done.state, done.done, done.error) == (MigrationState.COMPLETED, 1, None)


async def test_a_model_that_fails_is_given_up_in_the_end(
    engine: Engine, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrator, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(migrator, "LONGEST_PAUSE", 0.1)
    monkeypatch.setattr(migrator, "MOST_ATTEMPTS", 3)
    attempts = 0

    async def fall(model_id: str, page: Page, priority: Priority) -> Embedded:
        nonlocal attempts
        attempts += 1
        raise RuntimeError("the tower fell")

    monkeypatch.setattr(engine._migrator._reembedder, "embed", fall)
    await index(engine, collection, text("a kitten", "words"))
    failed = await migrated(engine, collection, OTHER)
    assert (failed.state, failed.done, attempts) == (MigrationState.FAILED, 0, 3)
    assert failed.error == "the model failed: RuntimeError"
    after = await engine.get_collection(PROJECT, collection.id)
    assert after.space.spec.model_id == SMALL
    assert await finds(engine, collection, "a kitten", "words")
