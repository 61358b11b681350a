"""Named spaces, sparse vectors and multi-vectors against qdrant-client's in-memory engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from app.domain.collections import Metric, SpaceKind, SpaceSpec, VectorPrecision
from app.domain.filters import Range
from app.domain.queries import (
    Context,
    Discover,
    Diversity,
    Fusion,
    FusionMethod,
    GroupQuery,
    Lookup,
    Nearest,
    PointQuery,
    Recommend,
    Strategy,
    VectorOf,
)
from app.domain.vectors import SparseVector, sparse
from app.store.spaces import SpaceStore
from app.store.vectors import VectorStore
from tests.engine.factories import a_collection, a_gatherer, a_querier, put, raw, reloaded
from tests.oracle.oracle import DISTANCES, NAME, Twins, assert_same, name
from tests.oracle.test_queries import STRATEGIES

if TYPE_CHECKING:
    from app.domain.rankings import Ranked
    from app.engine.querying import Querier
    from app.store.database import Database

POINTS = 120
SIZE = 6
LOOKUP = "lookup"


@dataclass
class Stored:
    dense: list[np.ndarray]
    words: list[SparseVector]
    pages: list[np.ndarray]


def a_sparse(generator: np.random.Generator) -> SparseVector:
    indices = generator.choice(40, generator.integers(1, 8), replace=False)
    return sparse({int(i): float(np.float32(generator.uniform(0.1, 2))) for i in indices})


def theirs(vector: Any) -> Any:
    if isinstance(vector, SparseVector):
        return models.SparseVector(indices=list(vector.indices), values=list(vector.values))
    if isinstance(vector, VectorOf):
        return int(vector.id)
    return vector.tolist()


def stored(seed: int = 3) -> Stored:
    generator = np.random.default_rng(seed)
    return Stored(
        [generator.standard_normal(SIZE).astype(np.float32) for _ in range(POINTS)],
        [a_sparse(generator) for _ in range(POINTS)],
        [
            generator.standard_normal((int(generator.integers(1, 5)), SIZE)).astype(np.float32)
            for _ in range(POINTS)
        ],
    )


def a_twin(client: QdrantClient, collection: str, metric: Metric, points: Stored) -> None:
    dense = models.VectorParams(size=SIZE, distance=DISTANCES[metric])
    pages = models.VectorParams(
        size=SIZE,
        distance=DISTANCES[metric],
        multivector_config=models.MultiVectorConfig(
            comparator=models.MultiVectorComparator.MAX_SIM
        ),
    )
    client.create_collection(
        collection,
        vectors_config={"other": dense, "pages": pages},
        sparse_vectors_config={"words": models.SparseVectorParams()},
    )
    structs = []
    for n in range(POINTS):
        vectors: dict[str, Any] = {
            "pages": points.pages[n].tolist(),
            "words": theirs(points.words[n]),
        }
        if n % 10:  # every tenth has none
            vectors["other"] = points.dense[n].tolist()
        structs.append(models.PointStruct(id=n, vector=vectors, payload={"n": n, "g": n % 7}))
    client.upsert(collection, structs)


async def twins(database: Database, metric: Metric, seed: int = 3) -> tuple[Twins, Stored]:
    points = stored(seed)
    client = QdrantClient(":memory:")
    a_twin(client, NAME, metric, points)
    a_twin(client, LOOKUP, metric, stored(seed + 1))
    collection = await a_collection(database, raw(metric, 2))
    spaces = SpaceStore(database)
    full = VectorPrecision.FLOAT32
    specs = {
        "other": SpaceSpec(None, SIZE, metric, full),
        "pages": SpaceSpec(None, SIZE, metric, full, SpaceKind.MULTI),
        "words": SpaceSpec(None, 0, Metric.DOT, full, SpaceKind.SPARSE),
    }
    for space, spec in specs.items():
        await spaces.create(collection, space, spec)
    collection = await reloaded(database, collection)
    await put(
        database,
        collection,
        {name(n): [1.0, float(n)] for n in range(POINTS)},
        {name(n): {"n": n, "g": n % 7} for n in range(POINTS)},
    )
    known = await VectorStore(database).put(
        collection,
        {
            "other": {name(n): points.dense[n] for n in range(POINTS) if n % 10},
            "pages": {name(n): points.pages[n] for n in range(POINTS)} | {"none": points.pages[0]},
            "words": {name(n): points.words[n] for n in range(POINTS)},
        },
    )
    assert known == {name(n) for n in range(POINTS)}
    return Twins(client, await reloaded(database, collection), metric, np.zeros(0), []), points


@pytest.fixture
def querier(database: Database) -> Querier:
    return a_querier(database)


async def ours(querier: Querier, pair: Twins, query: PointQuery) -> list[Ranked]:
    [hits] = await querier.query(pair.collection, [query])
    assert hits
    return hits


CASES = pytest.mark.parametrize(
    ("space", "metric"),
    [("words", Metric.DOT), *((space, m) for space in ("other", "pages") for m in Metric)],
)


def probes(points: Stored, space: str) -> tuple[list[Any], Any]:
    """Two vectors of items of the space, and one of none's."""
    generator = np.random.default_rng(99)
    match space:
        case "words":
            return points.words[:8], a_sparse(generator)
        case "pages":
            return points.pages[:8], generator.standard_normal((3, SIZE)).astype(np.float32)
    return points.dense[:8], generator.standard_normal(SIZE).astype(np.float32)


