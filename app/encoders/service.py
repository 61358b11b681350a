"""The engine's door to the encoders: inputs in, vectors that can be stored and compared out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from app.domain.modality import Modality
from app.encoders.batching import Batcher, TowerStats
from app.encoders.memory import give_memory_back
from app.encoders.registry import Model, Registry
from app.errors import InvalidInput, OmnivecError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from app.domain.media import AudioInput, ImageInput
    from app.encoders.cards import Card, Logistic
    from app.encoders.work import Encoded, Priority
    from app.settings import ModelSettings

_TIDY_SECONDS = 5.0
# A load that failed within this time may be tried again at once. One that took longer (a hub that
# does not answer) is not repeated for every request.
_CHEAP_FAILURE_SECONDS = 1.0

log = logging.getLogger(__name__)


class ModelState(StrEnum):
    UNAVAILABLE = "unavailable"  # its weights are not on this machine
    AVAILABLE = "available"
    LOADING = "loading"
    LOADED = "loaded"


@dataclass(frozen=True, slots=True)
class EncoderStats:
    """`waiting` counts inputs by priority, those in flight included."""

    waiting: dict[Priority, int]
    towers: list[TowerStats]
    loaded: list[str]


class EncoderService:
    """Encodes for the whole process. Every method is called from the event loop."""

    def __init__(self, settings: ModelSettings, registry: Registry | None = None) -> None:
        self._settings = settings
        self._registry = Registry(settings) if registry is None else registry
        self._batcher = Batcher(settings)
        self._models: dict[str, Model] = {}
        self._loading: dict[str, asyncio.Task[Model]] = {}
        self._failures: dict[str, OmnivecError] = {}
        self._retry_at: dict[str, float] = {}
        self._active: Counter[str] = Counter()
        self._used: dict[str, float] = {}
        self._preload: asyncio.Task[None] | None = None
        self._housekeeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the encoder's threads; the preloaded models load in the background."""
        self._batcher.start()
        self._preload = asyncio.create_task(self._load_first())
        self._housekeeping = asyncio.create_task(self._keep_house())

    async def close(self) -> None:
        """Finish the batches in flight; whoever still waits gets Unavailable."""
        started = (self._preload, self._housekeeping, *self._loading.values())
        tasks = [task for task in started if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(self._batcher.close)
        self._models.clear()

    async def ready(self) -> None:
        """Wait until the models to preload are loaded; raises why one of them is not."""
        if self._preload is not None:
            await asyncio.shield(self._preload)
        for model_id in self._settings.preload:
            if error := self._failures.get(model_id):
                raise error

    def state(self, model_id: str) -> ModelState:
        """NotFound if there is no such model."""
        if model_id in self._models:
            return ModelState.LOADED
        if model_id in self._loading:
            return ModelState.LOADING
        available = self._registry.available(model_id)
        return ModelState.AVAILABLE if available else ModelState.UNAVAILABLE

    def failure(self, model_id: str) -> OmnivecError | None:
        """Why the last attempt to load a model failed, if it did."""
        return self._failures.get(model_id)

    def cards(self) -> list[Card]:
        """Every model's card, the default model's first."""
        return self._registry.cards()

    def card(self, model_id: str) -> Card:
        """NotFound if there is no such model."""
        return self._registry.entry(model_id).card

    async def load(self, model_id: str) -> None:
        """Load a model unless it is; NotFound (no such model), Unavailable (why it cannot be)."""
        self.card(model_id)
        async with self._model(model_id):
            pass

    def image_input(self, model_id: str) -> ImageInput:
        """Tell what `encode_images` takes; InvalidInput if the model takes no images."""
        tower = self._card_for(model_id, Modality.IMAGE).image
        assert tower is not None
        return tower.input()

    def audio_input(self, model_id: str) -> AudioInput:
        """Tell what `encode_audios` takes; InvalidInput if the model takes no audio."""
        tower = self._card_for(model_id, Modality.AUDIO).audio
        assert tower is not None
        return tower.input()

    async def encode_texts(
        self, model_id: str, texts: Sequence[str], *, priority: Priority
    ) -> Encoded:
        """Encode texts; what exceeds the model's context is cut, and `tokens` tells.

        Like all three: NotFound (no such model), InvalidInput (a modality that the model lacks),
        Unavailable (it cannot be loaded), Overloaded (the queue is full).
        """
        return await self._encode(model_id, Modality.TEXT, texts, priority)

    async def encode_images(
        self, model_id: str, images: Sequence[NDArray[np.uint8]], *, priority: Priority
    ) -> Encoded:
        """Encode uint8 [size, size, 3] RGB pixels as `image_input` describes them."""
        size = self.image_input(model_id).size
        for pixels in images:
            if pixels.shape != (size, size, 3):
                raise ValueError(f"{model_id} takes [{size}, {size}, 3], not {pixels.shape}")
        return await self._encode(model_id, Modality.IMAGE, images, priority)

    async def encode_audios(
        self, model_id: str, waves: Sequence[NDArray[np.float32]], *, priority: Priority
    ) -> Encoded:
        """Encode mono waveforms, float32 [n], at the rate that `audio_input` tells.

        A recording's vector is the mean of its windows' vectors.
        """
        return await self._encode(model_id, Modality.AUDIO, waves, priority)

    def score(
        self, model_id: str, query: Modality, item: Modality, cosines: ArrayLike
    ) -> NDArray[np.float64]:
        """Turn cosines of any shape into scores from 0 to 1 of that shape."""
        return self._registry.calibration(model_id).scores(query, item, cosines)

    def curve(self, model_id: str, query: Modality, item: Modality) -> Logistic:
        """Return the curve behind `score`: its logits rank items of several modalities together."""
        return self._registry.calibration(model_id).curve(query, item)

    def least_cosine(self, model_id: str, query: Modality, item: Modality, score: float) -> float:
        """Return the cosine from which on `score` is reached; above 1 if none reaches it."""
        return self._registry.calibration(model_id).least_cosine(query, item, score)

    def stats(self) -> EncoderStats:
        return EncoderStats(self._batcher.waiting(), self._batcher.towers(), sorted(self._models))

    def _card_for(self, model_id: str, modality: Modality) -> Card:
        card = self.card(model_id)
        if modality not in card.types:
            raise InvalidInput.at((modality,), f"the model {model_id} takes no {modality}")
        return card

    async def _encode(
        self,
        model_id: str,
        modality: Modality,
        values: Sequence[str] | Sequence[NDArray[np.uint8]] | Sequence[NDArray[np.float32]],
        priority: Priority,
    ) -> Encoded:
        self._card_for(model_id, modality)
        async with self._model(model_id) as model:
            return await self._batcher.submit(model, modality, priority, values)

    @contextlib.asynccontextmanager
    async def _model(self, model_id: str) -> AsyncIterator[Model]:
        """Hold a model loaded, loading it first if it is not."""
        self._active[model_id] += 1
        try:
            yield self._models.get(model_id) or await self._load(model_id)
        finally:
            self._active[model_id] -= 1
            self._used[model_id] = time.monotonic()

    async def _load(self, model_id: str) -> Model:
        """Load a model, once however many ask; one who gives up does not stop the others."""
        if time.monotonic() < self._retry_at.get(model_id, 0.0):
            raise self._failures[model_id]
        task = self._loading.get(model_id)
        if task is None:
            task = self._loading[model_id] = asyncio.create_task(self._load_now(model_id))
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _load_now(self, model_id: str) -> Model:
        started = time.monotonic()
        try:
            model = await asyncio.to_thread(self._registry.load, model_id)
        except OmnivecError as error:
            self._failures[model_id] = error
            seconds = time.monotonic() - started
            if seconds > _CHEAP_FAILURE_SECONDS:
                self._retry_at[model_id] = time.monotonic() + seconds
            raise
        else:
            self._failures.pop(model_id, None)
            self._models[model_id] = model
            return model
        finally:
            del self._loading[model_id]

    async def _load_first(self) -> None:
        for model_id in self._settings.preload:
            try:
                async with self._model(model_id):
                    pass
            except OmnivecError as error:
                self._failures[model_id] = error
                log.error("cannot preload the model %s: %s", model_id, error)  # noqa: TRY400

    async def _keep_house(self) -> None:
        """Unload idle models, and give memory back when the towers come to rest."""
        idle = self._settings.idle_unload
        tidied = 0
        while True:
            await asyncio.sleep(min(_TIDY_SECONDS, idle / 4) if idle else _TIDY_SECONDS)
            unloaded = self._unload(time.monotonic() - idle) if idle else 0
            batches = sum(tower.batches for tower in self._batcher.towers())
            at_rest = not any(self._batcher.waiting().values())
            if unloaded or (at_rest and batches != tidied):
                tidied = batches
                await asyncio.to_thread(give_memory_back)

    def _unload(self, latest: float) -> int:
        """Unload what was last used at `latest` or before; return how many models."""
        idle = [
            model_id
            for model_id in self._models
            if not self._active[model_id] and self._used[model_id] <= latest
        ]
        for model_id in idle:
            self._batcher.forget(self._models.pop(model_id))
            log.info("unloaded the idle model %s", model_id)
        return len(idle)


def _retrieve(task: asyncio.Task[Model]) -> None:
    """Take note of a failure that everyone who asked has stopped waiting for."""
    if not task.cancelled():
        task.exception()
