"""Vectorize's use cases: collections by name, ready vectors, metadata indexes, mutations."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from app.domain.filters import Indexed, InNamespace
from app.domain.items import NewItem, WriteMode
from app.domain.requests import IndexItem, OnError
from app.domain.vector_indexes import IndexInfo, VectorMatches, path_of
from app.encoders.work import Priority
from app.engine.inputs import model_of
from app.engine.vector_queries import to_unit_length, wish_for
from app.errors import InvalidInput, ItemsRejected, NotFound
from app.settings import Unindexed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from app.domain.collections import Collection, SpaceSpec
    from app.domain.filters import Filter, MetadataIndex, MetadataKind, Path
    from app.domain.items import Item
    from app.domain.vector_indexes import (
        Clause,
        IdCursor,
        IdPage,
        Mutation,
        VectorBatch,
        VectorQuery,
    )
    from app.engine.housekeeping import Housekeeper
    from app.engine.indexing import Indexer
    from app.engine.inputs import InputEncoder
    from app.engine.nearest import NearestSearcher
    from app.engine.recent import RecentCollections
    from app.settings import Settings
    from app.store.collections import CollectionStore
    from app.store.metadata_indexes import MetadataIndexStore
    from app.store.mutations import MutationStore
    from app.store.projects import ProjectStore
    from app.store.ready_vectors import ReadyVectorStore

MOST_METADATA_INDEXES = 10


@dataclass(frozen=True, slots=True)
class VectorIndexStores:
    projects: ProjectStore
    collections: CollectionStore
    vectors: ReadyVectorStore
    metadata_indexes: MetadataIndexStore
    mutations: MutationStore


class VectorIndexes:
    """Collections under the names of indexes; what is written is there before the answer is."""

    def __init__(
        self,
        settings: Settings,
        recent: RecentCollections,
        stores: VectorIndexStores,
        inputs: InputEncoder,
        indexer: Indexer,
        nearest: NearestSearcher,
        housekeeper: Housekeeper,
    ) -> None:
        self._settings = settings
        self._recent = recent
        self._stores = stores
        self._inputs = inputs
        self._indexer = indexer
        self._nearest = nearest
        self._housekeeper = housekeeper

    # -- indexes ----------------------------------------------------------------------------------

    async def create(
        self, project: str, *, name: str, description: str | None, spec: SpaceSpec
    ) -> Collection:
        """Create an empty index, and the project with it. Raises NameTaken."""
        await self._stores.projects.ensure(project)
        return await self._stores.collections.create(project, name, description, spec)

    async def find(self, project: str, name: str) -> Collection:
        """Raises NotFound of kind `index`."""
        collection = await self._stores.collections.find(project, name)
        if collection is None:
            raise NotFound("index", name)
        return collection

    async def list_indexes(self, project: str, most: int) -> Sequence[Collection]:
        """The project's first indexes in the order of creation."""
        entries, _ = await self._stores.collections.list(project, limit=most, offset=0)
        return entries

    async def info(self, index: Collection, caller: str) -> IndexInfo:
        """Count the vectors and name the last mutation; see MutationStore.processed."""
        processed = await self._stores.mutations.processed(index, caller)
        return IndexInfo(index.space.spec.dimensions, index.item_count, processed)

    # -- vectors ----------------------------------------------------------------------------------

    async def write(
        self, index: Collection, batch: VectorBatch, mode: WriteMode, caller: str
    ) -> Mutation:
        """Write the batch, all or nothing; content in it is embedded first.

        Raises ItemsRejected with every content that cannot be, by its place in the batch. An
        insert leaves out what is stored already before it embeds anything.
        """

        async def use(index: Collection) -> Mutation:
            return await self._write(index, batch, mode, caller)

        return await self._recent.following(index, use)

    async def _write(
        self, index: Collection, batch: VectorBatch, mode: WriteMode, caller: str
    ) -> Mutation:
        vectors = batch.vectors
        if index.space.spec.model_id is not None:
            vectors = to_unit_length(vectors)
        write = self._stores.vectors.write
        kept = list(range(len(batch.ids)))
        if batch.inputs and mode is WriteMode.INSERT:
            stored = await self._stores.vectors.existing(index, batch.ids)
            kept = [place for place in kept if batch.ids[place] not in stored]
        items = {
            place: NewItem(
                id=batch.ids[place],
                modality=None,
                vector=vectors[place],
                metadata=batch.metadata[place],
                namespace=batch.namespaces[place],
            )
            for place in kept
        }
        places = [place for place in kept if place in batch.inputs]
        if places:
            mutation = await self._embed_and_write(index, batch, items, places, mode, caller)
        else:
            mutation = await write(index, list(items.values()), mode, caller)
        grown = replace(index, item_count=index.item_count + len(batch.ids))
        self._housekeeper.consider_index(grown)
        if index.space.spec.model_id is not None:
            self._housekeeper.wake()  # media may have been replaced
        return mutation

    async def _embed_and_write(
        self,
        index: Collection,
        batch: VectorBatch,
        items: dict[int, NewItem],
        places: Sequence[int],
        mode: WriteMode,
        caller: str,
    ) -> Mutation:
        """Put what is embedded of the inputs at `places` among the items, and write them all."""
        contents = [
            IndexItem(batch.inputs[place], batch.metadata[place], batch.ids[place])
            for place in places
        ]
        mutations: list[Mutation] = []

        async def put(collection: Collection, prepared: Sequence[NewItem]) -> None:
            for place, item in zip(places, prepared, strict=True):
                items[place] = replace(item, namespace=batch.namespaces[place])
            stored = await self._stores.vectors.write(
                collection, list(items.values()), mode, caller
            )
            mutations.append(stored)

        try:
            await self._indexer.index(index, contents, OnError.FAIL, put)
        except ItemsRejected as error:
            raise ItemsRejected(
                [replace(failure, index=places[failure.index]) for failure in error.failures]
            ) from None
        [mutation] = mutations
        return mutation

    async def delete_vectors(self, index: Collection, ids: Sequence[str], caller: str) -> Mutation:

        async def use(index: Collection) -> Mutation:
            return await self._stores.vectors.delete(index, ids, caller)

        mutation = await self._recent.following(index, use)
        self._housekeeper.wake()
        return mutation

    async def get_vectors(
        self, index: Collection, ids: Sequence[str]
    ) -> Sequence[tuple[Item, NDArray[np.float32]]]:
        """Those that exist, in the order asked, each once."""

        async def use(index: Collection) -> dict[str, tuple[Item, NDArray[np.float32]]]:
            return await self._stores.vectors.get(index, ids)

        found = await self._recent.following(index, use)
        return [found[name] for name in dict.fromkeys(ids) if name in found]

    async def list_ids(
        self, index: Collection, limit: int, cursor: IdCursor | None = None
    ) -> IdPage:
        """List ids; see VectorStore.list_ids."""
        return await self._stores.vectors.list_ids(index, limit, cursor)

    # -- queries ----------------------------------------------------------------------------------

    async def query(self, index: Collection, query: VectorQuery) -> VectorMatches:
        """Find the nearest vectors, best first.

        Raises NotFound of kind `vector` for an id that is not stored, and InvalidInput for a
        condition on a field without an index where the settings want that.
        """

        async def use(index: Collection) -> VectorMatches:
            return await self._query(index, query)

        return await self._recent.following(index, use)

    async def _query(self, index: Collection, query: VectorQuery) -> VectorMatches:
        started = time.perf_counter()
        vector = await self._vector(index, query)
        encoded = time.perf_counter()
        indexes: Sequence[MetadataIndex] = ()
        if query.conditions or query.with_indexed:
            indexes = await self._stores.metadata_indexes.list(index)
        clauses = self._resolve(query.conditions, indexes)
        if clauses is None:
            return VectorMatches((), indexes)
        if query.namespace is not None:
            clauses.append(InNamespace(query.namespace))
        found = await self._nearest.find(index, wish_for(index, query, vector, clauses))
        seconds = {"encode": encoded - started, "database": time.perf_counter() - encoded}
        return VectorMatches(found.hits, indexes, seconds)

    async def _vector(self, index: Collection, query: VectorQuery) -> NDArray[np.float32]:
        """Return float32 [d], of unit length for a model's space."""
        if query.input is not None:
            encoded = await self._inputs.encode(model_of(index), query.input, Priority.SEARCH)
            return encoded.vector
        vector = query.vector
        if query.item_id is not None:
            found = await self._stores.vectors.get(index, [query.item_id])
            if query.item_id not in found:
                raise NotFound("vector", query.item_id)
            _, vector = found[query.item_id]
        if vector is None:
            raise InvalidInput.at((), "a query needs a vector, an id or an input")
        if index.space.spec.model_id is not None:
            [vector] = to_unit_length(vector[np.newaxis])
        return vector

    def _resolve(
        self, conditions: Sequence[Clause], indexes: Sequence[MetadataIndex]
    ) -> list[Filter] | None:
        """Return the conditions on metadata indexes as filters; None where nothing can match."""
        by_path = {index.path: index for index in indexes}
        clauses: list[Filter] = []
        for condition in conditions:
            path = path_of(condition)
            if path in by_path:
                clauses.append(Indexed(by_path[path], condition))
            elif self._settings.vectorize.unindexed is Unindexed.METADATA:
                clauses.append(condition)
            elif self._settings.vectorize.unindexed is Unindexed.ERROR:
                name = ".".join(path)
                raise InvalidInput.at(("filter", name), f"{name} has no metadata index")
            else:
                return None
        return clauses

    # -- metadata indexes -------------------------------------------------------------------------

    async def metadata_indexes(self, index: Collection) -> Sequence[MetadataIndex]:
        return await self._stores.metadata_indexes.list(index)

    async def create_metadata_index(
        self, index: Collection, path: Path, kind: MetadataKind, caller: str
    ) -> Mutation:
        """Index a metadata field of what is written from now on.

        One that is there already stays. Raises InvalidInput for one of another kind,
        LimitReached beyond ten.
        """
        return await self._stores.metadata_indexes.create(
            index, path, kind, caller, MOST_METADATA_INDEXES
        )

    async def delete_metadata_index(self, index: Collection, path: Path, caller: str) -> Mutation:
        """Raises NotFound of kind `metadata index`."""
        return await self._stores.metadata_indexes.delete(index, path, caller)
