"""Collections remembered for a moment: fast, and never in the place of the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.domain.search import Branch
from app.engine.nearest import NearestSearcher
from app.engine.planner import Wish
from app.engine.recent import RecentCollections
from app.errors import NotFound, Outdated
from app.settings import SearchSettings
from app.store.collections import CollectionStore
from app.store.search import SearchStore
from app.store.spaces import SpaceStore
from tests.engine.factories import DIMENSIONS, a_collection, put, random_vectors

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.store.database import Database

WISH = Wish(np.ones(DIMENSIONS, dtype=np.float32), (Branch(None),), limit=3)


class Counting(CollectionStore):
    looked_up = 0

    async def get(self, project_id: str, collection_id: str) -> Collection:
        self.looked_up += 1
        return await super().get(project_id, collection_id)


@pytest.fixture
async def found_in(database: Database) -> Collection:
    collection = await a_collection(database)
    await put(database, collection, {str(n): v for n, v in enumerate(random_vectors(5))})
    return collection


async def test_a_collection_is_looked_up_once_and_its_end_is_noticed(
    database: Database, found_in: Collection
) -> None:
    store = Counting(database)
    recent = RecentCollections(store)
    nearest = NearestSearcher(SearchSettings(), SearchStore(database))

    async def search(collection: Collection) -> int:
        return len((await nearest.find(collection, WISH)).hits)

    for _ in range(3):
        assert await recent.run("default", found_in.id, search) == 3
    assert store.looked_up == 1
    await CollectionStore(database).delete("default", found_in.id)  # by another process
    for _ in range(2):
        with pytest.raises(NotFound):
            await recent.run("default", found_in.id, search)


async def test_another_project_sees_nothing(database: Database, found_in: Collection) -> None:
    recent = RecentCollections(CollectionStore(database))

    async def name(collection: Collection) -> str:
        return collection.name

    assert await recent.run("default", found_in.id, name) == found_in.name
    with pytest.raises(NotFound):
        await recent.run("other", found_in.id, name)


async def test_what_is_forgotten_or_old_is_looked_up_anew(
    database: Database, found_in: Collection
) -> None:
    store = Counting(database)

    async def nothing(collection: Collection) -> None: ...

    recent = RecentCollections(store)
    await recent.run("default", found_in.id, nothing)
    recent.forget("default", found_in.id)
    await recent.run("default", found_in.id, nothing)
    assert store.looked_up == 2
    brief = RecentCollections(store, seconds=0)
    await brief.run("default", found_in.id, nothing)
    await brief.run("default", found_in.id, nothing)
    assert store.looked_up == 4


async def test_what_is_missing_is_looked_for_once_more(
    database: Database, found_in: Collection
) -> None:
    store = Counting(database)
    recent = RecentCollections(store)

    async def fail(collection: Collection) -> None:
        raise NotFound("item", "x")

    for looked_up in (1, 2):
        with pytest.raises(NotFound, match="item"):
            await recent.run("default", found_in.id, fail)
        assert store.looked_up == looked_up


async def test_what_is_asked_of_a_collection_that_changed_its_model_is_asked_anew(
    database: Database, found_in: Collection
) -> None:
    recent = RecentCollections(CollectionStore(database))
    seen: list[int] = []

    async def replaced(collection: Collection) -> str:
        seen.append(collection.space.key)
        if len(seen) == 1:
            await SpaceStore(database).create(collection, "next", collection.space.spec)
            await database.pool.execute(
                "UPDATE collections SET current_space = (SELECT max(key) FROM spaces) "
                "WHERE key = $1",
                collection.key,
            )
            raise Outdated(collection.id)
        return collection.space.name

    assert await recent.current("default", found_in.id, replaced) == "next"
    assert len(set(seen)) == 2


async def test_a_collection_that_is_as_it_was_is_not_asked_again(
    database: Database, found_in: Collection
) -> None:
    recent = RecentCollections(CollectionStore(database))
    asked = 0

    async def fail(collection: Collection) -> None:
        nonlocal asked
        asked += 1
        raise NotFound("collection", collection.id)

    with pytest.raises(NotFound):
        await recent.current("default", found_in.id, fail)
    assert asked == 1
