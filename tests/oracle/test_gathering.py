"""Scrolling, counting, facets, groups and matrices against qdrant-client's in-memory engine."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from qdrant_client import models

from app.domain.collections import Metric
from app.domain.filters import And, Equals, Not, Range
from app.domain.queries import (
    Fusion,
    GroupQuery,
    InOrderOfIds,
    MatrixQuery,
    Nearest,
    OrderBy,
    PointQuery,
    Recommend,
    Sample,
    Strategy,
    VectorOf,
)
from app.domain.rankings import Group, Scope
from tests.engine.factories import a_gatherer, a_querier
from tests.oracle.oracle import NAME, Twins, assert_same, name, twins

if TYPE_CHECKING:
    from app.engine.gathering import Gatherer
    from app.engine.querying import Querier
    from app.store.database import Database

FILTERS = [
    (None, None),
    (
        Equals(("city",), "Paris"),
        models.Filter(
            must=[models.FieldCondition(key="city", match=models.MatchValue(value="Paris"))]
        ),
    ),
    (
        And((Range(("price",), gte=30), Not(Equals(("tags",), "a")))),
        models.Filter(
            must=[models.FieldCondition(key="price", range=models.Range(gte=30))],
            must_not=[models.FieldCondition(key="tags", match=models.MatchValue(value="a"))],
        ),
    ),
]
FILTERED = pytest.mark.parametrize(("mine", "theirs"), FILTERS)


@pytest.fixture
async def pair(database: Database) -> Twins:
    return await twins(database, Metric.COSINE)


@pytest.fixture
def querier(database: Database) -> Querier:
    return a_querier(database)


@pytest.fixture
def gatherer(database: Database) -> Gatherer:
    return a_gatherer(database)


@FILTERED
async def test_scrolling_by_id(querier: Querier, pair: Twins, mine: Any, theirs: Any) -> None:
    start: int | None = None
    seen = 0
    while True:
        points, following = pair.client.scroll(NAME, theirs, limit=23, offset=start)
        begin = None if start is None else name(start)
        query = PointQuery(InOrderOfIds(begin), limit=24, filter=mine)
        [ours] = await querier.query(pair.collection, [query])
        assert [hit.item.id for hit in ours[:23]] == [name(point.id) for point in points]
        seen += len(points)
        if following is None:
            assert len(ours) <= 23
            break
        assert ours[23].item.id == name(following)
        start = following
    assert seen == pair.client.count(NAME, theirs).count


@FILTERED
@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("key", ["price", "count", "nested.rank", "at", "tags"])
async def test_scrolling_by_a_field(
    querier: Querier, pair: Twins, key: str, descending: bool, mine: Any, theirs: Any
) -> None:
    starts: list[Any] = {"price": [None, 50.0], "count": [None, 7]}.get(key, [None])
    if key == "at":
        starts = [None, datetime(2024, 6, 15, tzinfo=UTC)]
    for start in starts:
        order = models.OrderBy(
            key=key,
            direction=models.Direction.DESC if descending else models.Direction.ASC,
            start_from=start,
        )
        points, _ = pair.client.scroll(NAME, theirs, limit=60, order_by=order)
        begin = start.timestamp() * 1e6 if isinstance(start, datetime) else start
        query = OrderBy(tuple(key.split(".")), descending, begin)
        [ours] = await querier.query(pair.collection, [PointQuery(query, limit=60, filter=mine)])
        values = [hit.order_value for hit in ours]
        assert values == [point.order_value for point in points]
        inner = {v for v in values if v not in {values[0], values[-1]}}  # no tie is cut off
        assert {(hit.item.id, hit.order_value) for hit in ours if hit.order_value in inner} == {
            (name(point.id), point.order_value) for point in points if point.order_value in inner
        }


@FILTERED
async def test_counting(gatherer: Gatherer, pair: Twins, mine: Any, theirs: Any) -> None:
    wanted = pair.client.count(NAME, theirs).count
    assert await gatherer.count(pair.collection, Scope(mine)) == wanted
    estimate = await gatherer.count(pair.collection, Scope(mine), exact=False)
    assert 0 <= estimate <= pair.collection.item_count


@FILTERED
@pytest.mark.parametrize("key", ["city", "count", "flag", "tags", "nested.rank", "rare", "price"])
async def test_facets(gatherer: Gatherer, pair: Twins, key: str, mine: Any, theirs: Any) -> None:
    for limit in (3, 100):
        wanted = pair.client.facet(NAME, key, facet_filter=theirs, limit=limit).hits
        ours = await gatherer.facet(pair.collection, tuple(key.split(".")), Scope(mine), limit)
        assert [(hit.value, hit.count) for hit in ours] == [
            (hit.value, hit.count) for hit in wanted
        ]


def assert_same_groups(ours: list[Group], theirs: models.GroupsResult, pair: Twins) -> None:
    assert [group.value for group in ours] == [group.id for group in theirs.groups]
    for one, other in zip(ours, theirs.groups, strict=True):
        assert_same(one.hits, other.hits, pair, distances=False)


@FILTERED
@pytest.mark.parametrize("key", ["city", "count", "nested.rank", "rare"])
@pytest.mark.parametrize(("limit", "size"), [(3, 1), (4, 3), (50, 50)])
async def test_groups(
    gatherer: Gatherer, pair: Twins, key: str, limit: int, size: int, mine: Any, theirs: Any
) -> None:
    probe = pair.vectors[8] + 0.1
    wanted = pair.client.query_points_groups(
        NAME, key, query=probe.tolist(), query_filter=theirs, limit=limit, group_size=size
    )
    query = GroupQuery(PointQuery(Nearest(probe), filter=mine), tuple(key.split(".")), limit, size)
    assert_same_groups(await gatherer.group(pair.collection, query), wanted, pair)


async def test_groups_of_items_with_several_values(gatherer: Gatherer, pair: Twins) -> None:
    probe = pair.vectors[8] + 0.1
    wanted = pair.client.query_points_groups(
        NAME, "tags", query=probe.tolist(), limit=4, group_size=5
    )
    ours = await gatherer.group(
        pair.collection, GroupQuery(PointQuery(Nearest(probe)), ("tags",), 4, 5)
    )
    # The first groups share their best item: their order is not told.
    assert {str(g.value): [hit.item.id for hit in g.hits] for g in ours} == {
        g.id: [name(point.id) for point in g.hits] for g in wanted.groups
    }


async def test_groups_of_a_recommendation(gatherer: Gatherer, pair: Twins) -> None:
    wanted = pair.client.query_points_groups(
        NAME,
        "city",
        query=models.RecommendQuery(
            recommend=models.RecommendInput(
                positive=[1, 2],
                negative=[3],
                strategy=models.RecommendStrategy.BEST_SCORE,
            )
        ),
        limit=5,
        group_size=4,
    )
    recommend = Recommend(
        (VectorOf("001"), VectorOf("002")), (VectorOf("003"),), Strategy.BEST_SCORE
    )
    query = GroupQuery(PointQuery(recommend), ("city",), 5, 4)
    assert_same_groups(await gatherer.group(pair.collection, query), wanted, pair)


async def test_groups_of_a_fusion(gatherer: Gatherer, pair: Twins) -> None:
    one, other = pair.vectors[20] + 0.1, pair.vectors[30] - 0.1
    # The client's own grouping of a fusion forgets what is prefetched.
    fused = pair.client.query_points(
        NAME,
        query=models.FusionQuery(fusion=models.Fusion.RRF),
        prefetch=[models.Prefetch(query=v.tolist(), limit=200) for v in (one, other)],
        limit=200,
    ).points
    prefetch = tuple(PointQuery(Nearest(vector), limit=5) for vector in (one, other))
    query = GroupQuery(PointQuery(Fusion(), prefetch=prefetch), ("rare",), 2, 10)
    [group] = await gatherer.group(pair.collection, query)
    assert group.value == "yes"
    assert_same(group.hits, [point for point in fused if "rare" in point.payload], pair)


async def test_a_sample_is_random_and_filtered(querier: Querier, pair: Twins) -> None:
    query = PointQuery(Sample(), limit=50, filter=Equals(("city",), "Lima"))
    [first, second] = await querier.query(pair.collection, [query, query])
    expected = {name(p["number"]) for p in pair.payloads if p["city"] == "Lima"}
    assert {hit.item.id for hit in first} == expected
    assert [hit.item.id for hit in first] != [hit.item.id for hit in second]
    [few] = await querier.query(pair.collection, [PointQuery(Sample(), limit=7)])
    assert len(few) == 7


@pytest.mark.parametrize("metric", list(Metric))
async def test_a_matrix_of_all_items(
    database: Database, gatherer: Gatherer, metric: Metric
) -> None:
    pair = await twins(database, metric, points=40)
    wanted = pair.client.search_matrix_offsets(NAME, sample=40, limit=5)
    matrix = await gatherer.matrix(pair.collection, MatrixQuery(sample=40, limit=5))
    assert matrix.ids == tuple(name(point) for point in wanted.ids)
    ours = [(row, column) for row, found in enumerate(matrix.rows) for column, _ in found]
    assert ours == list(zip(wanted.offsets_row, wanted.offsets_col, strict=True))
    scores = [pair.score(score) for found in matrix.rows for _, score in found]
    np.testing.assert_allclose(scores, wanted.scores, rtol=1e-4, atol=1e-5)


async def test_a_matrix_of_a_sample(gatherer: Gatherer, pair: Twins) -> None:
    query = MatrixQuery(sample=12, limit=3, filter=Equals(("city",), "Osaka"))
    matrix = await gatherer.matrix(pair.collection, query)
    assert len(matrix.ids) == 12
    assert all(len(row) == 3 for row in matrix.rows)
    assert all(pair.payloads[int(one)]["city"] == "Osaka" for one in matrix.ids)
