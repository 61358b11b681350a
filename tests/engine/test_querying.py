"""Queries of points: what the comparison with Qdrant does not show."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.domain.collections import Metric, SpaceSpec, VectorPrecision
from app.domain.filters import Equals
from app.domain.modality import Modality
from app.domain.queries import (
    Context,
    Diversity,
    Fusion,
    FusionMethod,
    GroupQuery,
    InOrderOfIds,
    MatrixQuery,
    Nearest,
    OrderBy,
    PointQuery,
    Query,
    Recommend,
    Strategy,
    VectorOf,
    Words,
)
from app.domain.rankings import ByText, Language, Scope, TextFields
from app.engine.words import WordIndexer
from app.errors import InvalidInput, NotFound
from app.settings import SearchSettings
from app.store.binding import Parameters
from app.store.collections import CollectionStore
from app.store.facets import FacetStore
from app.store.indexes import IndexStore
from app.store.words import WordIndexStore, words_query
from tests.engine.factories import (
    a_collection,
    a_gatherer,
    a_querier,
    ids,
    put,
    random_vectors,
    raw,
    reloaded,
)

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.store.database import Database

AXES = np.eye(4, dtype=np.float32)


async def on_axes(database: Database, metric: Metric = Metric.COSINE) -> Collection:
    """A collection of the items a, b, c and d, each on an axis of its own."""
    collection = await a_collection(database, raw(metric, 4))
    await put(
        database,
        collection,
        dict(zip("abcd", AXES, strict=True)),
        {"a": {"n": 1}, "b": {"n": 2.5}, "c": {"n": "2024-01-01"}, "d": {"n": "no time"}},
        {"a": "A red apple", "b": "red, red wine", "c": "Blue cheese"},
    )
    return await reloaded(database, collection)


async def ask(database: Database, collection: Collection, query: PointQuery | Query) -> list[str]:
    asked = query if isinstance(query, PointQuery) else PointQuery(query)
    [hits] = await a_querier(database).query(collection, [asked])
    return ids(hits)


async def test_a_strict_threshold_is_exceeded_and_another_reached(database: Database) -> None:
    collection = await on_axes(database)
    query = PointQuery(Nearest(AXES[0]), threshold=1.0)
    assert await ask(database, collection, query) == ["a"]
    assert await ask(database, collection, replace(query, strict=True)) == []
    euclidean = await on_axes(database, Metric.EUCLIDEAN)
    query = PointQuery(Nearest(AXES[0]), threshold=-(2**0.5) - 1e-6)
    assert len(await ask(database, euclidean, query)) == 4
    assert await ask(database, euclidean, replace(query, threshold=-1.0)) == ["a"]


async def test_vectors_of_zeros_are_like_nothing(database: Database) -> None:
    collection = await on_axes(database)
    zeros = np.zeros(4, dtype=np.float32)
    await put(database, collection, {"zero": zeros})
    [hits] = await a_querier(database).query(collection, [PointQuery(Nearest(AXES[1]))])
    assert ids(hits) == ["b", "a", "c", "d", "zero"]
    assert hits[-1].score == 0.0
    assert len(await ask(database, collection, Nearest(zeros))) == 5


async def test_kinds_of_content_are_told_apart(database: Database) -> None:
    collection = await on_axes(database)
    await put(database, collection, {"picture": AXES[0]}, modality=Modality.IMAGE)
    query = PointQuery(Nearest(AXES[0]), modalities=frozenset({Modality.IMAGE}))
    assert await ask(database, collection, query) == ["picture"]
    query = replace(query, query=InOrderOfIds())
    assert await ask(database, collection, query) == ["picture"]


async def test_what_holds_for_a_query_holds_for_what_it_prefetches(database: Database) -> None:
    collection = await on_axes(database)
    await put(database, collection, {"picture": AXES[0]}, modality=Modality.IMAGE)
    await put(database, collection, {"sound": AXES[0]}, modality=Modality.AUDIO)
    kinds = frozenset({Modality.IMAGE, Modality.AUDIO})
    inner = PointQuery(Nearest(AXES[0]), modalities=frozenset({Modality.IMAGE, Modality.TEXT}))
    fused = PointQuery(Fusion(), modalities=kinds, prefetch=(inner,))
    assert await ask(database, collection, fused) == ["picture"]
    inner = replace(inner, modalities=None)
    fused = replace(fused, prefetch=(inner,))
    assert set(await ask(database, collection, fused)) == {"picture", "sound"}
    inner = replace(inner, modalities=frozenset({Modality.TEXT}))
    assert await ask(database, collection, replace(fused, prefetch=(inner,))) == []


async def test_words_are_found_in_texts_and_in_chosen_fields(database: Database) -> None:
    collection = await on_axes(database)
    await put(
        database,
        collection,
        {"e": AXES[0], "f": AXES[0]},
        {"e": {"title": "Apples", "tags": ["red", "round"]}, "f": {"other": "apple red"}},
    )
    assert await ask(database, collection, Words("red apple")) == ["a", "b"]
    fields = TextFields((("title",), ("tags",)))
    assert set(await ask(database, collection, Words("red apple", fields))) == {"a", "b", "e"}
    english = TextFields((("title",),), Language.ENGLISH)
    assert set(await ask(database, collection, Words("apples", english))) == {"a", "e"}
    assert await ask(database, collection, Words("!? &|(")) == []
    assert await ask(database, collection, Words("it's 'quoted' \\ \"red\"")) == ["b", "a"]
    assert await ask(database, collection, Words("the", english)) == []


async def test_words_and_vectors_are_fused(database: Database) -> None:
    collection = await on_axes(database)
    prefetch = (
        PointQuery(Words("blue cheese"), limit=2),
        PointQuery(Nearest(AXES[1]), limit=1),
    )
    assert await ask(database, collection, PointQuery(Fusion(), prefetch=prefetch)) == ["c", "b"]
    weighed = Fusion(FusionMethod.RRF, k=60, weights=(0.2, 0.8))
    assert await ask(database, collection, PointQuery(weighed, prefetch=prefetch)) == ["b", "c"]


async def test_the_filter_of_a_fusion_holds_for_what_it_prefetches(database: Database) -> None:
    collection = await on_axes(database)
    query = PointQuery(
        Fusion(),
        filter=Equals(("n",), 1),
        prefetch=(PointQuery(Nearest(AXES[1])), PointQuery(Nearest(AXES[2]))),
    )
    assert await ask(database, collection, query) == ["a"]


async def test_ordering_passes_over_what_has_no_place_in_the_order(database: Database) -> None:
    collection = await on_axes(database)
    [hits] = await a_querier(database).query(collection, [PointQuery(OrderBy(("n",)))])
    assert [(hit.item.id, hit.order_value) for hit in hits] == [
        ("a", 1.0),
        ("b", 2.5),
        ("c", 1_704_067_200_000_000.0),
    ]


async def test_a_batch_mixes_all_kinds_in_one_round_trip(database: Database) -> None:
    collection = await on_axes(database)
    queries = [
        PointQuery(InOrderOfIds("b"), limit=2),
        PointQuery(Nearest(AXES[3]), limit=1),
        PointQuery(OrderBy(("n",), descending=True), limit=1),
        PointQuery(Words("cheese")),
        PointQuery(Nearest(AXES[3]), limit=0),
    ]
    results = await a_querier(database).query(collection, queries)
    assert list(map(ids, results)) == [["b", "c"], ["d"], ["c"], ["c"], []]
    assert await a_querier(database).query(collection, []) == []


async def test_unknown_examples_and_spaces_are_told(database: Database) -> None:
    collection = await on_axes(database)
    with pytest.raises(NotFound, match="no such item: nobody"):
        await ask(database, collection, Recommend((VectorOf("a"), VectorOf("nobody"))))
    with pytest.raises(NotFound, match="no such space: other"):
        await ask(database, collection, PointQuery(Nearest(AXES[0]), space="other"))
    await CollectionStore(database).delete("default", collection.id)
    await CollectionStore(database).drop_leftovers()
    with pytest.raises(NotFound, match="no such collection"):
        await ask(database, collection, Nearest(AXES[0]))


def nested(depth: int) -> PointQuery:
    inner = PointQuery(Nearest(AXES[0]))
    return inner if depth == 1 else PointQuery(Nearest(AXES[0]), prefetch=(nested(depth - 1),))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (PointQuery(Nearest(AXES[0]), limit=-1), "are not negative"),
        (PointQuery(Nearest(AXES[0]), limit=9_000, offset=1_001), "at most 10000 together"),
        (nested(5), "nested at most 4 deep"),
        (PointQuery(Nearest(AXES[0]), prefetch=(nested(1),) * 33), "at most 32 prefetches"),
        (PointQuery(Fusion()), "needs something prefetched"),
        (PointQuery(Fusion(k=0.5), prefetch=(nested(1),)), "k is at least 1"),
        (PointQuery(Fusion(weights=(1, 2)), prefetch=(nested(1),)), "as many as prefetches"),
        (PointQuery(Fusion(weights=(-1,)), prefetch=(nested(1),)), "a number from 0 on"),
        (PointQuery(Nearest(AXES[0], Diversity(1.5))), "between 0 and 1"),
        (PointQuery(Nearest(AXES[0], Diversity(0.5, 1_001))), "at most 1000 candidates"),
        (PointQuery(Recommend()), "needs a positive example"),
        (PointQuery(Recommend(negative=(AXES[0],))), "needs a positive example"),
        (PointQuery(Context(())), "at least one pair"),
        (PointQuery(Nearest(AXES[0][:3])), "a vector of 4 numbers is needed"),
        (
            PointQuery(Recommend(tuple(VectorOf(str(n)) for n in range(1_001)))),
            "at most 1000 examples",
        ),
    ],
)
async def test_what_goes_beyond_the_bounds_is_refused(
    database: Database, query: PointQuery, message: str
) -> None:
    collection = await on_axes(database)
    with pytest.raises(InvalidInput, match=message):
        await ask(database, collection, query)


async def test_a_batch_has_bounds(database: Database) -> None:
    collection = await on_axes(database)
    queries = [PointQuery(Nearest(AXES[0]))] * 101
    with pytest.raises(InvalidInput, match="at most 100 queries"):
        await a_querier(database).query(collection, queries)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (GroupQuery(nested(1), ("n",), limit=1_001), "1 to 1000 groups"),
        (GroupQuery(nested(1), ("n",), size=0), "1 to 1000 items"),
        (GroupQuery(nested(1), ("n",), limit=500, size=500), "10000 items together"),
    ],
)
async def test_groups_have_bounds(database: Database, query: GroupQuery, message: str) -> None:
    collection = await on_axes(database)
    with pytest.raises(InvalidInput, match=message):
        await a_gatherer(database).group(collection, query)


async def test_matrices_and_facets_have_bounds(database: Database) -> None:
    collection = await on_axes(database)
    gatherer = a_gatherer(database)
    for query in (MatrixQuery(sample=1), MatrixQuery(sample=1_001), MatrixQuery(limit=0)):
        with pytest.raises(InvalidInput, match="2 to 1000 items"):
            await gatherer.matrix(collection, query)
    with pytest.raises(InvalidInput, match="1 to 10000 values"):
        await gatherer.facet(collection, ("n",), Scope(), 0)


async def test_values_of_different_types_are_different_groups(database: Database) -> None:
    collection = await a_collection(database, raw(Metric.DOT, 2))
    values = [1, "1", True, 1.0, 1.5, None, {"a": 1}, [], [[1]], ["1", 1, 1]]
    names = [str(place) for place in range(len(values))]
    await put(
        database,
        collection,
        {name: [1.0, -float(name)] for name in names},
        {name: {"v": value} for name, value in zip(names, values, strict=True)},
    )
    collection = await reloaded(database, collection)
    gatherer = a_gatherer(database)
    near = PointQuery(Nearest(np.ones(2, dtype=np.float32)))
    expected = [(int, 1, ["0", "9"]), (str, "1", ["1", "9"]), (bool, True, ["2"])]
    through_list = PointQuery(Fusion(), prefetch=(near,))
    for query in (near, through_list):
        groups = await gatherer.group(collection, GroupQuery(query, ("v",), 10, 10))
        found = [(type(group.value), group.value, ids(list(group.hits))) for group in groups]
        assert found == expected
    counts = await gatherer.facet(collection, ("v",), Scope())
    assert {(type(c.value), c.value, c.count) for c in counts} == {
        (int, 1, 2),
        (str, "1", 2),
        (bool, True, 1),
    }


async def test_an_estimate_follows_the_statistics(database: Database) -> None:
    collection = await a_collection(database)
    vectors = random_vectors(1_000)
    await put(database, collection, {str(n): vectors[n] for n in range(1_000)})
    collection = await reloaded(database, collection)
    await database.pool.execute(f"ANALYZE items_c{collection.key}")
    store = FacetStore(database)
    assert await store.estimate(collection, Scope()) == 1_000
    assert await store.estimate(collection, Scope(exclude_ids=("1",))) <= 1_000


@pytest.mark.parametrize("metric", [Metric.COSINE, Metric.DOT, Metric.EUCLIDEAN])
async def test_an_index_answers_the_same_as_all_the_scores(
    database: Database, metric: Metric
) -> None:
    settings = SearchSettings(exact_rows=10)
    spec = SpaceSpec(None, 8, metric, VectorPrecision.FLOAT32)
    collection = await a_collection(database, spec)
    vectors = random_vectors(600)
    await put(
        database,
        collection,
        {f"{n:03}": vectors[n] for n in range(600)},
        {f"{n:03}": {"group": n % 5} for n in range(600)},
    )
    assert await IndexStore(database).build(await reloaded(database, collection))
    collection = await reloaded(database, collection)
    querier = a_querier(database, settings)
    near = Nearest(random_vectors(1, seed=5)[0])
    queries = [
        PointQuery(near, limit=20),
        PointQuery(near, limit=10, offset=5, filter=Equals(("group",), 3)),
        PointQuery(InOrderOfIds("300"), limit=3),
        PointQuery(Nearest(VectorOf("007"))),
        PointQuery(near, filter=Equals(("group",), 77)),
        PointQuery(
            Recommend((VectorOf("001"), VectorOf("002")), (VectorOf("003"),), Strategy.SUM_SCORES),
            threshold=None if metric is Metric.EUCLIDEAN else 0.5,
        ),
        PointQuery(near, threshold=0.3 if metric is not Metric.EUCLIDEAN else -2.5),
    ]
    by_index = await querier.query(collection, queries)
    exactly = await querier.query(collection, [replace(query, exact=True) for query in queries])
    assert [len(found) for found in by_index[:5]] == [20, 10, 3, 10, 0]
    for found, wanted in zip(by_index, exactly, strict=True):
        assert ids(found) == ids(wanted)
        np.testing.assert_allclose(
            [hit.score for hit in found], [hit.score for hit in wanted], rtol=1e-4
        )
    groups = GroupQuery(PointQuery(near), ("group",), 5, 6)
    gatherer = a_gatherer(database, settings)
    [few, all_of_them] = [
        await gatherer.group(collection, replace(groups, query=replace(groups.query, exact=exact)))
        for exact in (False, True)
    ]
    assert [(group.value, ids(list(group.hits))) for group in few] == [
        (group.value, ids(list(group.hits))) for group in all_of_them
    ]


async def test_the_words_of_many_texts_get_an_index(database: Database) -> None:
    collection = await a_collection(database, raw(dimensions=1))
    names = [f"{n:04}" for n in range(5_000)]
    ones = dict.fromkeys(names, np.ones(1, dtype=np.float32))
    texts = {name: f"words of {name} {'rare' if name == '0077' else 'common'}" for name in names}
    await put(database, collection, ones, texts=texts)
    collection = await reloaded(database, collection)
    querier = a_querier(database)
    query = PointQuery(Words("0123 rare"))
    [before] = await querier.query(collection, [query])
    for language in (Language.SIMPLE, Language.ENGLISH):
        task = querier._words.consider(collection, language)
        assert task is not None
        await task
        assert querier._words.consider(collection, language) is task
    await database.pool.execute(f"ANALYZE items_c{collection.key}")
    [after] = await querier.query(collection, [query])
    assert ids(after) == ids(before) == ["0077", "0123"]
    parameters = Parameters()
    statement = words_query(collection, ByText("rare", TextFields()), [], parameters)
    plan = await database.pool.fetch(f"EXPLAIN {statement}", *parameters.values)
    assert any(f"items_c{collection.key}_w0" in line[0] for line in plan)
    await querier._words.close()


async def test_few_texts_get_no_index_and_a_deleted_collection_none(database: Database) -> None:
    collection = await on_axes(database)
    words = WordIndexer(WordIndexStore(database))
    assert words.consider(collection, Language.SIMPLE) is None
    store = CollectionStore(database)
    await store.delete("default", collection.id)
    await store.drop_leftovers()
    task = words.consider(replace(collection, item_count=10_000), Language.SIMPLE)
    assert task is not None
    await task
    await words.close()


@pytest.mark.parametrize(
    "key", ["plain", "Größe 👋", 'quo"ted', "back\\slash", "$", "a'b", "*", "1"]
)
async def test_any_key_leads_to_its_value(database: Database, key: str) -> None:
    collection = await a_collection(database, raw(Metric.DOT, 1))
    one = np.ones(1, dtype=np.float32)
    payload = {key: {key: ["red", 7]}, "other": {key: "blue"}}
    await put(database, collection, {"a": one}, {"a": payload})
    path = (key, key)
    gatherer = a_gatherer(database)
    counts = await gatherer.facet(collection, path, Scope())
    assert {count.value for count in counts} == {"red", 7}
    groups = await gatherer.group(collection, GroupQuery(PointQuery(Nearest(one)), path))
    assert {group.value for group in groups} == {"red", 7}
    [ordered] = await a_querier(database).query(collection, [PointQuery(OrderBy(path))])
    assert [hit.order_value for hit in ordered] == [7.0]
    assert await ask(database, collection, Words("red", TextFields((path,)))) == ["a"]
