"""Items named in queries as examples: gathered, looked up and put in their places."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.domain.collections import Metric
from app.domain.queries import (
    Context,
    Discover,
    Fusion,
    InOrderOfIds,
    Nearest,
    OrderBy,
    Recommend,
    Sample,
    Strategy,
    VectorOf,
    Words,
)
from app.domain.rankings import (
    AtRandom,
    BestScore,
    ByField,
    ById,
    ByText,
    ByVector,
    ContextScore,
    DiscoveryScore,
    NearestTo,
    SumScores,
    TextFields,
    VectorScore,
)
from app.domain.vectors import average, directed, summed
from app.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from app.domain.collections import Space
    from app.domain.queries import PointQuery, Probe
    from app.domain.rankings import RankBy
    from app.domain.vectors import Vector

# Where vectors are looked up: another collection's id or None, and a space.
Source = tuple[str | None, str]


class Examples:
    """The vectors of the items that queries name."""

    def __init__(self) -> None:
        self._vectors: dict[Source, dict[str, Vector]] = {}

    def add(
        self,
        lookup: str | None,
        space: Space,
        ids: Sequence[str],
        vectors: Mapping[str, Vector],
    ) -> None:
        """Keep the vectors, of unit length where only directions count.

        Raises NotFound where an item has none.
        """
        for name in ids:
            if name not in vectors:
                raise NotFound("item", name)
        self._vectors[lookup, space.name] = {
            name: directed(space.spec.metric, vector) for name, vector in vectors.items()
        }

    def resolve(
        self, query: PointQuery, space: Space, least: float | None
    ) -> tuple[RankBy, tuple[str, ...]]:
        """Return what to rank by, and the collection's items that were named as examples."""
        match query.query:
            case Words(text, fields):
                return ByText(text, fields or TextFields(), least), ()
            case OrderBy(path, descending, start):
                return ByField(path, descending, start), ()
            case InOrderOfIds(start):
                return ById(start), ()
            case Sample():
                return AtRandom(), ()
            case Fusion():
                raise InvalidInput.at((), "a fusion has no ranking of its own")
        named = [probe.id for probe in probes_of(query) if isinstance(probe, VectorOf)]
        mentioned = () if query.lookup is not None else tuple(dict.fromkeys(named))
        return ByVector(space, self._score(query, space), least), mentioned

    def _score(self, query: PointQuery, space: Space) -> VectorScore:
        source = source_of(query)

        def vector(probe: Probe) -> Vector:
            return self._vectors[source][probe.id] if isinstance(probe, VectorOf) else probe

        match query.query:
            case Nearest(probe):
                return NearestTo(vector(probe))
            case Recommend(positive, negative, strategy):
                likes, dislikes = tuple(map(vector, positive)), tuple(map(vector, negative))
                if not likes and (not dislikes or strategy is Strategy.AVERAGE_VECTOR):
                    raise InvalidInput.at((), "a recommendation needs a positive example")
                match strategy:
                    case Strategy.BEST_SCORE:
                        return BestScore(likes, dislikes)
                    case Strategy.SUM_SCORES:
                        return _sum_of_scores(space, likes, dislikes)
                return NearestTo(average(likes, dislikes))
            case Discover(target, context):
                pairs = tuple((vector(p), vector(n)) for p, n in context)
                return DiscoveryScore(vector(target), pairs)
            case Context(pairs):
                if not pairs:
                    raise InvalidInput.at((), "a context has at least one pair")
                return ContextScore(tuple((vector(p), vector(n)) for p, n in pairs))
        raise AssertionError(query.query)


def _sum_of_scores(
    space: Space, likes: tuple[Vector, ...], dislikes: tuple[Vector, ...]
) -> VectorScore:
    """One similarity where it amounts to that: an index can serve it."""
    total = summed(space.spec.metric, likes, dislikes)
    length = 0.0 if total is None else float(np.linalg.norm(total))
    if total is None or not length:
        return SumScores(likes, dislikes)
    # The stored vectors of a model are of unit length: there, similarity is the product itself.
    product = space.spec.metric is Metric.DOT or space.spec.model_id is not None
    return NearestTo(total, 1.0 if product else length)


def source_of(query: PointQuery) -> Source:
    """Tell where the vectors of the items that a query names are."""
    if query.lookup is None:
        return None, query.space
    space = query.space if query.lookup.space is None else query.lookup.space
    return query.lookup.collection_id, space


def probes_of(query: PointQuery) -> list[Probe]:
    match query.query:
        case Nearest(probe):
            return [probe]
        case Recommend(positive, negative):
            return [*positive, *negative]
        case Discover(target, context):
            return [target, *(probe for pair in context for probe in pair)]
        case Context(pairs):
            return [probe for pair in pairs for probe in pair]
    return []


def named_items(queries: Sequence[PointQuery]) -> dict[Source, list[str]]:
    """Gather the items that the queries, and what is nested in them, name as examples."""
    named: dict[Source, dict[str, None]] = {}
    for query in _flattened(queries):
        for probe in probes_of(query):
            if isinstance(probe, VectorOf):
                named.setdefault(source_of(query), {})[probe.id] = None
    return {source: list(ids) for source, ids in named.items()}


def _flattened(queries: Sequence[PointQuery]) -> Iterator[PointQuery]:
    for query in queries:
        yield query
        yield from _flattened(query.prefetch)