@CASES
async def test_nearest(database: Database, querier: Querier, metric: Metric, space: str) -> None:
    pair, points = await twins(database, metric)
    _, probe = probes(points, space)
    for vector in (probe, VectorOf("011")):
        hits = await ours(
            querier,
            pair,
            PointQuery(Nearest(vector), limit=30, space=space, filter=Range(("n",), gte=20)),
        )
        wanted = pair.client.query_points(
            NAME,
            query=theirs(vector),
            using=space,
            limit=30,
            query_filter=models.Filter(
                must=[models.FieldCondition(key="n", range=models.Range(gte=20))]
            ),
        ).points
        assert_same(hits, wanted, pair)


@CASES
@pytest.mark.parametrize("strategy", list(Strategy))
async def test_recommend(
    database: Database, querier: Querier, metric: Metric, space: str, strategy: Strategy
) -> None:
    pair, points = await twins(database, metric)
    _, probe = probes(points, space)
    positive, negative = (VectorOf("001"), probe), (VectorOf("002"), VectorOf("003"))
    hits = await ours(
        querier,
        pair,
        PointQuery(Recommend(positive, negative, strategy), limit=20, space=space),
    )
    wanted = pair.client.query_points(
        NAME,
        query=models.RecommendQuery(
            recommend=models.RecommendInput(
                positive=list(map(theirs, positive)),
                negative=list(map(theirs, negative)),
                strategy=STRATEGIES[strategy],
            )
        ),
        using=space,
        limit=20,
    ).points
    distances = strategy is Strategy.AVERAGE_VECTOR
    assert_same(hits, wanted, pair, distances=distances)


@CASES
async def test_discovery_and_context(
    database: Database, querier: Querier, metric: Metric, space: str
) -> None:
    pair, points = await twins(database, metric)
    _, probe = probes(points, space)
    pairs = ((VectorOf("001"), VectorOf("002")), (VectorOf("003"), VectorOf("004")))
    context = [models.ContextPair(positive=theirs(p), negative=theirs(n)) for p, n in pairs]
    hits = await ours(querier, pair, PointQuery(Discover(probe, pairs), limit=25, space=space))
    wanted = pair.client.query_points(
        NAME,
        query=models.DiscoverQuery(
            discover=models.DiscoverInput(target=theirs(probe), context=context)
        ),
        using=space,
        limit=25,
    ).points
    assert_same(hits, wanted, pair, distances=False)
    hits = await ours(querier, pair, PointQuery(Context(pairs), limit=100, space=space))
    wanted = pair.client.query_points(
        NAME, query=models.ContextQuery(context=context), using=space, limit=100
    ).points
    assert_same(hits, wanted, pair, distances=False)


