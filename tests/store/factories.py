"""Small makers of what the store keeps."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from app.domain.collections import Metric, SpaceSpec, VectorPrecision
from app.domain.items import NewItem
from app.domain.media import MediaRef
from app.domain.modality import Modality
from app.store.collections import CollectionStore
from app.store.outbox import Outbox

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.store.database import Database

DIMENSIONS = 16
MODEL = SpaceSpec("a-model", DIMENSIONS)
RAW = SpaceSpec(None, DIMENSIONS, Metric.EUCLIDEAN, VectorPrecision.FLOAT32)

_numbers = count()


async def a_collection(database: Database, spec: SpaceSpec = MODEL) -> Collection:
    return await CollectionStore(database).create(
        "default", f"collection {next(_numbers)}", None, spec
    )


async def reloaded(database: Database, collection: Collection) -> Collection:
    return await CollectionStore(database).get("default", collection.id)


def unit_vectors(n: int, dimensions: int = DIMENSIONS, seed: int = 0) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).standard_normal((n, dimensions)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def an_item(
    item_id: str,
    vector: NDArray[np.float32] | None = None,
    modality: Modality | None = Modality.TEXT,
    metadata: str = "{}",
    text: str | None = None,
    media: str | None = None,
) -> NewItem:
    if vector is None:
        vector = unit_vectors(1, seed=crc32(item_id.encode()))[0]
    ref = None if media is None else MediaRef(media, "image/png")
    return NewItem(item_id, modality, vector, text, ref, metadata)


async def reserved_item(database: Database, item_id: str, media: str) -> NewItem:
    """An item whose media has been announced, as before an upload."""
    await Outbox(database).reserve([media], 60)
    return an_item(item_id, modality=Modality.IMAGE, media=media)
