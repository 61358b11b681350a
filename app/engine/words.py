"""Indexes over words, which come by themselves: the first full-text search asks for one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from app.errors import NotFound, OmnivecError

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.domain.rankings import Language
    from app.store.words import WordIndexStore

log = structlog.get_logger(__name__)

LEAST_ITEMS = 5_000  # below it, reading every text takes some milliseconds
MOST_REMEMBERED = 10_000


class WordIndexer:
    def __init__(self, store: WordIndexStore) -> None:
        self._store = store
        self._tasks: dict[tuple[int, Language], asyncio.Task[None]] = {}

    def consider(self, collection: Collection, language: Language) -> asyncio.Task[None] | None:
        """Build the index in the background where the collection is large enough to need it.

        Asked for once in the life of a process; the task may be awaited.
        """
        if collection.item_count < LEAST_ITEMS:
            return None
        key = (collection.key, language)
        if key not in self._tasks:
            self._forget_some()
            name = f"words {collection.key} {language}"
            self._tasks[key] = asyncio.create_task(self._build(collection, language), name=name)
        return self._tasks[key]

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _forget_some(self) -> None:
        if len(self._tasks) >= MOST_REMEMBERED:
            self._tasks = {key: task for key, task in self._tasks.items() if not task.done()}

    async def _build(self, collection: Collection, language: Language) -> None:
        try:
            if not await self._store.build(collection, language):
                self._tasks.pop((collection.key, language), None)  # the next search asks again
        except NotFound:  # deleted meanwhile
            pass
        except OmnivecError as error:  # searches read every text, as before
            log.warning("words_build_failed", reason=error.message)
