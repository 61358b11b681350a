"""Rows of the database as values of the domain, and back."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from app.domain.collections import (
    Collection,
    IndexKind,
    IndexState,
    Metric,
    SearchTuning,
    Space,
    SpaceKind,
    SpaceSpec,
    VectorPrecision,
)
from app.domain.fields import FieldIndex, FieldState, FieldType
from app.domain.items import Item
from app.domain.media import MediaRef
from app.domain.modality import Modality

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# What `modality` columns hold, and where arrays with one element per modality hold it.
MODALITIES: tuple[Modality | None, ...] = (None, Modality.IMAGE, Modality.TEXT, Modality.AUDIO)
CODES: dict[Modality | None, int] = {modality: code for code, modality in enumerate(MODALITIES)}

# pgvector's type of the embeddings in a space.
VECTOR_TYPES = {VectorPrecision.FLOAT16: "halfvec", VectorPrecision.FLOAT32: "vector"}

ITEM_COLUMNS = (
    "i.id, i.modality, i.text, i.media_key, i.media_type, i.metadata, i.namespace, "
    "i.created_at, i.updated_at, i.indexed"
)


def item_from(row: Mapping[str, Any]) -> Item:
    key = row["media_key"]
    return Item(
        id=row["id"],
        modality=MODALITIES[row["modality"]],
        text=row["text"],
        media=None if key is None else MediaRef(key, row["media_type"]),
        metadata=row["metadata"],
        namespace=row["namespace"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        indexed=row["indexed"],
    )


def vector_from(value: Any) -> NDArray[np.float32]:
    """Return float32 [d] of pgvector's HalfVector or Vector."""
    return np.array(value.to_numpy(), dtype=np.float32)


COLLECTION_COLUMNS = (
    "c.key, c.id, c.project_id, c.name, c.description, c.item_count, c.created_at, c.updated_at, "
    "s.key AS space_key, s.model_id, s.dimensions, s.metric, s.precision, s.index_state, s.kind, "
    "s.name AS space_name, s.index_kind, s.indexed, s.segmented, "
    "c.config -> 'search' AS tuning, "
    "(SELECT jsonb_agg(o ORDER BY o.name) FROM spaces AS o "
    "WHERE o.collection_key = c.key AND o.key <> c.current_space) AS other_spaces, "
    "(SELECT jsonb_agg(f ORDER BY f.key) FROM field_indexes AS f WHERE f.collection_key = c.key) "
    "AS fields"
)


def space_from(row: Mapping[str, Any], key: int, name: str) -> Space:
    spec = SpaceSpec(
        model_id=row["model_id"],
        dimensions=row["dimensions"],
        metric=Metric(row["metric"]),
        precision=VectorPrecision(row["precision"]),
        kind=SpaceKind(row["kind"]),
    )
    return Space(
        key,
        spec,
        IndexState(row["index_state"]),
        name,
        IndexKind(row["index_kind"]),
        tuple(row["indexed"]),
        row["segmented"],
    )


def collection_from(row: Mapping[str, Any]) -> Collection:
    others, fields = _parsed(row["other_spaces"]), _parsed(row["fields"])
    return Collection(
        key=row["key"],
        id=row["id"],
        project_id=row["project_id"],
        name=row["name"],
        description=row["description"],
        space=space_from(row, row["space_key"], row["space_name"]),
        item_count=row["item_count"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        other_spaces=tuple(space_from(other, other["key"], other["name"]) for other in others),
        fields=tuple(field_from(field) for field in fields),
        tuning=SearchTuning(**(_parsed(row["tuning"]) or {})),
    )


def field_from(row: Mapping[str, Any]) -> FieldIndex:
    return FieldIndex(
        key=row["key"],
        path=tuple(row["path"]),
        type=FieldType(row["type"]),
        state=FieldState(row["state"]),
        options=json.dumps(row["options"]),
        created_at=datetime.fromisoformat(row["created_at"]),
    )


def _parsed(rows: Any) -> Any:
    """Rows that came as JSON; the pool's connections leave it as text."""
    return json.loads(rows) if isinstance(rows, str) else rows or []
