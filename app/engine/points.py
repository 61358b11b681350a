"""Points: a collection's items as vectors with metadata, queried and gathered in every way.

What a face with a vocabulary of its own stands on. The native search, which knows inputs and
calibrated scores, is the Searcher's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.domain.items import WriteMode
from app.domain.rankings import Scope

if TYPE_CHECKING:
    from collections.abc import Collection as Container
    from collections.abc import Mapping, Sequence

    from app.domain.collections import Collection, Space, SpaceSpec
    from app.domain.filters import Filter, Path
    from app.domain.items import Written
    from app.domain.queries import GroupQuery, Matrix, MatrixQuery, PointQuery
    from app.domain.rankings import FacetCount, Group, Ranked
    from app.domain.vectors import NewPoint, Vector
    from app.engine.gathering import Gatherer
    from app.engine.housekeeping import Housekeeper
    from app.engine.querying import Querier
    from app.engine.recent import RecentCollections
    from app.store.collections import CollectionStore
    from app.store.points import PointStore
    from app.store.spaces import SpaceStore
    from app.store.vectors import VectorStore


class Points:
    """Every method raises NotFound for an unknown collection, item or space."""

    def __init__(
        self,
        collections: CollectionStore,
        recent: RecentCollections,
        querier: Querier,
        gatherer: Gatherer,
        spaces: SpaceStore,
        vectors: VectorStore,
        points: PointStore,
        housekeeper: Housekeeper,
    ) -> None:
        self._collections = collections
        self._recent = recent
        self._querier = querier
        self._gatherer = gatherer
        self._spaces = spaces
        self._vectors = vectors
        self._points = points
        self._housekeeper = housekeeper

    async def query(
        self, project: str, collection_id: str, queries: Sequence[PointQuery]
    ) -> list[list[Ranked]]:
        """Answer a batch of queries; see Querier.query."""

        async def use(collection: Collection) -> list[list[Ranked]]:
            return await self._querier.query(collection, queries)

        return await self._recent.run(project, collection_id, use)

    async def group(self, project: str, collection_id: str, query: GroupQuery) -> list[Group]:
        """Group what a query finds; see Gatherer.group."""

        async def use(collection: Collection) -> list[Group]:
            return await self._gatherer.group(collection, query)

        return await self._recent.current(project, collection_id, use)

    async def count(
        self,
        project: str,
        collection_id: str,
        filter: Filter | None = None,  # noqa: A002 - the field's own word
        *,
        exact: bool = True,
    ) -> int:
        """Count the items that pass the filter, or estimate their number."""

        async def use(collection: Collection) -> int:
            return await self._gatherer.count(collection, Scope(filter), exact=exact)

        return await self._recent.current(project, collection_id, use)

    async def facet(
        self,
        project: str,
        collection_id: str,
        path: Path,
        filter: Filter | None = None,  # noqa: A002
        *,
        limit: int = 10,
    ) -> list[FacetCount]:
        """Count items by their values at `path`, the most frequent first."""

        async def use(collection: Collection) -> list[FacetCount]:
            return await self._gatherer.facet(collection, path, Scope(filter), limit)

        return await self._recent.current(project, collection_id, use)

    async def matrix(self, project: str, collection_id: str, query: MatrixQuery) -> Matrix:
        """Compare the items of a random sample with each other."""

        async def use(collection: Collection) -> Matrix:
            return await self._gatherer.matrix(collection, query)

        return await self._recent.current(project, collection_id, use)

    async def put(
        self,
        project: str,
        collection_id: str,
        points: Sequence[NewPoint],
        mode: WriteMode = WriteMode.UPSERT,
    ) -> Written:
        """Write items with their vectors in whichever spaces, all or none; see PointStore.put."""

        async def use(collection: Collection) -> Written:
            written = await self._points.put(collection, points, mode)
            grown = replace(collection, item_count=collection.item_count + written.inserted)
            self._housekeeper.consider_index(grown)
            return written

        return await self._recent.current(project, collection_id, use)

    async def create_space(
        self, project: str, collection_id: str, name: str, spec: SpaceSpec
    ) -> Space:
        """Add an empty space; NameTaken where there is one of that name."""
        collection = await self._collections.get(project, collection_id)
        space = await self._spaces.create(collection, name, spec)
        self._recent.forget(project, collection_id)
        return space

    async def drop_space(self, project: str, collection_id: str, name: str) -> None:
        """Drop a space and its vectors. A collection's own cannot be dropped."""
        collection = await self._collections.get(project, collection_id)
        await self._spaces.drop(collection, name)
        self._recent.forget(project, collection_id)

    async def put_vectors(
        self, project: str, collection_id: str, vectors: Mapping[str, Mapping[str, Vector]]
    ) -> set[str]:
        """Set vectors by space and item, all or none; return the ids of the items there are."""

        async def use(collection: Collection) -> set[str]:
            known = await self._vectors.put(collection, vectors)
            self._housekeeper.consider_index(collection)
            return known

        return await self._recent.current(project, collection_id, use)

    async def get_vectors(
        self, project: str, collection_id: str, space: str, ids: Container[str]
    ) -> dict[str, Vector]:
        """Return the vectors of those items that have one in the space."""

        async def use(collection: Collection) -> dict[str, Vector]:
            return await self._vectors.get(collection, collection.space_named(space), ids)

        return await self._recent.current(project, collection_id, use)

    async def remove_vectors(
        self, project: str, collection_id: str, spaces: Container[str], ids: Container[str]
    ) -> None:
        """Take vectors away; the items stay."""

        async def use(collection: Collection) -> None:
            await self._vectors.remove(collection, spaces, ids)

        await self._recent.current(project, collection_id, use)
