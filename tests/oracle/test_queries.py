"""Queries of one vector space against qdrant-client's in-memory engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import models

from app.domain.collections import Metric
from app.domain.filters import Equals, Range
from app.domain.queries import (
    Context,
    Discover,
    Diversity,
    Fusion,
    FusionMethod,
    Nearest,
    PointQuery,
    Recommend,
    Strategy,
    VectorOf,
)
from tests.engine.factories import a_querier
from tests.oracle.oracle import DISTANT, NAME, Twins, assert_same, name, twins

if TYPE_CHECKING:
    from app.domain.rankings import Ranked
    from app.engine.querying import Querier
    from app.store.database import Database

METRICS = pytest.mark.parametrize("metric", list(Metric))
FILTER = Equals(("city",), "Berlin")
THEIR_FILTER = models.Filter(
    must=[models.FieldCondition(key="city", match=models.MatchValue(value="Berlin"))]
)
STRATEGIES = {
    Strategy.AVERAGE_VECTOR: models.RecommendStrategy.AVERAGE_VECTOR,
    Strategy.BEST_SCORE: models.RecommendStrategy.BEST_SCORE,
    Strategy.SUM_SCORES: models.RecommendStrategy.SUM_SCORES,
}


@pytest.fixture
def querier(database: Database) -> Querier:
    return a_querier(database)


async def both(
    querier: Querier, pair: Twins, mine: PointQuery, **theirs: Any
) -> tuple[list[Ranked], list[models.ScoredPoint]]:
    [ours] = await querier.query(pair.collection, [mine])
    wanted = pair.client.query_points(NAME, **theirs).points
    assert ours or not wanted
    return ours, wanted


@METRICS
async def test_nearest(database: Database, querier: Querier, metric: Metric) -> None:
    pair = await twins(database, metric)
    for seed in range(3):
        probe = np.random.default_rng(seed).standard_normal(8).astype(np.float32)
        ours, wanted = await both(
            querier, pair, PointQuery(Nearest(probe), limit=20), query=probe.tolist(), limit=20
        )
        assert_same(ours, wanted, pair)


@METRICS
async def test_nearest_with_filter_offset_and_threshold(
    database: Database, querier: Querier, metric: Metric
) -> None:
    pair = await twins(database, metric)
    probe = pair.vectors[3] + 0.1
    wanted = pair.client.query_points(NAME, query=probe.tolist(), limit=30).points
    least = wanted[15].score + (1e-4 if metric in DISTANT else -1e-4)
    threshold = -least if metric in DISTANT else least
    ours, wanted = await both(
        querier,
        pair,
        PointQuery(Nearest(probe), limit=20, offset=2, filter=FILTER, threshold=threshold),
        query=probe.tolist(),
        limit=20,
        offset=2,
        query_filter=THEIR_FILTER,
        score_threshold=least,
    )
    assert_same(ours, wanted, pair)


@METRICS
async def test_nearest_to_an_item_leaves_the_item_out(
    database: Database, querier: Querier, metric: Metric
) -> None:
    pair = await twins(database, metric)
    ours, wanted = await both(querier, pair, PointQuery(Nearest(VectorOf("005"))), query=5)
    assert_same(ours, wanted, pair)
    assert "005" not in {hit.item.id for hit in ours}


@METRICS
@pytest.mark.parametrize("strategy", list(Strategy))
async def test_recommend(
    database: Database, querier: Querier, metric: Metric, strategy: Strategy
) -> None:
    pair = await twins(database, metric)
    raw = (pair.vectors[9] * 0.5).astype(np.float32)
    cases = [([1, 2], [3, 4]), ([1, raw], []), ([5], [6, 7, 8])]
    if strategy is not Strategy.AVERAGE_VECTOR:
        cases.append(([], [1, 2]))
    for positive, negative in cases:
        mine = [
            tuple(VectorOf(name(e)) if isinstance(e, int) else e for e in side)
            for side in (positive, negative)
        ]
        theirs = [
            [e if isinstance(e, int) else e.tolist() for e in side] for side in (positive, negative)
        ]
        ours, wanted = await both(
            querier,
            pair,
            PointQuery(Recommend(*mine, strategy), limit=25),
            query=models.RecommendQuery(
                recommend=models.RecommendInput(
                    positive=theirs[0], negative=theirs[1], strategy=STRATEGIES[strategy]
                )
            ),
            limit=25,
        )
        assert_same(ours, wanted, pair, distances=strategy is Strategy.AVERAGE_VECTOR)


@METRICS
async def test_discover(database: Database, querier: Querier, metric: Metric) -> None:
    pair = await twins(database, metric)
    probe = pair.vectors[50] + 0.05
    pairs = [(1, 2), (3, 4), (5, 6)]
    ours, wanted = await both(
        querier,
        pair,
        PointQuery(
            Discover(probe, tuple((VectorOf(name(p)), VectorOf(name(n))) for p, n in pairs)),
            limit=30,
            filter=Range(("count",), gte=3),
        ),
        query=models.DiscoverQuery(
            discover=models.DiscoverInput(
                target=probe.tolist(),
                context=[models.ContextPair(positive=p, negative=n) for p, n in pairs],
            )
        ),
        limit=30,
        query_filter=models.Filter(
            must=[models.FieldCondition(key="count", range=models.Range(gte=3))]
        ),
    )
    assert_same(ours, wanted, pair, distances=False)


@METRICS
async def test_context(database: Database, querier: Querier, metric: Metric) -> None:
    pair = await twins(database, metric)
    pairs = [(1, 2), (3, 4), (5, 6), (7, 8)]
    ours, wanted = await both(
        querier,
        pair,
        PointQuery(
            Context(tuple((VectorOf(name(p)), VectorOf(name(n))) for p, n in pairs)), limit=190
        ),
        query=models.ContextQuery(
            context=[models.ContextPair(positive=p, negative=n) for p, n in pairs]
        ),
        limit=190,
    )
    assert_same(ours, wanted, pair, distances=False)


@METRICS
@pytest.mark.parametrize("weight", [0.0, 0.3, 0.7, 1.0])
async def test_diversity(
    database: Database, querier: Querier, metric: Metric, weight: float
) -> None:
    pair = await twins(database, metric)
    probe = pair.vectors[12] + 0.2
    ours, wanted = await both(
        querier,
        pair,
        PointQuery(Nearest(probe, Diversity(weight, 60)), limit=12),
        query=models.NearestQuery(
            nearest=probe.tolist(), mmr=models.Mmr(diversity=weight, candidates_limit=60)
        ),
        limit=12,
    )
    assert [hit.item.id for hit in ours] == [name(point.id) for point in wanted]
    assert_same(ours, wanted, pair)


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.DOT])
@pytest.mark.parametrize("method", list(FusionMethod))
async def test_fusion(
    database: Database, querier: Querier, metric: Metric, method: FusionMethod
) -> None:
    pair = await twins(database, metric)
    one, other = pair.vectors[20] + 0.1, pair.vectors[30] - 0.1
    ours, wanted = await both(
        querier,
        pair,
        PointQuery(
            Fusion(method),
            limit=20,
            offset=1,
            prefetch=(
                PointQuery(Nearest(one), limit=30),
                PointQuery(Nearest(other), limit=25, filter=FILTER),
                PointQuery(Recommend((VectorOf("020"),), (VectorOf("040"),)), limit=15),
            ),
        ),
        query=models.FusionQuery(fusion=models.Fusion(method.value)),
        prefetch=[
            models.Prefetch(query=one.tolist(), limit=30),
            models.Prefetch(query=other.tolist(), limit=25, filter=THEIR_FILTER),
            models.Prefetch(
                query=models.RecommendQuery(
                    recommend=models.RecommendInput(positive=[20], negative=[40])
                ),
                limit=15,
            ),
        ],
        limit=20,
        offset=1,
    )
    assert_same(ours, wanted, pair)


@METRICS
async def test_rescoring_what_was_prefetched_twice(
    database: Database, querier: Querier, metric: Metric
) -> None:
    pair = await twins(database, metric)
    first, second, third = pair.vectors[1], pair.vectors[2] + 0.1, pair.vectors[3] - 0.1
    ours, wanted = await both(
        querier,
        pair,
        PointQuery(
            Nearest(third),
            limit=8,
            prefetch=(
                PointQuery(
                    Nearest(second),
                    limit=12,
                    prefetch=(PointQuery(Nearest(first), limit=40, filter=FILTER),),
                ),
                PointQuery(Nearest(VectorOf("077")), limit=5),
            ),
        ),
        query=third.tolist(),
        limit=8,
        prefetch=[
            models.Prefetch(
                query=second.tolist(),
                limit=12,
                prefetch=[models.Prefetch(query=first.tolist(), limit=40, filter=THEIR_FILTER)],
            ),
            models.Prefetch(query=models.NearestQuery(nearest=77), limit=5),
        ],
    )
    assert_same(ours, wanted, pair)


async def test_a_batch_is_what_its_queries_are(database: Database, querier: Querier) -> None:
    pair = await twins(database, Metric.COSINE)
    probes = pair.vectors[:30] + 0.1
    results = await querier.query(
        pair.collection, [PointQuery(Nearest(probe), limit=7) for probe in probes]
    )
    wanted = pair.client.query_batch_points(
        NAME, [models.QueryRequest(query=probe.tolist(), limit=7) for probe in probes]
    )
    assert len(results) == len(wanted)
    for ours, theirs in zip(results, wanted, strict=True):
        assert_same(ours, theirs.points, pair)
