"""A migration's items to vectors of the new model: read from the store, embedded, told apart."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from app.domain.modality import Modality
from app.domain.requests import InlineInput, TextInput
from app.errors import InvalidInput, MediaError, NotFound, Overloaded
from app.store.reembedding import Embedded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.domain.model_migrations import Unembedded
    from app.domain.requests import Input
    from app.domain.segments import Segments
    from app.encoders.work import Priority
    from app.engine.inputs import EncodedInput, InputEncoder
    from app.media.store import MediaStore
    from app.store.reembedding import Page

# On their way at once: enough to fill the encoder's batches, fewer than there are slots for raw
# media and for sounds (app/engine/inputs.py), of which requests need some.
IN_FLIGHT = {Modality.TEXT: 32, Modality.IMAGE: 6, Modality.AUDIO: 2}


class _MediaMissing(Exception):
    """There is nothing to embed any more."""


class Reembedder:
    def __init__(self, inputs: InputEncoder, media: MediaStore) -> None:
        self._inputs = inputs
        self._media = media
        self._slots = {kind: asyncio.Semaphore(most) for kind, most in IN_FLIGHT.items()}

    async def embed(self, model_id: str, page: Page, priority: Priority) -> Embedded:
        """Embed a page's items, with the reason in the place of those that cannot be.

        Raises what is no item's fault: Unavailable, and whatever a model fails with.
        """
        vectors: dict[int, NDArray[np.float32]] = {}
        segments: dict[int, Segments] = {}
        failures: dict[int, tuple[str, str]] = {}

        async def embed(item: Unembedded) -> None:
            if item.modality is None:
                message = "it is a ready vector, which no model can make anew"
                failures[item.seq] = ("ready_vectors", message)
                return
            async with self._slots[item.modality]:
                try:
                    encoded = await self._embed(model_id, item, item.modality, priority)
                except _MediaMissing:
                    failures[item.seq] = ("media_missing", "its media is not in the store any more")
                except (InvalidInput, MediaError) as error:
                    failures[item.seq] = (error.code, error.message)
                else:
                    vectors[item.seq] = encoded.vector
                    if encoded.segments is not None:
                        segments[item.seq] = encoded.segments

        try:
            async with asyncio.TaskGroup() as group:
                for item in page.items:
                    group.create_task(embed(item))
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return Embedded(page, vectors, segments, failures)

    async def _embed(
        self, model_id: str, item: Unembedded, modality: Modality, priority: Priority
    ) -> EncodedInput:
        source = await self._input(item, modality)
        while True:
            try:
                return await self._inputs.encode(model_id, source, priority)
            except Overloaded as error:
                await asyncio.sleep(error.retry_after)

    async def _input(self, item: Unembedded, modality: Modality) -> Input:
        if modality is Modality.TEXT and item.text is not None:
            return TextInput(item.text)
        if item.media is None:
            raise _MediaMissing
        try:
            data = await self._media.get(item.media.key)
        except NotFound:
            raise _MediaMissing from None
        return InlineInput(modality, data, str(modality))
