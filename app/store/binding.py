"""The parameters of a statement that is put together from parts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pgvector

from app.domain.collections import SpaceKind
from app.domain.vectors import SparseVector
from app.errors import InvalidInput
from app.store.rows import VECTOR_TYPES

if TYPE_CHECKING:
    from app.domain.collections import Space
    from app.domain.filters import Path
    from app.domain.vectors import Vector

# pgvector's most. All sparse vectors have as many, so that any two of them compare.
SPARSE_DIMENSIONS = 1_000_000_000
SPARSE_NUMBERS = 16_000


class Parameters:
    """Values in the order of their placeholders."""

    def __init__(self) -> None:
        self.values: list[Any] = []

    def bind(self, value: Any) -> str:
        """Return the placeholder of one more value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def bind_path(self, path: Path) -> str:
        """Bind an SQL/JSON path to the values at `path`: the value, or each element of an array.

        Arrays on the way are entered as well.
        """
        steps = "".join(f".{json.dumps(key)}" for key in path)
        return f"{self.bind(f'lax ${steps}[*]')}::jsonpath"

    def bind_vector(self, space: Space, vector: Vector) -> str:
        """Bind a query's vector as one of the space; an array of vectors for a multi-vector."""
        kind = vector_type(space)
        if space.spec.kind is SpaceKind.MULTI:
            rows = wrapped(space, vector)
            return f"{self.bind(rows)}::{kind}[]"
        return f"{self.bind(wrapped(space, vector)[0])}::{kind}"


def vector_type(space: Space) -> str:
    if space.spec.kind is SpaceKind.SPARSE:
        return "sparsevec"
    return VECTOR_TYPES[space.spec.precision]


def wrapped(space: Space, vector: Vector) -> list[Any]:
    """Return the vector as pgvector's own values: one, or one for each row of a multi-vector.

    Raises InvalidInput for what does not fit the space.
    """
    if space.spec.kind is SpaceKind.SPARSE:
        return [_wrapped_sparse(vector)]
    if isinstance(vector, SparseVector):
        raise InvalidInput.at((), "a dense vector is needed, not a sparse one")
    dimensions = space.spec.dimensions
    rows = vector[None] if vector.ndim == 1 else vector
    if vector.ndim == 2 and space.spec.kind is not SpaceKind.MULTI:
        raise InvalidInput.at((), "one vector is needed, not several")
    if rows.ndim != 2 or not len(rows) or rows.shape[1] != dimensions:
        raise InvalidInput.at((), f"a vector of {dimensions} numbers is needed")
    halves = vector_type(space) == "halfvec"
    with np.errstate(over="ignore"):
        rows = rows.astype(np.float16 if halves else np.float32)
    if not np.isfinite(rows).all():
        raise InvalidInput.at((), "a vector holds a number that is not finite or too large")
    wrap = pgvector.HalfVector if halves else pgvector.Vector
    return [wrap(row) for row in rows]


def _wrapped_sparse(vector: Vector) -> pgvector.SparseVector:
    if not isinstance(vector, SparseVector):
        raise InvalidInput.at((), "a sparse vector is needed")
    numbers = dict(zip(vector.indices, vector.values, strict=True))
    if len(numbers) > SPARSE_NUMBERS:
        raise InvalidInput.at((), f"a sparse vector has at most {SPARSE_NUMBERS} numbers")
    if len(numbers) < len(vector.indices) or not all(
        0 <= index < SPARSE_DIMENSIONS for index in numbers
    ):
        raise InvalidInput.at((), f"indices differ and are below {SPARSE_DIMENSIONS}")
    if not np.isfinite(np.array(vector.values, dtype=np.float32)).all():
        raise InvalidInput.at((), "a vector holds a number that is not finite or too large")
    return pgvector.SparseVector(numbers, SPARSE_DIMENSIONS)


def unwrapped(value: Any) -> Vector:
    """Return pgvector's value as the domain's."""
    if isinstance(value, pgvector.SparseVector):
        return SparseVector(tuple(value.indices()), tuple(value.values()))
    return np.array(value.to_numpy(), dtype=np.float32)