@CASES
async def test_diversity(database: Database, querier: Querier, metric: Metric, space: str) -> None:
    pair, points = await twins(database, metric)
    _, probe = probes(points, space)
    query = PointQuery(Nearest(probe, Diversity(0.5, 40)), limit=10, space=space)
    hits = await ours(querier, pair, query)
    wanted = pair.client.query_points(
        NAME,
        query=models.NearestQuery(
            nearest=theirs(probe), mmr=models.Mmr(diversity=0.5, candidates_limit=40)
        ),
        using=space,
        limit=10,
    ).points
    assert_same(hits, wanted, pair)


async def test_dense_and_sparse_are_fused(database: Database, querier: Querier) -> None:
    pair, points = await twins(database, Metric.COSINE)
    dense, words = probes(points, "other")[1], probes(points, "words")[1]
    for method in FusionMethod:
        hits = await ours(
            querier,
            pair,
            PointQuery(
                Fusion(method),
                limit=20,
                prefetch=(
                    PointQuery(Nearest(dense), limit=30, space="other"),
                    PointQuery(Nearest(words), limit=30, space="words"),
                ),
            ),
        )
        wanted = pair.client.query_points(
            NAME,
            query=models.FusionQuery(fusion=models.Fusion(method.value)),
            prefetch=[
                models.Prefetch(query=theirs(dense), using="other", limit=30),
                models.Prefetch(query=theirs(words), using="words", limit=30),
            ],
            limit=20,
        ).points
        assert_same(hits, wanted, pair)


async def test_multi_vectors_rerank_what_dense_ones_found(
    database: Database, querier: Querier
) -> None:
    pair, points = await twins(database, Metric.DOT)
    dense, pages = probes(points, "other")[1], probes(points, "pages")[1]
    inner = PointQuery(Nearest(dense), limit=40, space="other")
    hits = await ours(
        querier, pair, PointQuery(Nearest(pages), limit=15, space="pages", prefetch=(inner,))
    )
    wanted = pair.client.query_points(
        NAME,
        query=theirs(pages),
        using="pages",
        prefetch=[models.Prefetch(query=theirs(dense), using="other", limit=40)],
        limit=15,
    ).points
    assert_same(hits, wanted, pair)


async def test_examples_of_another_collection(database: Database, querier: Querier) -> None:
    pair, _ = await twins(database, Metric.COSINE)
    other, _ = await twins(database, Metric.COSINE, seed=4)
    hits = await ours(
        querier,
        pair,
        PointQuery(
            Recommend((VectorOf("011"),), (VectorOf("012"),)),
            limit=20,
            space="other",
            lookup=Lookup(other.collection.id),
        ),
    )
    wanted = pair.client.query_points(
        NAME,
        query=models.RecommendQuery(recommend=models.RecommendInput(positive=[11], negative=[12])),
        using="other",
        lookup_from=models.LookupLocation(collection=LOOKUP, vector="other"),
        limit=20,
    ).points
    assert_same(hits, wanted, pair)


@pytest.mark.parametrize("space", ["other", "pages", "words"])
async def test_groups(database: Database, space: str) -> None:
    pair, points = await twins(database, Metric.COSINE)
    _, probe = probes(points, space)
    wanted = pair.client.query_points_groups(
        NAME, "g", query=theirs(probe), using=space, limit=5, group_size=4
    ).groups
    groups = await a_gatherer(database).group(
        pair.collection, GroupQuery(PointQuery(Nearest(probe), space=space), ("g",), 5, 4)
    )
    assert [group.value for group in groups] == [group.id for group in wanted]
    for mine, other in zip(groups, wanted, strict=True):
        assert_same(mine.hits, other.hits, pair)


async def test_vectors_come_back_from_the_spaces_asked_for(
    database: Database, querier: Querier
) -> None:
    pair, points = await twins(database, Metric.EUCLIDEAN)
    query = PointQuery(
        Nearest(np.array([1, 10], dtype=np.float32)),
        limit=2,
        with_vectors=("", "other", "pages", "words"),
    )
    hits = await ours(querier, pair, query)
    assert [hit.item.id for hit in hits] == ["010", "009"]
    assert set(hits[0].vectors) == {"", "pages", "words"}  # the tenth has no other
    np.testing.assert_array_equal(hits[1].vectors["other"], points.dense[9])
    np.testing.assert_array_equal(hits[1].vectors["pages"], points.pages[9])
    assert hits[1].vectors["words"] == points.words[9]
