"""Runs migrations in the background: one at a time in each process, each in one process."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from itertools import chain, repeat
from typing import TYPE_CHECKING, Any

import structlog

from app.domain.model_migrations import MigrationState
from app.encoders.work import Priority
from app.engine.housekeeping import wanted_index
from app.errors import NotFound, OmnivecError, Unavailable
from app.store.model_migrations import LEASE_SECONDS
from app.store.reembedding import LeaseLost
from app.store.space_records import TO_COME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.domain.collections import Collection
    from app.domain.model_migrations import MigrationJob
    from app.encoders.service import EncoderService
    from app.engine.recent import RecentCollections
    from app.engine.reembedding import Reembedder
    from app.settings import SearchSettings
    from app.store.collections import CollectionStore
    from app.store.indexes import IndexStore
    from app.store.model_migrations import MigrationStore
    from app.store.reembedding import ReembeddingStore

POLL_SECONDS = 5.0
PAGE_ITEMS = 128
LAST_ITEMS = 32  # of one page while writers wait

# Attempts at which a model fails, one after the other and without an item done, before a migration
# is given up; the pauses between them double. What cannot be reached is waited for.
MOST_ATTEMPTS = 8
LONGEST_PAUSE = 60.0

KEEP_UP_SECONDS = 1.0  # between looks at what was written while an index is built

# How long writers are kept waiting for the switch: longer each time it was not long enough.
HOLD_SECONDS = (1.0, 2.0, 4.0, 8.0)

log = structlog.get_logger(__name__)


class Migrator:
    def __init__(
        self,
        settings: SearchSettings,
        collections: CollectionStore,
        recent: RecentCollections,
        indexes: IndexStore,
        encoders: EncoderService,
        migrations: MigrationStore,
        rows: ReembeddingStore,
        reembedder: Reembedder,
    ) -> None:
        self._settings = settings
        self._collections = collections
        self._recent = recent
        self._indexes = indexes
        self._encoders = encoders
        self._migrations = migrations
        self._rows = rows
        self._reembedder = reembedder
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._run(), name="migrations"),
            asyncio.create_task(self._watch(), name="migrations of others"),
        ]

    async def close(self) -> None:
        """Stop, and leave what is under way to the next process."""
        await _ended(*self._tasks)

    def wake(self) -> None:
        """Look for work soon: a migration was begun."""
        self._wake.set()

    async def _run(self) -> None:
        while True:
            await _guard("migration_claim_failed", self._work)
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):
                    await self._wake.wait()
            self._wake.clear()

    async def _watch(self) -> None:
        """Drop what is left, and load in every process what will soon be searched with."""
        while True:
            await _guard("migration_leftovers_failed", self._rows.drop_leftovers)
            await _guard("model_to_come_failed", self._load_coming)
            await asyncio.sleep(POLL_SECONDS)

    async def _load_coming(self) -> None:
        for model_id in await self._migrations.models():
            await self._encoders.load(model_id)

    async def _work(self) -> None:
        while (job := await self._migrations.claim()) is not None:
            await self._attempt(job)
            await self._rows.drop_leftovers()

    async def _attempt(self, job: MigrationJob) -> None:
        """Run a migration as long as it is ours; what fails is tried again, here or elsewhere."""
        work = asyncio.create_task(self._migrate(job), name=f"migration {job.key}")
        lease = asyncio.create_task(self._keep(job), name=f"lease of migration {job.key}")
        try:
            await asyncio.wait({work, lease}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
        except asyncio.CancelledError:
            await _ended(work, lease)
            with suppress(OmnivecError):
                await self._migrations.release(job)
            raise
        except LeaseLost:
            pass
        except Exception as error:  # noqa: BLE001 (kept with the migration, and told)
            await self._failed(job, error)
        finally:
            await _ended(work, lease)

    async def _failed(self, job: MigrationJob, error: Exception) -> None:
        if isinstance(error, NotFound) and error.kind == "collection":
            return  # deleted meanwhile
        if isinstance(error, OmnivecError):
            reason = error.message
            log.warning("migration_failed", model=job.model_id, reason=reason)
        else:
            reason = f"the model failed: {type(error).__name__}"
            log.error("migration_failed", model=job.model_id, exc_info=error)
        awaited = isinstance(error, Unavailable | NotFound)  # another process may have the model
        attempts = await self._migrations.postpone(job, LONGEST_PAUSE, reason, counted=not awaited)
        if attempts is not None and attempts >= MOST_ATTEMPTS:
            await self._migrations.end(job.key, MigrationState.FAILED, reason)

    async def _keep(self, job: MigrationJob) -> None:
        """Renew the lease until it is lost: the migration was canceled, or its collection gone."""
        held_until = time.monotonic() + LEASE_SECONDS
        while time.monotonic() < held_until:
            await asyncio.sleep(LEASE_SECONDS / 10)
            with suppress(Unavailable):
                if not await self._migrations.renew(job):
                    return
                held_until = time.monotonic() + LEASE_SECONDS

    async def _migrate(self, job: MigrationJob) -> None:
        collection = await self._collection(job)
        await self._encoders.load(job.model_id)
        await self._drain(collection, job)
        await self._rows.analyze(collection, job)
        await self._index(job)
        for hold in chain(HOLD_SECONDS, repeat(HOLD_SECONDS[-1])):
            if await self._switch(collection, job, hold):
                break
            await self._drain(collection, job)
        self._recent.forget(collection.project_id, collection.id)

    async def _collection(self, job: MigrationJob) -> Collection:
        found = await self._collections.by_keys([job.collection_key])
        if not found:
            raise LeaseLost
        return found[0]

    async def _drain(self, collection: Collection, job: MigrationJob) -> None:
        """Embed until nothing is left for the moment.

        What is written meanwhile is as urgent as writing itself, or it would never be caught up
        with.
        """
        while (page := await self._rows.page(collection, job, PAGE_ITEMS)).items:
            priority = Priority.INDEX if page.written else Priority.BACKGROUND
            embedded = await self._reembedder.embed(job.model_id, page, priority)
            await self._rows.put(collection, job, embedded)

    async def _index(self, job: MigrationJob) -> None:
        """Build the indexes that the new space should have, keeping up with what is written."""
        collection = await self._collection(job)
        kind = wanted_index(collection, job.space, self._settings)
        if kind is None:
            return
        await self._migrations.enter(job, MigrationState.INDEXING)
        build = asyncio.create_task(
            self._indexes.build(collection, job.space, kind, record=TO_COME)
        )
        try:
            while not build.done():
                await self._drain(collection, job)
                await asyncio.wait({build}, timeout=KEEP_UP_SECONDS)
            if not await build:
                raise Unavailable("database", "another process is still building the index")
        finally:
            await _ended(build)

    async def _switch(self, collection: Collection, job: MigrationJob, hold: float) -> bool:
        """Embed what was written last while nobody writes, and switch; False: not in that time."""
        until = time.monotonic() + hold
        try:
            async with self._rows.switching(collection, job, hold) as switch:
                while (page := await switch.page(LAST_ITEMS)).items:
                    async with asyncio.timeout(until - time.monotonic()):
                        embedded = await self._reembedder.embed(job.model_id, page, Priority.INDEX)
                    await switch.put(embedded)
                await switch.finish()
        except (TimeoutError, Unavailable):  # of a writer, too, that has not ended
            return False
        return True


async def _ended(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _guard(event: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do a round of background work whose failure must be seen and must not end the rounds."""
    try:
        await work()
    except OmnivecError as error:
        log.warning(event, reason=error.message)
    except Exception:
        log.exception(event)
