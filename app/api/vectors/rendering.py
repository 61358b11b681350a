"""From the engine's answers to the wire's structs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import UNSET, Raw

from app.api.vectors import schemas
from app.domain.collections import Metric

if TYPE_CHECKING:
    from app.api.vectors.reading import Batch
    from app.domain.collections import Collection
    from app.domain.items import Item
    from app.domain.requests import IndexOutcome

METRICS: dict[Metric, schemas.MetricName] = {
    Metric.COSINE: "COSINE",
    Metric.DOT: "DOT",
    Metric.EUCLIDEAN: "EUCLIDEAN",
    Metric.MANHATTAN: "MANHATTAN",
}


def collection(entry: Collection) -> schemas.Collection:
    spec = entry.space.spec
    return schemas.Collection(
        id=entry.id,
        name=entry.name,
        description=entry.description or None,
        model_id=spec.model_id,
        dimensions=spec.dimensions,
        metric=METRICS[spec.metric],
        item_count=entry.item_count,
        created_at=entry.created_at,
        updated_at=entry.updated_at,
    )


def item(entry: Item, link: str | None) -> schemas.Item:
    return schemas.Item(
        id=entry.id,
        content_type=entry.modality,
        metadata=Raw(entry.metadata),
        content_url=link,
        created_at=entry.created_at,
        text=UNSET if entry.text is None else entry.text,
    )


def index_answer(batch: Batch, outcome: IndexOutcome | None, model_id: str) -> schemas.IndexAnswer:
    """Put the engine's outcome and what failed before it back into the order sent.

    `outcome` is None where no item was left for the engine.
    """
    items: list[schemas.IndexedItem | None] = [None] * batch.size
    failures = list(batch.failures)
    if outcome:
        for place, stored in zip(batch.places, outcome.items, strict=True):
            if stored:
                items[place] = schemas.IndexedItem(stored.id, stored.modality)
        failures += [
            replace(failure, index=batch.places[failure.index]) for failure in outcome.failures
        ]
    skipped = [
        schemas.SkippedItem(f.index, f.code, f.message)
        for f in sorted(failures, key=lambda failure: failure.index)
    ]
    return schemas.IndexAnswer(
        indexed=sum(entry is not None for entry in items),
        model=model_id,
        usage=schemas.Usage(outcome.input_tokens if outcome else 0),
        items=items,
        errors=skipped,
    )
