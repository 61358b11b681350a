"""The use cases, end to end below HTTP."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.domain.collections import IndexState
from app.domain.filters import Equals
from app.domain.modality import Modality
from app.domain.requests import (
    Example,
    IndexItem,
    InlineInput,
    OnError,
    SearchQuery,
    TextInput,
)
from app.domain.search import Strategy
from app.errors import InvalidInput, ItemsRejected, NotFound
from app.media.local import LocalStore
from tests.engine.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.collections import Collection
    from app.domain.requests import IndexOutcome, SearchOutcome
    from app.engine.engine import Engine
    from app.settings import Settings

TOUR = Path(__file__).parents[2] / "docs" / "tour"


def photo(name: str) -> IndexItem:
    data = (TOUR / f"{name}.jpg").read_bytes()
    return IndexItem(InlineInput(Modality.IMAGE, data, "image_base64"), json.dumps({"is": name}))


def sound(name: str) -> IndexItem:
    data = (TOUR / f"{name}.wav").read_bytes()
    return IndexItem(InlineInput(Modality.AUDIO, data, "audio_base64"), json.dumps({"is": name}))


def text(words: str, **metadata: object) -> IndexItem:
    return IndexItem(TextInput(words), json.dumps(metadata))


BROKEN = IndexItem(InlineInput(Modality.IMAGE, b"no image at all", "image_base64"))


async def index(
    engine: Engine,
    collection: Collection,
    items: Sequence[IndexItem],
    on_error: OnError = OnError.FAIL,
) -> IndexOutcome:
    return await engine.index(PROJECT, collection.id, items, on_error)


async def search(engine: Engine, collection: Collection, query: SearchQuery) -> SearchOutcome:
    return await engine.search(PROJECT, collection.id, query)


def found(outcome: SearchOutcome) -> list[str]:
    return [json.loads(hit.item.metadata)["is"] for hit in outcome.hits]


def stored_media(settings: Settings) -> set[Path]:
    return {path for path in (settings.data_dir / "media").rglob("*") if path.is_file()}


async def settled(settings: Settings, expected: set[Path]) -> None:
    async with asyncio.timeout(20):
        while stored_media(settings) != expected:  # noqa: ASYNC110 - a directory wakes nobody
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("query", "first"),
    [("a kitten", "cat"), ("espresso in a mug", "coffee"), ("a spaceship taking off", "rocket")],
)
async def test_texts_find_photos(
    engine: Engine, collection: Collection, query: str, first: str
) -> None:
    await index(engine, collection, [photo("cat"), photo("coffee"), photo("rocket")])
    outcome = await search(engine, collection, SearchQuery(TextInput(query)))
    assert found(outcome)[0] == first
    assert [hit.score for hit in outcome.hits] == sorted(
        (hit.score for hit in outcome.hits), reverse=True
    )


async def test_texts_find_sounds_and_sounds_find_texts(
    engine: Engine, collection: Collection
) -> None:
    bell, siren = sound("bell"), sound("siren")
    words = [text("a bell ringing", **{"is": "words"}), text("a recipe", **{"is": "recipe"})]
    await index(engine, collection, [bell, siren, *words])
    sounds = frozenset({Modality.AUDIO})
    outcome = await search(
        engine, collection, SearchQuery(TextInput("church bell"), modalities=sounds)
    )
    assert found(outcome)[0] == "bell"
    texts = frozenset({Modality.TEXT})
    outcome = await search(engine, collection, SearchQuery(bell.input, modalities=texts))
    assert found(outcome)[0] == "words"


async def test_the_same_content_scores_above_0_99_whatever_its_kind(
    engine: Engine, collection: Collection
) -> None:
    items = [photo("coffee"), sound("siren"), text("two red apples", **{"is": "apples"})]
    await index(engine, collection, items)
    for item in items:
        outcome = await search(engine, collection, SearchQuery(item.input, top_k=1))
        assert found(outcome) == [json.loads(item.metadata)["is"]]
        assert outcome.hits[0].score > 0.99
        assert outcome.hits[0].similarity == pytest.approx(1.0, abs=2e-3)


async def test_a_threshold_keeps_just_the_hits_at_or_above_it(
    engine: Engine, collection: Collection
) -> None:
    await index(engine, collection, [photo("cat"), photo("coffee"), photo("rocket")])
    everything = await search(engine, collection, SearchQuery(TextInput("a cat")))
    middle = everything.hits[1].score
    above = await search(engine, collection, SearchQuery(TextInput("a cat"), threshold=middle))
    assert [hit.item.id for hit in above.hits] == [hit.item.id for hit in everything.hits[:2]]


async def test_an_example_finds_its_like_and_not_itself(
    engine: Engine, collection: Collection
) -> None:
    items = [
        text("a dog barks", **{"is": "dog"}),
        text("a puppy is barking", **{"is": "puppy"}),
        text("quarterly tax report", **{"is": "tax"}),
    ]
    outcome = await index(engine, collection, items)
    dog = outcome.items[0]
    assert dog is not None
    result = await search(engine, collection, SearchQuery(example=Example((dog.id,))))
    assert found(result) == ["puppy", "tax"]
    steered = await search(
        engine, collection, SearchQuery(TextInput("animals"), example=Example((), (dog.id,)))
    )
    assert "dog" not in found(steered)


async def test_an_example_that_is_not_stored_is_named(
    engine: Engine, collection: Collection
) -> None:
    await index(engine, collection, [text("something")])
    with pytest.raises(InvalidInput) as caught:
        await search(engine, collection, SearchQuery(example=Example((), ("item_gone",))))
    assert caught.value.violations[0].path == ("example", "negative", 0)


async def test_a_failing_item_fails_the_batch_and_leaves_nothing(
    engine: Engine, engine_settings: Settings, collection: Collection
) -> None:
    before = stored_media(engine_settings)
    with pytest.raises(ItemsRejected) as caught:
        await index(engine, collection, [photo("cat"), BROKEN, text("fine"), BROKEN])
    assert [failure.index for failure in caught.value.failures] == [1, 3]
    assert {failure.code for failure in caught.value.failures} == {"unsupported_media"}
    page = await engine.list_items(PROJECT, collection.id, limit=10, offset=0)
    assert page.total == 0
    await settled(engine_settings, before)


async def test_skipping_stores_the_others(engine: Engine, collection: Collection) -> None:
    outcome = await index(engine, collection, [photo("cat"), BROKEN], OnError.SKIP)
    kept, skipped = outcome.items
    assert kept is not None
    assert skipped is None
    assert [(failure.index, failure.path) for failure in outcome.failures] == [
        (1, ("image_base64",))
    ]
    assert (await engine.get_collection(PROJECT, collection.id)).item_count == 1
    assert (await engine.get_item(PROJECT, collection.id, kept.id)).modality is Modality.IMAGE


async def test_replacing_and_deleting_items_deletes_their_media(
    engine: Engine, engine_settings: Settings, collection: Collection
) -> None:
    before = stored_media(engine_settings)
    cat = IndexItem(photo("cat").input, id="mine")
    await index(engine, collection, [cat])
    first = stored_media(engine_settings) - before
    await index(engine, collection, [IndexItem(photo("rocket").input, id="mine")])
    second = stored_media(engine_settings) - before - first
    assert len(first) == len(second) == 1
    await settled(engine_settings, before | second)
    assert await engine.delete_items(PROJECT, collection.id, ["mine", "nothing"]) == 1
    await settled(engine_settings, before)


async def test_deleting_a_collection_deletes_its_media(
    engine: Engine, engine_settings: Settings, collection: Collection
) -> None:
    before = stored_media(engine_settings)
    await index(engine, collection, [photo("cat"), sound("bell")])
    assert len(stored_media(engine_settings)) == len(before) + 2
    await engine.delete_collection(PROJECT, collection.id)
    with pytest.raises(NotFound):
        await engine.get_collection(PROJECT, collection.id)
    await settled(engine_settings, before)


async def test_links_follow_the_items(engine: Engine, collection: Collection) -> None:
    await index(engine, collection, [text("no media"), photo("cat"), sound("bell")])
    page = await engine.list_items(PROJECT, collection.id, limit=10, offset=0)
    nothing, image, audio = engine.links(page.entries, "https://example.com")
    assert nothing is None
    assert image is not None
    assert image.startswith("https://example.com/media/")
    assert audio is not None
    assert isinstance(engine.media, LocalStore)
    stored = page.entries[1].media
    assert stored is not None
    assert await engine.media.get(stored.key) == (TOUR / "cat.jpg").read_bytes()


async def test_a_large_collection_gets_an_index_and_still_finds_k(
    engine: Engine, collection: Collection
) -> None:
    things = ["apple", "river", "engine", "violin", "castle", "spoon", "comet", "poem"]
    items = [
        text(f"{thing} number {number}", rare=number % 50 == 0)
        for number in range(25)
        for thing in things
    ]
    for start in range(0, len(items), 100):
        await index(engine, collection, items[start : start + 100])
    async with asyncio.timeout(60):
        while True:
            current = await engine.get_collection(PROJECT, collection.id)
            if current.space.index_state is IndexState.READY:
                break
            await asyncio.sleep(0.05)
    query = SearchQuery(TextInput("a violin"), top_k=10)
    approximate = await search(engine, collection, query)
    assert approximate.report.strategy is Strategy.HNSW
    assert len(approximate.hits) == 10
    assert all("violin" in (hit.item.text or "") for hit in approximate.hits)
    rare = SearchQuery(TextInput("a violin"), top_k=8, filter=Equals(("rare",), value=True))
    assert len((await search(engine, collection, rare)).hits) == 8


async def test_readiness_names_nothing_when_all_is_well(engine: Engine) -> None:
    assert await engine.readiness() == {"database": None, "store": None, "model": None}
