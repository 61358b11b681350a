"""What a space holds for an item: one vector, a sparse one, or several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.domain.collections import Metric


@dataclass(frozen=True, slots=True)
class SparseVector:
    """The numbers that are not zero: `values[i]` stands at `indices[i]`; indices ascend."""

    indices: tuple[int, ...]
    values: tuple[float, ...]


# float32 [d], a sparse vector, or float32 [n, d] for a multi-vector.
Vector = NDArray[np.float32] | SparseVector


@dataclass(frozen=True, slots=True)
class NewPoint:
    """An item to write whole, its vectors by the names of their spaces: any of them, or none.

    `metadata` is a JSON object as text.
    """

    id: str
    vectors: Mapping[str, Vector]
    metadata: str = "{}"
    namespace: str = ""


def sparse(numbers: dict[int, float]) -> SparseVector:
    """Return the sparse vector of what `numbers` holds by index."""
    kept = sorted((index, value) for index, value in numbers.items() if value != 0)
    return SparseVector(tuple(i for i, _ in kept), tuple(v for _, v in kept))


def average(
    positive: Sequence[Vector],
    negative: Sequence[Vector],
) -> Vector:
    """Return the vector that examples (at least one positive) point to.

    The mean of the positive ones, moved away from the mean of the negative ones by their
    difference; of multi-vectors all the positive rows and the negated negative ones. Qdrant's
    `average_vector` strategy.
    """
    if isinstance(positive[0], SparseVector):
        total: dict[int, float] = {}
        scale = 2 if negative else 1
        for sign, vectors in ((scale, positive), (-1, negative)):
            for vector in vectors:
                assert isinstance(vector, SparseVector)
                for index, value in zip(vector.indices, vector.values, strict=True):
                    total[index] = total.get(index, 0.0) + sign * value / len(vectors)
        return sparse(total)
    if positive[0].ndim == 2:
        rows: NDArray[np.float32] = np.concatenate(
            [*_dense(positive), *(-matrix for matrix in _dense(negative))]
        )
        return rows
    aim: NDArray[np.float32] = np.stack(_dense(positive)).mean(axis=0)
    if negative:
        aim = 2 * aim - np.stack(_dense(negative)).mean(axis=0)
    return aim


def summed(
    metric: Metric, positive: Sequence[Vector], negative: Sequence[Vector]
) -> NDArray[np.float32] | None:
    """Return the vector whose product with another is the sum of its similarities.

    Those to the positive count, those to the negative are taken off; the other vector is of unit
    length under cosine. None where similarity is no product, or vectors are not dense.
    """
    vectors = [*positive, *negative]
    if metric.value not in {"cosine", "dot"}:
        return None
    if any(isinstance(vector, SparseVector) or vector.ndim == 2 for vector in vectors):
        return None
    signs = [1] * len(positive) + [-1] * len(negative)
    rows = np.stack(_dense([directed(metric, vector) for vector in vectors]))
    return np.asarray(np.array(signs, dtype=np.float32) @ rows, dtype=np.float32)


def directed(metric: Metric, vector: Vector) -> Vector:
    """Return the vector at unit length (each row of a multi-vector) where only cosines count."""
    if isinstance(vector, SparseVector) or metric.value != "cosine":
        return vector
    lengths = np.linalg.norm(vector, axis=-1, keepdims=True)
    lengths = np.where(lengths > 0, lengths, 1).astype(np.float32)
    return np.asarray(vector / lengths, dtype=np.float32)


def similarities(
    metric: Metric,
    one: Vector,
    others: Sequence[Vector],
    *,
    squared: bool = False,
) -> NDArray[np.float64]:
    """Return how near `one` is to each of `others`, all of one kind: float64 [len(others)].

    `squared` negates the squared Euclidean distance in place of the distance: what Qdrant
    compares internally. Multi-vectors compare by max-sim: the sum, over the rows of `one`, of the
    best similarity to any row.
    """
    if isinstance(one, SparseVector):
        mine = dict(zip(one.indices, one.values, strict=True))
        return np.array([_sparse_dot(mine, other) for other in others], dtype=np.float64)
    if one.ndim == 1:
        compared = _compare(metric, one[None], np.stack(_dense(others)), squared=squared)
        return np.asarray(compared[0], dtype=np.float64)
    sums = np.array(
        [_compare(metric, one, m, squared=True).max(axis=1).sum() for m in _dense(others)],
        dtype=np.float64,
    )
    if metric.value == "euclidean" and not squared:
        sums = -np.sqrt(np.abs(sums))
    return sums


def pairwise(metric: Metric, vectors: Sequence[Vector]) -> NDArray[np.float64]:
    """Return how near each vector is to each: float64 [n, n], Euclidean distances squared."""
    if any(isinstance(vector, SparseVector) or vector.ndim == 2 for vector in vectors):
        rows = [similarities(metric, vector, vectors, squared=True) for vector in vectors]
        return np.stack(rows)
    matrix = np.stack(_dense(vectors))
    return _compare(metric, matrix, matrix, squared=True)


def _compare(
    metric: Metric, rows: NDArray[np.float32], columns: NDArray[np.float32], *, squared: bool
) -> NDArray[np.float64]:
    a, b = rows.astype(np.float64), columns.astype(np.float64)
    match metric.value:
        case "cosine":
            compared = _unit(a) @ _unit(b).T
        case "dot":
            compared = a @ b.T
        case "manhattan":
            compared = -np.stack([np.abs(b - row).sum(axis=1) for row in a])
        case _ if len(a) > 1:  # by products, and so a little less exactly
            lengths = np.square(a).sum(axis=1)[:, None] + np.square(b).sum(axis=1)
            compared = -np.maximum(lengths - 2 * a @ b.T, 0)
        case _:
            compared = -np.square(b - a).sum(axis=1)[None]
    if metric.value == "euclidean" and not squared:
        compared = -np.sqrt(-compared)
    return np.asarray(compared, dtype=np.float64)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(lengths > 0, lengths, 1.0), dtype=np.float64)


def _sparse_dot(mine: dict[int, float], other: Vector) -> float:
    assert isinstance(other, SparseVector)
    return sum(mine.get(i, 0.0) * v for i, v in zip(other.indices, other.values, strict=True))


def _dense(vectors: Sequence[Vector]) -> list[NDArray[np.float32]]:
    dense = [vector for vector in vectors if not isinstance(vector, SparseVector)]
    assert len(dense) == len(vectors)
    return dense
