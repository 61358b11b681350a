"""From the engine's answers to the wire's structs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.api.vectorize import schemas
from app.api.vectorize.cursors import write_cursor
from app.domain.collections import Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from app.api.vectorize.querying import MetadataLevel
    from app.domain.collections import Collection
    from app.domain.filters import MetadataIndex
    from app.domain.items import Hit, Item
    from app.domain.vector_indexes import IdPage, IndexInfo, Mutation, VectorMatches

METRICS: dict[Metric, schemas.MetricName] = {
    Metric.COSINE: "cosine",
    Metric.EUCLIDEAN: "euclidean",
    Metric.DOT: "dot-product",
    Metric.MANHATTAN: "manhattan",
}
NO_METADATA = "{}"


def index(entry: Collection) -> schemas.Index:
    return schemas.Index(
        name=entry.name,
        config=config(entry),
        created_on=entry.created_at,
        modified_on=entry.updated_at,
        description=entry.description or UNSET,
    )


def config(entry: Collection) -> schemas.IndexConfig:
    spec = entry.space.spec
    return schemas.IndexConfig(spec.dimensions, METRICS[spec.metric], spec.model_id or UNSET)


def binding_description(entry: Collection) -> schemas.BindingDescription:
    return schemas.BindingDescription(
        id=entry.id,
        name=entry.name,
        config=config(entry),
        vectors_count=entry.item_count,
        description=entry.description or UNSET,
    )


def mutation(entry: Mutation) -> schemas.MutationResult:
    return schemas.MutationResult(str(entry.id))


def info(entry: IndexInfo) -> schemas.IndexInfo:
    processed = entry.processed
    return schemas.IndexInfo(
        dimensions=entry.dimensions,
        vector_count=entry.count,
        processed_up_to_datetime=processed.applied_at if processed else UNSET,
        processed_up_to_mutation=str(processed.id) if processed else UNSET,
    )


def vector(item: Item, values: NDArray[np.float32]) -> schemas.Vector:
    return schemas.Vector(
        id=item.id,
        values=values.tolist(),
        metadata=UNSET if item.metadata == NO_METADATA else Raw(item.metadata),
        namespace=item.namespace or UNSET,
    )


def matches(entry: Collection, found: VectorMatches, level: MetadataLevel) -> schemas.Matches:
    metric = entry.space.spec.metric
    rendered = [
        schemas.Match(
            id=hit.item.id,
            score=score(metric, hit.similarity),
            values=UNSET if hit.vector is None else hit.vector.tolist(),
            metadata=_metadata(hit, found.indexes, level),
            namespace=hit.item.namespace or UNSET,
        )
        for hit in found.hits
    ]
    return schemas.Matches(len(rendered), rendered)


def score(metric: Metric, similarity: float) -> float:
    """Vectorize: the cosine; the distance, which is lower when closer; the negated dot product."""
    match metric:
        case Metric.COSINE:
            return min(1.0, max(-1.0, similarity))  # half precision may overshoot
        case _:
            return 0.0 - similarity


def id_page(page: IdPage, ttl: int) -> schemas.VectorList:
    cursor, expires = write_cursor(page.after, ttl) if page.after else (None, None)
    return schemas.VectorList(
        count=len(page.ids),
        is_truncated=page.after is not None,
        total_count=page.total,
        vectors=[schemas.VectorId(name) for name in page.ids],
        next_cursor=cursor,
        cursor_expiration_timestamp=expires,
    )


def _metadata(hit: Hit, indexes: Sequence[MetadataIndex], level: MetadataLevel) -> Raw | UnsetType:
    text = hit.item.metadata
    match level:
        case "indexed":
            text = _indexed(hit.item, indexes)
        case "none":
            return UNSET
    return UNSET if text == NO_METADATA else Raw(text)


def _indexed(item: Item, indexes: Sequence[MetadataIndex]) -> str:
    """What the declared indexes hold of the item, as the object that it came from."""
    held: dict[str, Any] = msgspec.json.decode(item.indexed)
    found: dict[str, Any] = {}
    for declared in indexes:
        value = held.get(str(declared.key))
        if value is not None:
            inner = found
            for step in declared.path[:-1]:
                inner = inner.setdefault(step, {})
            inner[declared.path[-1]] = value
    return msgspec.json.encode(found).decode()
