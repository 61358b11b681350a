"""Indexing: from a batch of inputs to items that searches find."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.domain.ids import new_id
from app.domain.items import NewItem
from app.domain.media import MediaRef
from app.domain.modality import MEDIA_MODALITIES
from app.domain.requests import IndexedItem, IndexOutcome, OnError, TextInput
from app.encoders.work import Priority
from app.engine.inputs import model_of
from app.errors import ItemFailure, ItemsRejected, MediaError, OmnivecError
from app.media.keys import new_key

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.domain.collections import Collection
    from app.domain.requests import IndexItem
    from app.engine.inputs import InputEncoder
    from app.media.store import MediaStore
    from app.settings import MediaSettings
    from app.store.items import ItemStore
    from app.store.outbox import Outbox

# Items of one request on their way at once. Media are decoded in the order in which they came, so
# that of two large requests the first is well ahead: were they in step, nothing would be decoded
# while both wait for the encoder to finish what is left of them. Of large requests at once, so many
# times this many inputs may wait for the encoder, which takes OMNIVEC_QUEUE_SIZE.
ITEMS_IN_FLIGHT = 64


class Put(Protocol):
    """What stores prepared items, all or none, and takes their media off the outbox."""

    async def __call__(self, collection: Collection, items: Sequence[NewItem], /) -> None: ...


@dataclass(frozen=True, slots=True)
class _Prepared:
    item: NewItem
    tokens: int


class Indexer:
    """Prepares all items of a batch, then commits them in one transaction.

    Media keys are reserved before the first upload and released by the transaction that stores
    their items: whatever a crash or a failure leaves behind, the outbox removes once it is due.
    """

    def __init__(
        self,
        settings: MediaSettings,
        inputs: InputEncoder,
        media: MediaStore,
        items: ItemStore,
        outbox: Outbox,
    ) -> None:
        self._settings = settings
        self._inputs = inputs
        self._media = media
        self._items = items
        self._outbox = outbox

    async def index(
        self,
        collection: Collection,
        items: Sequence[IndexItem],
        on_error: OnError,
        put: Put | None = None,
    ) -> IndexOutcome:
        """Store the items, all or none; or, skipping, those that can be.

        `put` stores them in place of the item store. Raises ItemsRejected with every failing item
        when `on_error` is FAIL.
        """
        keys = {
            index: new_key(collection.project_id, collection.id)
            for index, item in enumerate(items)
            if item.input.modality in MEDIA_MODALITIES
        }
        if keys:
            await self._outbox.reserve(list(keys.values()), self._settings.orphan_ttl)
        try:
            results = await self._prepare_all(collection, items, keys)
            failures = [result for result in results if isinstance(result, ItemFailure)]
            if failures and on_error is OnError.FAIL:
                raise ItemsRejected(failures)
            prepared = [result for result in results if isinstance(result, _Prepared)]
            if prepared:
                await (put or self._items.put)(collection, [entry.item for entry in prepared])
        except OmnivecError:
            await self._outbox.expire(list(keys.values()))
            raise
        if skipped := [keys[failure.index] for failure in failures if failure.index in keys]:
            await self._outbox.expire(skipped)
        return IndexOutcome(
            items=[
                IndexedItem(result.item.id, source.input.modality)
                if isinstance(result, _Prepared)
                else None
                for source, result in zip(items, results, strict=True)
            ],
            failures=failures,
            model_id=model_of(collection),
            input_tokens=sum(entry.tokens for entry in prepared),
        )

    async def _prepare_all(
        self, collection: Collection, items: Sequence[IndexItem], keys: Mapping[int, str]
    ) -> list[_Prepared | ItemFailure]:
        """Prepare all items, ItemFailure in the place of each that cannot be."""
        slots = asyncio.Semaphore(ITEMS_IN_FLIGHT)

        async def prepare(index: int, item: IndexItem) -> _Prepared | ItemFailure:
            async with slots:
                try:
                    return await self._prepare(collection, item, keys.get(index))
                except MediaError as error:
                    return ItemFailure(index, (item.input.field,), error.code, error.message)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(prepare(*entry)) for entry in enumerate(items)]
        except BaseExceptionGroup as failed:
            # What is no fault of one item (a full queue, an unreachable store) fails them all.
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _prepare(
        self, collection: Collection, source: IndexItem, key: str | None
    ) -> _Prepared:
        media: MediaRef | None = None

        async def keep(data: bytes, content_type: str) -> None:
            nonlocal media
            if key is not None:
                await self._media.put(key, data, content_type)
                media = MediaRef(key, content_type)

        encoded = await self._inputs.encode(
            model_of(collection), source.input, Priority.INDEX, keep
        )
        item = NewItem(
            id=source.id or new_id("item"),
            modality=source.input.modality,
            vector=encoded.vector,
            text=source.input.text if isinstance(source.input, TextInput) else None,
            media=media,
            metadata=source.metadata,
            segments=encoded.segments,
        )
        return _Prepared(item, encoded.tokens)
