"""The engine: every use case, with no word of HTTP. The three faces stand on this."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import structlog

from app.domain.collections import Metric, SpaceSpec, VectorPrecision
from app.domain.modality import Modality
from app.domain.requests import Page
from app.encoders.service import EncoderService, ModelState
from app.engine.aiming import Aimer
from app.engine.gathering import Gatherer
from app.engine.housekeeping import Housekeeper
from app.engine.indexes import IndexAdministration
from app.engine.indexing import Indexer
from app.engine.inputs import InputEncoder
from app.engine.migrator import Migrator
from app.engine.model_migrations import ModelMigrations
from app.engine.nearest import NearestSearcher
from app.engine.points import Points
from app.engine.querying import Querier
from app.engine.recent import SECONDS, RecentCollections
from app.engine.reembedding import Reembedder
from app.engine.refining import Refiner
from app.engine.searching import Searcher
from app.engine.segments import SegmentSearcher
from app.engine.vector_indexes import VectorIndexes, VectorIndexStores
from app.engine.words import WordIndexer
from app.errors import NotFound, OmnivecError, Unavailable
from app.media.decoder_pool import Decoders
from app.media.fetch import Fetcher
from app.media.store import open_store
from app.store.collections import CollectionStore
from app.store.database import Database
from app.store.facets import FacetStore
from app.store.fields import FieldIndexStore
from app.store.indexes import IndexStore
from app.store.items import ItemStore
from app.store.keys import KeyStore
from app.store.metadata_indexes import MetadataIndexStore
from app.store.model_migrations import MigrationStore
from app.store.mutations import MutationStore
from app.store.outbox import Outbox
from app.store.points import PointStore
from app.store.projects import ProjectStore
from app.store.rankings import RankingStore
from app.store.ready_vectors import ReadyVectorStore
from app.store.reembedding import ReembeddingStore
from app.store.search import SearchStore
from app.store.segments import SegmentStore
from app.store.spaces import SpaceStore
from app.store.vectors import VectorStore
from app.store.words import WordIndexStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from app.domain.collections import Collection
    from app.domain.filters import Filter
    from app.domain.items import Item
    from app.domain.requests import IndexItem, IndexOutcome, OnError, SearchOutcome, SearchQuery
    from app.encoders.cards import Card
    from app.settings import Settings


log = structlog.get_logger(__name__)


class Engine:
    """Owns what the use cases need, from `open` to `close`."""

    def __init__(self, settings: Settings, database: Database, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self.database = database
        self.keys = KeyStore(database)
        self.media = open_store(settings)
        self.encoders = EncoderService(settings.models)
        self._collections = CollectionStore(database)
        self._items = ItemStore(database)
        outbox = Outbox(database)
        fetcher = Fetcher(settings.media)
        self._decoders = Decoders(settings.media)
        inputs = InputEncoder(settings.media, fetcher, self._decoders, self.encoders)
        self._indexer = Indexer(settings.media, inputs, self.media, self._items, outbox)
        vectors, rankings = VectorStore(database), RankingStore(database)
        facets, words = FacetStore(database), WordIndexer(WordIndexStore(database))
        nearest = NearestSearcher(settings.search, SearchStore(database))
        segments = SegmentSearcher(settings.search, nearest, SegmentStore(database))
        self._searcher = Searcher(
            self.encoders,
            Aimer(inputs, self._items),
            Refiner(segments, rankings, facets, vectors, words),
            segments,
        )
        querier = Querier(self._collections, rankings, vectors, nearest, words)
        gatherer = Gatherer(querier, facets, rankings, vectors)
        # What was remembered of a collection is forgotten before an index that it names is gone.
        indexes = IndexStore(database, grace=2 * SECONDS)
        fields = FieldIndexStore(database)
        self._recent = RecentCollections(self._collections)
        self._housekeeper = Housekeeper(
            settings, self.media, self._collections, outbox, indexes, fields
        )
        self.points = Points(
            self._collections,
            self._recent,
            querier,
            gatherer,
            SpaceStore(database),
            vectors,
            PointStore(self._items),
            self._housekeeper,
        )
        self.indexes = IndexAdministration(
            self._collections, self._recent, fields, indexes, self._housekeeper
        )
        migrations = MigrationStore(database)
        self._migrator = Migrator(
            settings.search,
            self._collections,
            self._recent,
            indexes,
            self.encoders,
            migrations,
            ReembeddingStore(database),
            Reembedder(inputs, self.media),
        )
        self.migrations = ModelMigrations(
            self._collections, migrations, self.encoders, self._migrator
        )
        self.vector_indexes = VectorIndexes(
            settings,
            self._recent,
            VectorIndexStores(
                ProjectStore(database),
                self._collections,
                ReadyVectorStore(database, self._items),
                MetadataIndexStore(database),
                MutationStore(database),
            ),
            inputs,
            self._indexer,
            nearest,
            self._housekeeper,
        )
        stack.push_async_callback(self.media.close)
        stack.push_async_callback(fetcher.aclose)
        stack.push_async_callback(self._decoders.close)
        stack.push_async_callback(self.encoders.close)
        stack.push_async_callback(words.close)
        stack.push_async_callback(self._housekeeper.close)
        stack.push_async_callback(self._migrator.close)

    @classmethod
    async def open(cls, settings: Settings) -> Self:
        """Start the database, the encoders and the housekeeping; Unavailable says what fails."""
        async with AsyncExitStack() as stack:
            database = await Database.open(settings)
            stack.push_async_callback(database.close)
            engine = cls(settings, database, stack)
            await engine.encoders.start()
            await engine._decoders.start()
            if reason := await _reason(engine.media.check()):
                log.warning("store_unavailable", reason=reason)
            engine._housekeeper.start()
            engine._migrator.start()
            engine._stack = stack.pop_all()
        return engine

    async def close(self) -> None:
        await self._stack.aclose()

    # -- models -----------------------------------------------------------------------------------

    def models(self) -> Sequence[Card]:
        return self.encoders.cards()

    def model_available(self, model_id: str) -> bool:
        """Whether the model's weights are there, without loading them."""
        return self.encoders.state(model_id) is not ModelState.UNAVAILABLE

    # -- collections ------------------------------------------------------------------------------

    async def create_collection(
        self, project: str, *, name: str, description: str | None, model_id: str | None = None
    ) -> Collection:
        """Create an empty collection; NameTaken, or NotFound for an unknown model."""
        card = self.encoders.card(model_id or self._settings.models.default)
        spec = SpaceSpec(card.id, card.dimensions, Metric.COSINE, VectorPrecision.FLOAT16)
        return await self._collections.create(project, name, description, spec)

    async def get_collection(self, project: str, collection_id: str) -> Collection:
        return await self._collections.get(project, collection_id)

    async def list_collections(
        self, project: str, *, limit: int, offset: int, name: str | None = None
    ) -> Page[Collection]:
        entries, total = await self._collections.list(
            project, limit=limit, offset=offset, name=name
        )
        return Page(entries, total, limit, offset)

    async def update_collection(
        self,
        project: str,
        collection_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
    ) -> Collection:
        """Change what is given; an empty description removes it. Raises NameTaken."""
        changes: dict[str, Any] = {}
        if name is not None:
            changes["name"] = name
        if description is not None:
            changes["description"] = description or None
        return await self._collections.update(project, collection_id, **changes)

    async def delete_collection(self, project: str, collection_id: str) -> None:
        """Delete a collection with its items; their media goes soon after."""
        await self._collections.delete(project, collection_id)
        self._recent.forget(project, collection_id)
        self._housekeeper.wake()

    # -- items ------------------------------------------------------------------------------------

    async def index(
        self, project: str, collection_id: str, items: Sequence[IndexItem], on_error: OnError
    ) -> IndexOutcome:
        """Embed and store items; see Indexer.index."""

        async def use(collection: Collection) -> IndexOutcome:
            outcome = await self._indexer.index(collection, items, on_error)
            if not collection.space.segmented and any(
                i.input.modality is Modality.AUDIO for i in items
            ):
                self._recent.forget(project, collection_id)
            grown = replace(collection, item_count=collection.item_count + len(items))
            self._housekeeper.consider_index(grown)
            return outcome

        return await self._recent.current(project, collection_id, use)

    async def list_items(
        self,
        project: str,
        collection_id: str,
        *,
        limit: int,
        offset: int,
        modalities: frozenset[Modality] | None = None,
        filter: Filter | None = None,  # noqa: A002 - the field's own word
    ) -> Page[Item]:
        """List items in the order of their creation."""
        collection = await self._collections.get(project, collection_id)
        entries, total = await self._items.list(
            collection, limit=limit, offset=offset, modalities=modalities, filter=filter
        )
        return Page(entries, total, limit, offset)

    async def get_item(self, project: str, collection_id: str, item_id: str) -> Item:
        collection = await self._collections.get(project, collection_id)
        found = await self._items.get(collection, [item_id])
        if not found:
            raise NotFound("item", item_id)
        return found[0]

    async def delete_items(self, project: str, collection_id: str, ids: Sequence[str]) -> int:
        """Delete items and return how many there were."""

        async def use(collection: Collection) -> int:
            return await self._items.delete(collection, ids)

        deleted = await self._recent.current(project, collection_id, use)
        self._housekeeper.wake()
        return deleted

    async def search(self, project: str, collection_id: str, query: SearchQuery) -> SearchOutcome:
        """Find items; see Searcher.search."""

        async def use(collection: Collection) -> SearchOutcome:
            return await self._searcher.search(collection, query)

        if query.example or query.hybrid or query.facets or query.group_by:
            return await self._recent.current(project, collection_id, use)
        return await self._recent.run(project, collection_id, use)

    def links(self, items: Sequence[Item], base_url: str) -> list[str | None]:
        """Presign the items' media in one go; None for items that have none."""
        media = [item.media for item in items if item.media is not None]
        signed = iter(self.media.presign(media, base_url))
        return [None if item.media is None else next(signed) for item in items]

    # -- health -----------------------------------------------------------------------------------

    async def readiness(self) -> Mapping[str, str | None]:
        """Tell for the database, the store and the models what keeps them from serving."""
        checks = {
            "database": self.database.check(),
            "store": self.media.check(),
            "model": self._check_models(),
        }
        reasons = await asyncio.gather(*map(_reason, checks.values()))
        return dict(zip(checks, reasons, strict=True))

    async def _check_models(self) -> None:
        for model_id in self._settings.models.preload:
            if failure := self.encoders.failure(model_id):
                raise failure
            if self.encoders.state(model_id) is not ModelState.LOADED:
                raise Unavailable("model", f"the model {model_id} is still loading")


async def _reason(check: Awaitable[object]) -> str | None:
    try:
        await check
    except OmnivecError as error:
        return error.message
    return None
