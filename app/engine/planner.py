"""Which strategy answers a search: every distance, or the index."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from app.domain.collections import IndexState
from app.domain.modality import Modality
from app.domain.search import Branch, SearchPlan, Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.requests import SearchQuery
    from app.encoders.cards import Logistic
    from app.settings import SearchSettings

# pgvector's default `ef_search` of 40 finds about 0.75 of the true ten in 1024 dimensions.
LEAST_EF_SEARCH = 100
MOST_EF_SEARCH = 1000


def plan_search(
    collection: Collection,
    query: SearchQuery,
    vector: NDArray[np.float32],
    curves: Mapping[Modality, Logistic],
    settings: SearchSettings,
) -> SearchPlan:
    """Plan a search of a model's space.

    `vector` is float32 [d] of unit length; `curves` tells, by modality of the items, how
    the score comes from the cosine.
    """
    exact = (
        query.exact
        or collection.item_count <= settings.exact_rows
        or collection.space.index_state is not IndexState.READY
    )
    wanted = sorted(query.modalities or Modality)
    depth = query.offset + query.top_k
    return SearchPlan(
        vector=vector,
        branches=tuple(
            Branch(
                modality,
                Strategy.EXACT if exact else Strategy.HNSW,
                curves[modality].slope,
                curves[modality].intercept,
                least_rank(query.threshold),
            )
            for modality in wanted
        ),
        limit=query.top_k,
        offset=query.offset,
        filter=query.filter,
        exclude_ids=(*query.example.positive, *query.example.negative) if query.example else (),
        with_vectors=query.with_vectors,
        ef_search=min(MOST_EF_SEARCH, max(LEAST_EF_SEARCH, 2 * depth)),
    )


def least_rank(threshold: float | None) -> float | None:
    """The logit of a least score: the rank (see Branch) below which nothing is wanted."""
    if threshold is None or threshold <= 0:
        return None
    if threshold >= 1:
        return math.inf
    return math.log(threshold / (1 - threshold))
