"""Small makers of collections to query."""

from __future__ import annotations

import json
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from app.domain.collections import Metric, SpaceSpec, VectorPrecision
from app.domain.items import NewItem
from app.engine.gathering import Gatherer
from app.engine.nearest import NearestSearcher
from app.engine.querying import Querier
from app.engine.words import WordIndexer
from app.settings import SearchSettings
from app.store.collections import CollectionStore
from app.store.facets import FacetStore
from app.store.items import ItemStore
from app.store.rankings import RankingStore
from app.store.search import SearchStore
from app.store.vectors import VectorStore
from app.store.words import WordIndexStore

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from app.domain.collections import Collection
    from app.domain.modality import Modality
    from app.domain.rankings import Ranked
    from app.store.database import Database

DIMENSIONS = 8

_numbers = count()


def raw(metric: Metric = Metric.COSINE, dimensions: int = DIMENSIONS) -> SpaceSpec:
    return SpaceSpec(None, dimensions, metric, VectorPrecision.FLOAT32)


async def a_collection(database: Database, spec: SpaceSpec | None = None) -> Collection:
    name = f"collection {next(_numbers)}"
    return await CollectionStore(database).create("default", name, None, spec or raw())


async def reloaded(database: Database, collection: Collection) -> Collection:
    return await CollectionStore(database).get("default", collection.id)


async def put(
    database: Database,
    collection: Collection,
    vectors: Mapping[str, NDArray[np.float32] | list[float]],
    payloads: Mapping[str, Any] | None = None,
    texts: Mapping[str, str] | None = None,
    modality: Modality | None = None,
) -> None:
    items = [
        NewItem(
            name,
            modality,
            np.asarray(vector, dtype=np.float32),
            text=(texts or {}).get(name),
            metadata=json.dumps((payloads or {}).get(name, {})),
        )
        for name, vector in vectors.items()
    ]
    await ItemStore(database).put(collection, items)


def a_querier(database: Database, settings: SearchSettings | None = None) -> Querier:
    return Querier(
        CollectionStore(database),
        RankingStore(database),
        VectorStore(database),
        NearestSearcher(settings or SearchSettings(), SearchStore(database)),
        WordIndexer(WordIndexStore(database)),
    )


def a_gatherer(database: Database, settings: SearchSettings | None = None) -> Gatherer:
    return Gatherer(
        a_querier(database, settings),
        FacetStore(database),
        RankingStore(database),
        VectorStore(database),
    )


def random_vectors(n: int, seed: int = 0, dimensions: int = DIMENSIONS) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((n, dimensions)).astype(np.float32)


def ids(hits: list[Ranked]) -> list[str]:
    return [hit.item.id for hit in hits]
