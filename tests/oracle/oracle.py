"""The same random points in both: qdrant-client's in-memory engine, and ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qdrant_client import QdrantClient, models

from app.domain.collections import Collection, Metric
from tests.engine.factories import DIMENSIONS, a_collection, put, random_vectors, raw, reloaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from app.domain.rankings import Ranked
    from app.store.database import Database

POINTS = 200
NAME = "oracle"
CITIES = ("Berlin", "Köln", "Paris", "Lima", "Osaka")

DISTANCES = {
    Metric.COSINE: models.Distance.COSINE,
    Metric.DOT: models.Distance.DOT,
    Metric.EUCLIDEAN: models.Distance.EUCLID,
    Metric.MANHATTAN: models.Distance.MANHATTAN,
}
DISTANT = (Metric.EUCLIDEAN, Metric.MANHATTAN)


@dataclass(frozen=True)
class Twins:
    """`client` holds under the ids 0, 1, … what `collection` holds under "000", "001", … ."""

    client: QdrantClient
    collection: Collection
    metric: Metric
    vectors: NDArray[np.float32]
    payloads: list[dict[str, Any]]

    def score(self, similarity: float) -> float:
        """Qdrant's score for one of ours, where it is a distance."""
        return -similarity if self.metric in DISTANT else similarity


def name(number: int) -> str:
    return f"{number:03}"


def payload(generator: np.random.Generator, number: int) -> dict[str, Any]:
    tags = [str(tag) for tag in generator.choice(["a", "b", "c", "d"], generator.integers(0, 4))]
    return {
        "number": number,
        "city": str(generator.choice(CITIES)),
        "price": round(float(generator.uniform(0, 100)), 3),
        "count": int(generator.integers(0, 20)),
        "flag": bool(generator.integers(0, 2)),
        "tags": tags,
        "at": f"2024-{int(generator.integers(1, 13)):02}-{int(generator.integers(1, 29)):02}"
        "T12:00:00Z",
        "nested": {"rank": int(generator.integers(0, 5))},
    } | ({"rare": "yes"} if number % 50 == 0 else {})


async def twins(database: Database, metric: Metric, points: int = POINTS) -> Twins:
    vectors = random_vectors(points, seed=7)
    generator = np.random.default_rng(11)
    payloads = [payload(generator, number) for number in range(points)]
    client = QdrantClient(":memory:")
    config = models.VectorParams(size=DIMENSIONS, distance=DISTANCES[metric])
    client.create_collection(NAME, vectors_config=config)
    client.upsert(
        NAME,
        [
            models.PointStruct(id=n, vector=vectors[n].tolist(), payload=payloads[n])
            for n in range(points)
        ],
    )
    collection = await a_collection(database, raw(metric))
    await put(
        database,
        collection,
        {name(n): vectors[n] for n in range(points)},
        {name(n): payloads[n] for n in range(points)},
    )
    return Twins(client, await reloaded(database, collection), metric, vectors, payloads)


def assert_same(
    ours: Sequence[Ranked],
    theirs: Sequence[Any],
    twins: Twins,
    *,
    distances: bool = True,
    tolerance: float = 1e-4,
) -> None:
    """Compare ids in order, and scores. Items whose scores tie may be swapped."""
    scores = [twins.score(hit.score) if distances else hit.score for hit in ours]
    np.testing.assert_allclose(
        scores, [point.score for point in theirs], rtol=tolerance, atol=tolerance
    )
    mine, wanted = [hit.item.id for hit in ours], [name(point.id) for point in theirs]
    places = {item: place for place, item in enumerate(mine)}
    for place, (one, other) in enumerate(zip(mine, wanted, strict=True)):
        if one != other:  # a tie, with the last place for those that only one of us found
            there = scores[places.get(other, len(scores) - 1)]
            assert abs(scores[place] - there) <= tolerance * max(1, abs(there))
