"""Spaces beside a collection's own: made, written, forgotten with their items, dropped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.domain.collections import Metric, SpaceKind, SpaceSpec, VectorPrecision
from app.domain.vectors import SparseVector
from app.errors import InvalidInput, NameTaken, NotFound
from app.store.collections import CollectionStore
from app.store.items import ItemStore
from app.store.spaces import SpaceStore
from app.store.vectors import VectorStore
from tests.engine.factories import a_collection, put, random_vectors, raw, reloaded

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.store.database import Database

DENSE = SpaceSpec(None, 3, Metric.DOT, VectorPrecision.FLOAT16)
MULTI = SpaceSpec(None, 3, Metric.COSINE, VectorPrecision.FLOAT32, SpaceKind.MULTI)
SPARSE = SpaceSpec(None, 0, Metric.DOT, VectorPrecision.FLOAT32, SpaceKind.SPARSE)
ONE = np.array([1, 2, 3], dtype=np.float32)
WORDS = SparseVector((3, 999_999_999), (0.5, -2.0))


@pytest.fixture
def vectors(database: Database) -> VectorStore:
    return VectorStore(database)


async def with_spaces(database: Database) -> Collection:
    collection = await a_collection(database)
    for name, spec in (("dense", DENSE), ("pages", MULTI), ("words", SPARSE)):
        await SpaceStore(database).create(collection, name, spec)
    await put(database, collection, dict(zip("abc", random_vectors(3), strict=True)))
    return await reloaded(database, collection)


async def test_a_collection_knows_its_spaces(database: Database) -> None:
    collection = await with_spaces(database)
    assert [space.name for space in collection.spaces] == ["", "dense", "pages", "words"]
    assert collection.space_named("dense").spec == DENSE
    assert collection.space_named("pages").spec == MULTI
    assert collection.space_named("words").spec.kind is SpaceKind.SPARSE
    with pytest.raises(NotFound, match="no such space: other"):
        collection.space_named("other")


async def test_a_name_is_taken_once(database: Database) -> None:
    collection = await with_spaces(database)
    with pytest.raises(NameTaken):
        await SpaceStore(database).create(collection, "dense", DENSE)
    with pytest.raises(NameTaken):
        await SpaceStore(database).create(collection, "", DENSE)


async def test_a_collections_own_space_can_have_a_name(database: Database) -> None:
    created = await CollectionStore(database).create("default", "named", None, raw(), "text")
    assert (await reloaded(database, created)).space_named("text") == created.space


async def test_what_is_put_comes_back(database: Database, vectors: VectorStore) -> None:
    collection = await with_spaces(database)
    pages = np.stack([ONE, -ONE, 2 * ONE])
    known = await vectors.put(
        collection,
        {"dense": {"a": ONE, "nobody": ONE}, "pages": {"a": pages}, "words": {"b": WORDS}},
    )
    assert known == {"a", "b"}
    dense = await vectors.get(collection, collection.space_named("dense"), ["a", "b", "nobody"])
    assert list(dense) == ["a"]
    np.testing.assert_array_equal(dense["a"], ONE)
    found = await vectors.get(collection, collection.space_named("pages"), ["a"])
    np.testing.assert_array_equal(found["a"], pages)
    assert await vectors.get(collection, collection.space_named("words"), ["a", "b"]) == {
        "b": WORDS
    }


async def test_putting_again_replaces_a_multi_vector_whole(
    database: Database, vectors: VectorStore
) -> None:
    collection = await with_spaces(database)
    space = collection.space_named("pages")
    for pages in (np.stack([ONE] * 4), np.stack([2 * ONE]), np.stack([ONE, 3 * ONE])):
        await vectors.put(collection, {"pages": {"a": pages}})
        found = await vectors.get(collection, space, ["a"])
        np.testing.assert_array_equal(found["a"], pages)


async def test_an_items_vectors_go_with_it(database: Database, vectors: VectorStore) -> None:
    collection = await with_spaces(database)
    everywhere = {name: {"a": ONE, "b": ONE} for name in ("dense", "pages")}
    await vectors.put(collection, {**everywhere, "words": {"a": WORDS, "b": WORDS}})
    assert await ItemStore(database).delete(collection, ["a"]) == 1
    for space in collection.spaces[1:]:
        rows = await database.pool.fetch(f"SELECT item_seq FROM vectors_s{space.key}")
        assert len(rows) == 1


async def test_vectors_are_removed_and_the_item_stays(
    database: Database, vectors: VectorStore
) -> None:
    collection = await with_spaces(database)
    await vectors.put(collection, {"dense": {"a": ONE, "b": ONE}})
    await vectors.remove(collection, ["dense"], ["a"])
    assert set(await vectors.get(collection, collection.space_named("dense"), ["a", "b"])) == {"b"}
    assert len(await ItemStore(database).get(collection, ["a"])) == 1


async def test_a_dropped_space_is_gone_and_items_can_be_deleted(
    database: Database, vectors: VectorStore
) -> None:
    collection = await with_spaces(database)
    await vectors.put(collection, {"dense": {"a": ONE}})
    await SpaceStore(database).drop(collection, "dense")
    assert await ItemStore(database).delete(collection, ["a"]) == 1
    collection = await reloaded(database, collection)
    assert [space.name for space in collection.spaces] == ["", "pages", "words"]
    with pytest.raises(NotFound):
        await SpaceStore(database).drop(collection, "dense")
    with pytest.raises(NotFound):  # its own stays
        await SpaceStore(database).drop(collection, "")


async def test_all_tables_go_with_the_collection(database: Database) -> None:
    collection = await with_spaces(database)
    store = CollectionStore(database)
    await store.delete("default", collection.id)
    assert await store.drop_leftovers() == 1
    for space in collection.spaces:
        assert await database.pool.fetchval(f"SELECT to_regclass('vectors_s{space.key}')") is None


@pytest.mark.parametrize(
    ("space", "vector", "message"),
    [
        ("dense", ONE[:2], "a vector of 3 numbers is needed"),
        ("dense", np.stack([ONE, ONE]), "one vector is needed, not several"),
        ("dense", WORDS, "a dense vector is needed, not a sparse one"),
        ("dense", ONE * 1e9, "not finite or too large"),
        ("pages", np.zeros((0, 3), dtype=np.float32), "a vector of 3 numbers is needed"),
        ("pages", np.ones((1025, 3), dtype=np.float32), "at most 1024 vectors"),
        ("words", ONE, "a sparse vector is needed"),
        ("words", SparseVector((1_000_000_000,), (1.0,)), "are below 1000000000"),
        ("words", SparseVector((1, 1), (1.0, 2.0)), "indices differ"),
        ("words", SparseVector((1,), (float("nan"),)), "not finite"),
    ],
)
async def test_vectors_that_do_not_fit_are_refused(
    database: Database, vectors: VectorStore, space: str, vector: object, message: str
) -> None:
    collection = await with_spaces(database)
    with pytest.raises(InvalidInput, match=message):
        await vectors.put(collection, {"words": {"b": WORDS}, space: {"a": vector}})
    found = await vectors.get(collection, collection.space_named("words"), ["b"])
    assert found == {}  # all or none


async def test_unknown_spaces_are_told(database: Database, vectors: VectorStore) -> None:
    collection = await with_spaces(database)
    with pytest.raises(NotFound, match="no such space: other"):
        await vectors.put(collection, {"other": {"a": ONE}})
    with pytest.raises(NotFound, match="no such space: other"):
        await vectors.remove(replace(collection), ["other"], ["a"])
