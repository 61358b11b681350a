"""From a query of ready vectors to what is asked of the search."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.domain.filters import And
from app.domain.modality import Modality
from app.domain.search import Branch
from app.engine.planner import Wish

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.filters import Filter
    from app.domain.vector_indexes import VectorQuery


def wish_for(
    index: Collection, query: VectorQuery, vector: NDArray[np.float32], clauses: Sequence[Filter]
) -> Wish:
    """Ask for the nearest by similarity alone, whatever the items were made of.

    Where vectors are wanted back every distance is computed: Vectorize promises precise scores
    then.
    """
    raw = index.space.spec.model_id is None
    kinds: Sequence[Modality | None] = (None,) if raw else (None, *Modality)
    return Wish(
        vector=vector,
        branches=tuple(Branch(kind) for kind in kinds),
        limit=query.top_k,
        filter=And(tuple(clauses)) if clauses else None,
        with_vectors=query.with_vectors,
        exact=query.with_vectors,
    )


def to_unit_length(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row of float32 [n, d]; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))[:, np.newaxis]
    scaled: NDArray[np.float32] = (vectors / np.where(lengths == 0, 1, lengths)).astype(np.float32)
    return scaled
