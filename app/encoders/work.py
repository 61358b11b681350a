"""What waits for a tower, and how batches are cut from it."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

from app.domain.modality import Modality
from app.domain.segments import Segments
from app.encoders.recordings import Recording

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from app.encoders.registry import Model

# Texts of like length are looked for among this many batches' worth of the oldest.
_SORTED_BATCHES = 4
# A batch of texts holds, padding included, at most this many tokens for each input it may hold.
_TOKENS_PER_INPUT = 64


class Priority(IntEnum):
    """Who goes first. A person waits for a search, and nobody for what is embedded anew."""

    SEARCH = 0
    INDEX = 1
    BACKGROUND = 2


@dataclass(frozen=True, slots=True)
class Encoded:
    """`vectors` is float32 [n, d], unit length, the modality gap closed; `tokens` counts each.

    `segments` has those of each recording by its place.
    """

    vectors: NDArray[np.float32]
    tokens: list[int]
    segments: Mapping[int, Segments] = field(default_factory=dict)


class Job:
    """One request: its inputs come back together, in the order they were given in."""

    def __init__(
        self, size: int, dimensions: int, priority: Priority, future: asyncio.Future[Encoded]
    ) -> None:
        self.priority = priority
        self.vectors = np.empty((size, dimensions), dtype=np.float32)
        self.tokens = [0] * size
        self.segments: dict[int, Segments] = {}
        self.future = future
        self.left = size
        self.weight = 0  # what of it is in the queue or in flight
        self.closed = False  # answered, failed or withdrawn
        self.arrived = time.monotonic()

    def resolve(self) -> None:
        if not self.future.done():
            self.future.set_result(Encoded(self.vectors, self.tokens, self.segments))

    def fail(self, error: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(error)


T = TypeVar("T")


@dataclass(eq=False, slots=True)
class Input(Generic[T]):
    """One input of a job; `weight` is what it counts in the queue."""

    job: Job
    index: int
    value: T
    weight: int = 1

    def finish(self, vector: NDArray[np.float32], tokens: int) -> None:
        self.job.vectors[self.index] = vector
        self.job.tokens[self.index] = tokens


class Lane(ABC, Generic[T]):
    """Inputs of one tower at one priority, the oldest first.

    The batcher holds its lock for whatever touches `waiting`; `wrap` and `run` go without it.
    """

    modality: ClassVar[Modality]

    def __init__(self, model: Model, priority: Priority, batch_size: int) -> None:
        self.model = model
        self.priority = priority
        self.batch_size = batch_size
        self.room = batch_size  # of the next batch
        self.waiting: deque[Input[T]] = deque()

    @property
    def arrived(self) -> float:
        return self.waiting[0].job.arrived

    def rows(self) -> int:
        """Count what waits as the tower counts it."""
        return len(self.waiting)

    def take(self) -> list[Input[T]]:
        """Remove the inputs of the next batch, as many as there is room for."""
        return [self.waiting.popleft() for _ in range(min(len(self.waiting), self.room))]

    def put_back(self, inputs: Sequence[Input[T]]) -> None:
        """Return what a batch had no room for to where it came from."""
        self.waiting.extendleft(reversed([i for i in inputs if not i.job.closed]))

    def withdraw(self, job: Job) -> None:
        self.waiting = deque(i for i in self.waiting if i.job is not job)

    @abstractmethod
    def wrap(self, job: Job, values: Sequence[Any]) -> list[Input[T]]:
        """Make a job's inputs of what a request brought."""

    @abstractmethod
    def run(self, batch: Sequence[Input[T]]) -> tuple[int, Sequence[Input[T]]]:
        """Encode a batch on the calling thread.

        Returns how many rows the tower took, and the inputs that are not finished.
        """


class ImageLane(Lane["NDArray[np.uint8]"]):
    modality = Modality.IMAGE

    def wrap(self, job: Job, values: Sequence[NDArray[np.uint8]]) -> list[Input[NDArray[np.uint8]]]:
        return [Input(job, index, pixels) for index, pixels in enumerate(values)]

    def run(
        self, batch: Sequence[Input[NDArray[np.uint8]]]
    ) -> tuple[int, Sequence[Input[NDArray[np.uint8]]]]:
        encoded = self.model.towers.encode_images(np.stack([each.value for each in batch]))
        tower = self.model.card.image
        assert tower is not None
        for each, vector in zip(batch, self.model.finish(self.modality, encoded), strict=True):
            each.finish(vector, tower.tokens)
        return len(batch), ()


@dataclass(slots=True)
class Text:
    text: str
    tokens: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.text) if self.tokens is None else len(self.tokens)


