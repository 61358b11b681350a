"""Scores of vectors as SQL expressions over a space's rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.collections import Metric, SpaceKind
from app.domain.rankings import (
    BestScore,
    ContextScore,
    DiscoveryScore,
    NearestTo,
    SumScores,
    VectorScore,
)
from app.store.metrics import distance_operator, similarity_of
from app.store.names import vectors_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Space
    from app.domain.vectors import Vector
    from app.store.binding import Parameters

# The least float32 above 0 by which 1 can be raised; Qdrant's context score subtracts it, so that
# a tie counts as lost.
EPSILON = "1.1920929e-7::float8"


class ScoreExpression:
    """One score. Its similarities are computed once each, as the columns `s0`, `s1`, … .

    `columns` is what the innermost SELECT adds to a row `v` of the space; `text` is made of them.
    """

    def __init__(self, space: Space, score: VectorScore, parameters: Parameters) -> None:
        self._space = space
        self._parameters = parameters
        self._similarities: list[str] = []
        self.text = self._combine(score)

    @property
    def columns(self) -> str:
        return ", ".join(f"{text} AS s{n}" for n, text in enumerate(self._similarities))

    def _combine(self, score: VectorScore) -> str:
        match score:
            case NearestTo(vector, scale):
                similarity = self._similarity(vector, squared=False)
                return similarity if scale == 1 else f"{similarity} * {self._number(scale)}"
            case BestScore(positive, negative):
                p, n = self._greatest(positive), self._greatest(negative)
                return f"CASE WHEN {p} > {n} THEN {_sigmoid(p)} ELSE -{_sigmoid(n)} END"
            case SumScores(positive, negative):
                return f"{self._sum(positive)} - {self._sum(negative)}"
            case DiscoveryScore(target, pairs):
                signs = [f"sign({self._similarity(p)} - {self._similarity(n)})" for p, n in pairs]
                return " + ".join([*signs, _sigmoid(self._similarity(target))])
            case ContextScore(pairs):
                losses = (
                    f"least({self._similarity(p)} - {self._similarity(n)} - {EPSILON}, 0)"
                    for p, n in pairs
                )
                return " + ".join(f"{loss} / (1 + abs({loss}))" for loss in losses)

    def _greatest(self, vectors: Sequence[Vector]) -> str:
        if not vectors:
            return "'-Infinity'::float8"
        return f"greatest({', '.join(map(self._similarity, vectors))})"

    def _sum(self, vectors: Sequence[Vector]) -> str:
        return f"({' + '.join(map(self._similarity, vectors)) or '0'})"

    def _number(self, value: float) -> str:
        return f"{self._parameters.bind(value)}::float8"

    def _similarity(self, vector: Vector, *, squared: bool = True) -> str:
        """Add a similarity and name its column.

        `squared` takes the Euclidean distance squared, as Qdrant does wherever similarities are
        compared with each other.
        """
        query = self._parameters.bind_vector(self._space, vector)
        if self._space.spec.kind is SpaceKind.MULTI:
            text = self._max_sim(query, squared=squared)
        else:
            text = self._negated("v.embedding", query, squared=squared)
        self._similarities.append(text)
        return f"s{len(self._similarities) - 1}"

    def _negated(self, embedding: str, query: str, *, squared: bool) -> str:
        if self._space.spec.kind is SpaceKind.SPARSE:
            return f"-({embedding} <#> {query})"
        operator = distance_operator(self._space.spec)
        if operator == "<->" and squared:
            return f"-(({embedding} <-> {query}) ^ 2)"
        return similarity_of(operator, embedding, query)

    def _max_sim(self, queries: str, *, squared: bool) -> str:
        """For each of the query's vectors the nearest of the item's, summed.

        Euclidean distances are summed as squares, and the root taken of the sum.
        """
        nearest = f"max({self._negated('m.embedding', 'q.vector', squared=True)})"
        best = (
            f"SELECT {nearest} AS nearest FROM {vectors_table(self._space.key)} AS m "
            f"CROSS JOIN unnest({queries}) WITH ORDINALITY AS q (vector, place) "
            "WHERE m.item_seq = v.item_seq GROUP BY q.place"
        )
        total = f"(SELECT sum(nearest) FROM ({best}) AS best)"
        if self._space.spec.metric is Metric.EUCLIDEAN and not squared:
            return f"-sqrt(abs({total}))"
        return total


def _sigmoid(x: str) -> str:
    """s(x) = (x / (1 + |x|) + 1) / 2; infinity, for want of examples, is never chosen."""
    return f"(0.5 * ({x} / (1 + abs({x})) + 1))"
