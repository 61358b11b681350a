"""What happens in the background: unreferenced media, dropped collections, indexes to build."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

import structlog

from app.domain.collections import IndexKind, IndexState
from app.errors import NotFound, Unavailable
from app.store.metrics import indexable_as

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.domain.collections import Collection, Space
    from app.media.store import MediaStore
    from app.settings import SearchSettings, Settings
    from app.store.collections import CollectionStore
    from app.store.fields import FieldIndexStore
    from app.store.indexes import IndexStore
    from app.store.outbox import Outbox

# A space's first index waits for a quiet time this many times as long at most.
PATIENCE = 30
POLL = 2.0  # seconds between two looks at a collection that is written to
FEW = 10  # as small a part of the vectors that may be in no index is left there
WRITTEN = timedelta(hours=1)  # since when another process may have left something to index

log = structlog.get_logger(__name__)


class Housekeeper:
    """Sweeps at start, then at an interval or as soon as it is woken."""

    def __init__(
        self,
        settings: Settings,
        media: MediaStore,
        collections: CollectionStore,
        outbox: Outbox,
        indexes: IndexStore,
        fields: FieldIndexStore,
    ) -> None:
        self._interval = settings.media.sweep_interval
        self._settings = settings.search
        self._media = media
        self._collections = collections
        self._outbox = outbox
        self._indexes = indexes
        self._fields = fields
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._builds: dict[str, asyncio.Task[None]] = {}
        self._written = timedelta(days=100_000)  # at first, whenever it was

    def start(self) -> None:
        self._loop = asyncio.create_task(self._run(), name="housekeeping")

    async def close(self) -> None:
        tasks = [task for task in (self._loop, *self._builds.values()) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def wake(self) -> None:
        """Sweep soon: something was deleted."""
        self._wake.set()

    def consider_index(self, collection: Collection, *, anew: bool = False) -> None:
        """Index in the background what a collection that is large enough has in no index.

        With `anew`, because its tuning changed, indexes are made anew, or dropped.
        """
        for space in collection.spaces:
            name = f"index {space.key}"
            kind = wanted_index(collection, space, self._settings)
            there = space.index_kind if space.index_state is IndexState.READY else None
            if kind is None and not anew:
                kind = there  # a smaller collection keeps its indexes, and they follow
            if kind is not None:
                build: Callable[[Collection, Space, IndexKind], Awaitable[object]]
                build = self._indexes.build if anew else self._build_when_due
                work = partial(build, collection, space, kind)
                self._in_background(name, "index_build_failed", work, follow=anew)
            elif kind is None and anew and (there is not None or name in self._builds):
                self._in_background(
                    name,
                    "index_drop_failed",
                    partial(self._indexes.drop, collection, space),
                    follow=True,
                )

    def build_fields(self, collection: Collection) -> asyncio.Task[None]:
        """Build in the background what fields the collection declares; the task may be awaited."""
        return self._in_background(
            f"fields {collection.key}",
            "field_build_failed",
            lambda: self._fields.build(collection),
        )

    async def _build_when_due(self, collection: Collection, space: Space, kind: IndexKind) -> None:
        """Let a load end first, whichever process writes, unless it brings too much for that."""
        settings, merge = self._settings, False
        latest = monotonic() + PATIENCE * settings.index_quiet
        few = settings.fresh_rows // FEW
        # Unless another task was started to follow this one.
        while asyncio.current_task() in self._builds.values():
            found = await self._collections.by_keys([collection.key])
            if not found:
                return
            [collection] = found
            space = collection.space_named(space.name)
            fresh = None
            if space.index_state is IndexState.READY and space.index_kind is kind:
                fresh = await self._indexes.fresh(collection, space, settings.fresh_rows + 1)
            age = (datetime.now(UTC) - collection.updated_at).total_seconds()
            if age >= settings.index_quiet:
                if fresh is None or fresh > few or merge:
                    await self._indexes.build(collection, space, kind, least=few)
                return
            if monotonic() >= latest if fresh is None else fresh > settings.fresh_rows:
                await self._indexes.build(collection, space, kind, least=few, busy=True)
                merge = True
            await asyncio.sleep(min(settings.index_quiet - age, POLL))

    def _in_background(
        self,
        name: str,
        event: str,
        work: Callable[[], Awaitable[object]],
        *,
        follow: bool = False,
    ) -> asyncio.Task[None]:
        """Start the work unless work of that name is under way; or, to `follow`, after that."""
        running = self._builds.get(name)
        if running is not None:
            if not follow:
                return running
            work = partial(_after, running, work)
        task = asyncio.create_task(self._guard(event, work), name=name)
        self._builds[name] = task
        task.add_done_callback(partial(self._forget, name))
        return task

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if self._builds.get(name) is task:  # and not what follows it
            del self._builds[name]

    async def _run(self) -> None:
        while True:
            # In this order: dropping a large collection's tables queues its media.
            await self._guard("drop_failed", self._collections.drop_leftovers)
            await self._guard("sweep_failed", self._sweep)
            await self._guard("index_check_failed", self._resume)
            try:
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _sweep(self) -> None:
        while await self._outbox.sweep(self._media.delete):
            pass

    async def _resume(self) -> None:
        """Take up what another process left unfinished, or what grew without us."""
        unfinished = set(await self._fields.unfinished())
        due = await self._indexes.due(self._settings.hnsw_rows, self._written)
        self._written = WRITTEN
        for collection in await self._collections.by_keys({*unfinished, *due}):
            if collection.key in unfinished:
                self.build_fields(collection)
            self.consider_index(collection)

    async def _guard(self, event: str, work: Callable[[], Awaitable[object]]) -> None:
        """Run a background job whose failure must be seen and must not end the others."""
        try:
            await work()
        except Unavailable as error:
            log.warning(event, service=error.service, reason=error.message)
        except NotFound:  # deleted meanwhile
            pass
        except Exception:
            log.exception(event)


async def _after(running: asyncio.Task[None], work: Callable[[], Awaitable[object]]) -> None:
    try:
        await asyncio.wait([running])
    except asyncio.CancelledError:
        running.cancel()
        await asyncio.wait([running])
        raise
    await work()


def wanted_index(
    collection: Collection, space: Space, settings: SearchSettings
) -> IndexKind | None:
    """Return the kind of index that the space should have for its size; None for none."""
    tuning, rows = collection.tuning, collection.item_count
    binary_rows = settings.binary_rows if tuning.binary_rows is None else tuning.binary_rows
    hnsw_rows = settings.hnsw_rows if tuning.hnsw_rows is None else tuning.hnsw_rows
    if rows > binary_rows and indexable_as(space.spec, IndexKind.BINARY):
        return IndexKind.BINARY
    if rows > hnsw_rows and indexable_as(space.spec, IndexKind.FLOAT16):
        return IndexKind.FLOAT16
    return None