class TextLane(Lane[Text]):
    modality = Modality.TEXT

    def wrap(self, job: Job, values: Sequence[str]) -> list[Input[Text]]:
        return [Input(job, index, Text(text)) for index, text in enumerate(values)]

    def take(self) -> list[Input[Text]]:
        """Remove the oldest text and those nearest to it in length: padding is work, too."""
        if len(self.waiting) <= self.room:
            return super().take()
        window = min(len(self.waiting), _SORTED_BATCHES * self.room)
        inputs = [self.waiting.popleft() for _ in range(window)]
        ranked = sorted(inputs, key=lambda each: len(each.value.text))
        oldest = ranked.index(inputs[0])
        start = max(0, min(oldest - self.room // 2, window - self.room))
        batch = ranked[start : start + self.room]
        chosen = set(map(id, batch))
        self.put_back([each for each in inputs if id(each) not in chosen])
        batch.remove(inputs[0])
        return [inputs[0], *batch]

    def run(self, batch: Sequence[Input[Text]]) -> tuple[int, Sequence[Input[Text]]]:
        """Encode the first text and as many others as the batch's tokens allow."""
        self._tokenize([each.value for each in batch if each.value.tokens is None])
        fitting, rest = self._fit(batch)
        tokens = [each.value.tokens for each in fitting if each.value.tokens is not None]
        encoded = self.model.towers.encode_texts(tokens)
        for each, vector in zip(fitting, self.model.finish(self.modality, encoded), strict=True):
            each.finish(vector, len(each.value))
        return len(fitting), rest

    def _tokenize(self, texts: Sequence[Text]) -> None:
        ids = self.model.towers.tokenize([each.text for each in texts])
        for each, tokens in zip(texts, ids, strict=True):
            each.tokens = tokens

    def _fit(self, batch: Sequence[Input[Text]]) -> tuple[list[Input[Text]], list[Input[Text]]]:
        """Split a batch by the padded size it would have: first in, then the shortest."""
        budget = _TOKENS_PER_INPUT * self.batch_size
        if max(len(each.value) for each in batch) * len(batch) <= budget:
            return list(batch), []
        first, *others = batch
        fitting: list[Input[Text]] = [first]
        rest: list[Input[Text]] = []
        for each in sorted(others, key=lambda each: len(each.value)):
            width = max(len(first.value), len(each.value))
            room = width * (len(fitting) + 1) <= budget
            (fitting if room else rest).append(each)
        return fitting, rest


class AudioLane(Lane[Recording]):
    """Windows of several recordings share a batch; one recording may take many batches."""

    modality = Modality.AUDIO

    def wrap(self, job: Job, values: Sequence[NDArray[np.float32]]) -> list[Input[Recording]]:
        """Count a recording once for each batch that its windows fill."""
        tower = self.model.card.audio
        assert tower is not None
        inputs = []
        for index, samples in enumerate(values):
            recording = Recording(samples, tower, self.batch_size)
            weight = math.ceil(recording.left / self.batch_size)
            inputs.append(Input(job, index, recording, weight))
        return inputs

    def rows(self) -> int:
        return sum(each.value.left for each in self.waiting)

    def take(self) -> list[Input[Recording]]:
        batch: list[Input[Recording]] = []
        room = self.room
        while self.waiting and room > 0:
            batch.append(self.waiting.popleft())
            room -= batch[-1].value.left
        return batch

    def run(self, batch: Sequence[Input[Recording]]) -> tuple[int, Sequence[Input[Recording]]]:
        parts: list[NDArray[np.float32]] = []
        room = self.room
        for each in batch:
            if room > 0:
                parts.append(each.value.cut(self.model.towers, room))
                room -= len(parts[-1])
        encoded = self.model.towers.encode_audio(np.concatenate(parts))
        ends = np.cumsum([len(part) for part in parts])
        used = batch[: len(parts)]
        for each, vectors in zip(used, np.split(encoded, ends[:-1]), strict=True):
            each.value.add(vectors)
        self._finish([each for each in used if each.value.finished])
        return len(encoded), [each for each in batch if not each.value.finished]

    def _finish(self, inputs: Sequence[Input[Recording]]) -> None:
        if not inputs:
            return
        tower = self.model.card.audio
        assert tower is not None
        means, counts = zip(*(each.value.pooled() for each in inputs), strict=True)
        finished = self.model.finish(self.modality, np.concatenate(means))
        ends = np.cumsum([len(part) for part in means])
        for each, vectors, count in zip(inputs, np.split(finished, ends[:-1]), counts, strict=True):
            each.job.segments[each.index] = Segments(each.value.spans(), vectors[1:])
            each.finish(vectors[0], count * tower.tokens_per_window)


LANES: dict[Modality, type[Lane[Any]]] = {
    lane.modality: lane for lane in (ImageLane, TextLane, AudioLane)
}
