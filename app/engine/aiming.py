"""Aiming: from a search's inputs and examples to the one vector that it looks for."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.domain.modality import Modality
from app.domain.requests import WeightedInput
from app.encoders.work import Priority
from app.errors import InvalidInput, MediaError, Violation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.items import Item
    from app.domain.requests import Example, SearchQuery
    from app.engine.inputs import EncodedInput, InputEncoder
    from app.store.items import ItemStore

LEAST_LENGTH = 1e-6


@dataclass(frozen=True, slots=True)
class Aim:
    """What to search with: `modality` says by which calibration the hits are scored."""

    vector: NDArray[np.float32]
    modality: Modality
    tokens: int


class Aimer:
    def __init__(self, inputs: InputEncoder, items: ItemStore) -> None:
        self._inputs = inputs
        self._items = items

    async def aim(self, collection: Collection, model_id: str, query: SearchQuery) -> Aim:
        """Encode the inputs, fetch the examples and put them together.

        Raises InvalidInput for an example that names no stored item and for what has no
        direction, MediaError with the path to its input.
        """
        encoded = await self._encode(model_id, query)
        inputs = list(zip(_inputs(query), encoded, strict=True))
        tokens = sum(each.tokens for each in encoded)
        if query.example is None:
            if not inputs:
                raise InvalidInput.at((), "a search needs an input or an example")
            vector = weighed([(source.weight, each.vector) for source, each in inputs])
            return Aim(vector, _modality(inputs), tokens)
        stored = await self._vectors(collection, query.example)
        positive = [stored[name] for name in query.example.positive]
        negative = [stored[name] for name in query.example.negative]
        if inputs:
            positive.append(weighed([(source.weight, each.vector) for source, each in inputs]))
        if not positive:
            raise InvalidInput.at(
                ("example", "positive"), "an example needs a positive item where no input is given"
            )
        if inputs:
            modality = _modality(inputs)
        else:
            items = await self._items.get(collection, query.example.positive)
            modality = _commonest(items)
        return Aim(steer(positive, negative), modality, tokens)

    async def _encode(self, model_id: str, query: SearchQuery) -> list[EncodedInput]:
        async def encode(place: int, source: WeightedInput) -> EncodedInput:
            try:
                return await self._inputs.encode(model_id, source.input, Priority.SEARCH)
            except MediaError as error:
                nested = ("queries", place) if query.inputs else ()
                error.path = (*nested, getattr(source.input, "field", ""))
                raise

        sources = _inputs(query)
        if len(sources) == 1:
            return [await encode(0, sources[0])]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(encode(*each)) for each in enumerate(sources)]
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _vectors(
        self, collection: Collection, example: Example
    ) -> Mapping[str, NDArray[np.float32]]:
        """Return the examples' vectors; InvalidInput names those that are not stored."""
        stored = await self._items.vectors(collection, {*example.positive, *example.negative})
        missing = [
            Violation(("example", side, index), f"no such item: {name}")
            for side, ids in (("positive", example.positive), ("negative", example.negative))
            for index, name in enumerate(ids)
            if name not in stored
        ]
        if missing:
            raise InvalidInput(missing)
        return stored


def weighed(vectors: Sequence[tuple[float, NDArray[np.float32]]]) -> NDArray[np.float32]:
    """Return the unit vector of the weighted sum of unit vectors, float32 [d] each."""
    total = np.stack([np.float32(weight) * vector for weight, vector in vectors]).sum(axis=0)
    return _unit(total, "queries", "the inputs cancel each other out")


def steer(
    positive: Sequence[NDArray[np.float32]], negative: Sequence[NDArray[np.float32]]
) -> NDArray[np.float32]:
    """Return the unit vector that examples (float32 [d] each, at least one positive) point to.

    The mean of the positive ones, moved away from the mean of the negative ones by their
    difference: Qdrant's `average_vector` recommendation.
    """
    aim = np.stack(positive).mean(axis=0)
    if negative:
        aim = 2 * aim - np.stack(negative).mean(axis=0)
    return _unit(aim, "example", "the examples cancel each other out")


def _unit(vector: NDArray[np.float32], field: str, message: str) -> NDArray[np.float32]:
    length = float(np.linalg.norm(vector))
    if length < LEAST_LENGTH:
        raise InvalidInput.at((field,), message)
    direction: NDArray[np.float32] = vector / np.float32(length)
    return direction


def _commonest(items: Sequence[Item]) -> Modality:
    kinds = Counter(item.modality or Modality.TEXT for item in items)
    return kinds.most_common(1)[0][0]


def _inputs(query: SearchQuery) -> Sequence[WeightedInput]:
    return query.inputs or ((WeightedInput(query.input),) if query.input is not None else ())


def _modality(inputs: Sequence[tuple[WeightedInput, EncodedInput]]) -> Modality:
    """Of the input that weighs most."""
    return max((source for source, _ in inputs), key=lambda source: source.weight).input.modality
