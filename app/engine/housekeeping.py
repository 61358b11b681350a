"""What happens in the background: unreferenced media, dropped collections, indexes to build."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from app.domain.collections import IndexState
from app.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.domain.collections import Collection
    from app.media.store import MediaStore
    from app.settings import Settings
    from app.store.collections import CollectionStore
    from app.store.indexes import IndexStore
    from app.store.outbox import Outbox

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
    ) -> None:
        self._interval = settings.media.sweep_interval
        self._hnsw_rows = settings.search.hnsw_rows
        self._media = media
        self._collections = collections
        self._outbox = outbox
        self._indexes = indexes
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._builds: dict[int, asyncio.Task[None]] = {}

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

    def consider_index(self, collection: Collection) -> None:
        """Build the space's index in the background once it is large enough to need one."""
        space = collection.space
        if (
            collection.item_count <= self._hnsw_rows
            or space.index_state is IndexState.READY
            or space.key in self._builds
        ):
            return
        task = asyncio.create_task(
            self._guard("index_build_failed", lambda: self._indexes.build(collection)),
            name=f"index {collection.id}",
        )
        self._builds[space.key] = task
        task.add_done_callback(lambda _: self._builds.pop(space.key, None))

    async def _run(self) -> None:
        while True:
            # In this order: dropping a large collection's tables queues its media.
            await self._guard("drop_failed", self._collections.drop_leftovers)
            await self._guard("sweep_failed", self._sweep)
            try:
                async with asyncio.timeout(self._interval):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _sweep(self) -> None:
        while await self._outbox.sweep(self._media.delete):
            pass

    async def _guard(self, event: str, work: Callable[[], Awaitable[object]]) -> None:
        """Run a background job whose failure must be seen and must not end the others."""
        try:
            await work()
        except Unavailable as error:
            log.warning(event, service=error.service, reason=error.message)
        except Exception:
            log.exception(event)
