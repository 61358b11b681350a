"""From an input of any kind to its vector: fetch, decode, encode, and keep the media."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from app.domain.modality import Modality
from app.domain.requests import InlineInput, TextInput
from app.errors import InvalidInput, MediaTooLarge

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.media import AudioInput
    from app.domain.requests import Input, MediaInput
    from app.domain.segments import Segments
    from app.encoders.service import EncoderService
    from app.encoders.work import Encoded, Priority
    from app.media.decoder_pool import Decoders
    from app.media.fetch import Fetcher
    from app.settings import MediaSettings

# Raw media held in memory at once by one process: enough to keep the decoders fed, few enough
# that the largest files allowed cannot exhaust it. Decoded audio is large as well (10 minutes are
# 38 MB), so that its slot is held until its vector is made.
RAW_SLOTS = 8
AUDIO_SLOTS = 4


class Keep(Protocol):
    """What is done with media that decoded well, before its vector is made."""

    async def __call__(self, data: bytes, content_type: str) -> None: ...


@dataclass(frozen=True, slots=True)
class EncodedInput:
    """`vector` is float32 [d] of unit length, gap-corrected; `tokens` counts what was used.

    `segments` are a recording's.
    """

    vector: NDArray[np.float32]
    tokens: int
    segments: Segments | None = None


def model_of(collection: Collection) -> str:
    """The model of a collection's space; InvalidInput where clients bring their own vectors."""
    model_id = collection.space.spec.model_id
    if model_id is None:
        raise InvalidInput.at(
            (), f"collection {collection.name!r} holds vectors of its clients, and no model"
        )
    return model_id


class InputEncoder:
    """Turns inputs into vectors; shared by indexing and search."""

    def __init__(
        self,
        settings: MediaSettings,
        fetcher: Fetcher,
        decoders: Decoders,
        encoders: EncoderService,
    ) -> None:
        self._fetcher = fetcher
        self._decoders = decoders
        self._encoders = encoders
        self._max_bytes = {
            Modality.IMAGE: settings.image_max_bytes,
            Modality.AUDIO: settings.audio_max_bytes,
        }
        self._raw_slots = asyncio.Semaphore(RAW_SLOTS)
        self._audio_slots = asyncio.Semaphore(AUDIO_SLOTS)

    async def encode(
        self, model_id: str, source: Input, priority: Priority, keep: Keep | None = None
    ) -> EncodedInput:
        """Return the input's vector in the model's space.

        Raises MediaError when its media cannot be fetched or decoded, InvalidInput when the model
        has no tower for its kind, Overloaded when the model's queue is full.
        """
        match source:
            case TextInput(text=text):
                encoded = await self._encoders.encode_texts(model_id, [text], priority=priority)
            case _ if source.modality is Modality.IMAGE:
                encoded = await self._encode_image(model_id, source, priority, keep)
            case _:
                async with self._audio_slots:
                    encoded = await self._encode_audio(model_id, source, priority, keep)
        return EncodedInput(encoded.vectors[0], encoded.tokens[0], encoded.segments.get(0))

    async def _encode_image(
        self, model_id: str, source: MediaInput, priority: Priority, keep: Keep | None
    ) -> Encoded:
        spec = self._encoders.image_input(model_id)
        async with self._raw_slots:
            data = await self._load(source)
            image = await self._decoders.image(data, spec)
            if keep is not None:
                await keep(data, image.content_type)
        return await self._encoders.encode_images(model_id, [image.pixels], priority=priority)

    async def _encode_audio(
        self, model_id: str, source: MediaInput, priority: Priority, keep: Keep | None
    ) -> Encoded:
        spec = self._encoders.audio_input(model_id)
        samples = await self._decode_audio(source, spec, keep)
        return await self._encoders.encode_audios(model_id, [samples], priority=priority)

    async def _decode_audio(
        self, source: MediaInput, spec: AudioInput, keep: Keep | None
    ) -> NDArray[np.float32]:
        """Return the samples alone: what was fetched is let go of before they are encoded."""
        async with self._raw_slots:
            data = await self._load(source)
            audio = await self._decoders.audio(data, spec)
            if keep is not None:
                await keep(data, audio.content_type)
        return audio.samples

    async def _load(self, source: MediaInput) -> bytes:
        limit = self._max_bytes[source.modality]
        if not isinstance(source, InlineInput):
            return await self._fetcher.fetch(source.url, max_bytes=limit)
        if len(source.data) > limit:
            raise MediaTooLarge(f"{len(source.data)} bytes; at most {limit} are taken")
        return source.data
