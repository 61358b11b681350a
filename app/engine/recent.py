"""Collections looked up a moment ago: a search goes straight to its statement.

What is remembered may be stale. Only statements that themselves make sure of the collection, as
SearchStore's do, may be run with it: what was deleted never answers.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

from app.errors import InvalidInput, NotFound, Outdated

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from app.domain.collections import Collection
    from app.store.collections import CollectionStore

T = TypeVar("T")

SECONDS = 2.0  # how long a plan may be made for a collection as it was
MOST = 1024


class RecentCollections:
    def __init__(self, store: CollectionStore, seconds: float = SECONDS) -> None:
        self._store = store
        self._seconds = seconds
        self._known: OrderedDict[tuple[str, str], tuple[float, Collection]] = OrderedDict()

    async def run(
        self, project: str, collection_id: str, use: Callable[[Collection], Awaitable[T]]
    ) -> T:
        """Call `use` with the collection, and again with a fresh one where that may be at fault.

        Raises NotFound where there is no such collection.
        """
        key = (project, collection_id)
        if (known := self._recall(key)) is not None:
            try:
                return await use(known)
            # Of a space, too, that another process has just made, or that has another model now.
            except (NotFound, InvalidInput):
                self.forget(*key)
        collection = await self._store.get(project, collection_id)
        self._known[key] = (time.monotonic() + self._seconds, collection)
        self._known.move_to_end(key)
        if len(self._known) > MOST:
            self._known.popitem(last=False)
        return await self.following(collection, use)

    async def current(
        self, project: str, collection_id: str, use: Callable[[Collection], Awaitable[T]]
    ) -> T:
        """Call `use` with the collection as it is now: for what must not see it stale.

        Where it changes its model meanwhile, `use` is called again. Raises NotFound.
        """
        collection = await self._store.get(project, collection_id)
        return await self.following(collection, use)

    async def following(
        self, collection: Collection, use: Callable[[Collection], Awaitable[T]]
    ) -> T:
        """Call `use` with the collection, and again where it has changed its model meanwhile."""
        while True:
            try:
                return await use(collection)
            except (NotFound, Outdated) as error:
                if isinstance(error, NotFound) and error.kind != "collection":
                    raise
                known = collection.space.key
                try:
                    collection = await self._store.get(collection.project_id, collection.id)
                except NotFound:
                    raise error from None
                if collection.space.key == known:
                    raise

    def forget(self, project: str, collection_id: str) -> None:
        """Look it up anew next time: it was changed."""
        self._known.pop((project, collection_id), None)

    def _recall(self, key: tuple[str, str]) -> Collection | None:
        until, collection = self._known.get(key, (0.0, None))
        return collection if time.monotonic() < until else None
