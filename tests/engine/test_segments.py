"""Recordings found by one of their parts: merged with what their own vectors find."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.domain.filters import Equals
from app.domain.modality import Modality
from app.domain.search import Branch
from app.domain.segments import Segment, Segments
from app.engine.nearest import NearestSearcher
from app.engine.planner import Wish
from app.engine.segments import DISCOUNT, SegmentSearcher
from app.settings import SearchSettings
from app.store.items import ItemStore
from app.store.search import SearchStore
from app.store.segments import SegmentStore
from tests.store.factories import MODEL, a_collection, an_item, reloaded, unit_vectors

if TYPE_CHECKING:
    from app.domain.collections import Collection
    from app.store.database import Database

QUERY = unit_vectors(1, seed=99)[0]
SLOPES = {Modality.TEXT: (8.0, -2.0), Modality.IMAGE: (14.0, -3.0), Modality.AUDIO: (17.0, -2.5)}
BRANCHES = tuple(Branch(kind, *SLOPES[kind]) for kind in sorted(Modality))
WISH = Wish(QUERY, BRANCHES, limit=100)


def searcher(database: Database, settings: SearchSettings | None = None) -> SegmentSearcher:
    settings = settings or SearchSettings()
    nearest = NearestSearcher(settings, SearchStore(database))
    return SegmentSearcher(settings, nearest, SegmentStore(database))


async def a_mixed_collection(database: Database) -> tuple[Collection, dict[str, float]]:
    """Ten items of each kind; and the logit of the score that each should be found at."""
    collection = await a_collection(database, MODEL)
    items, logits = [], {}
    for kind in Modality:
        slope, intercept = SLOPES[kind]
        for n in range(10):
            item = an_item(f"{kind} {n}", modality=kind, metadata=f'{{"third": {n % 3}}}')
            similarity = float(item.vector @ QUERY)
            if kind is Modality.AUDIO and n:
                vectors = unit_vectors(2 * n, seed=n)
                spans = tuple(Segment(place, place + 1) for place in range(len(vectors)))
                item = replace(item, segments=Segments(spans, vectors))
                best = float((vectors @ QUERY).max()) - DISCOUNT / slope * math.log(len(vectors))
                similarity = max(similarity, best)
            items.append(item)
            logits[item.id] = slope * similarity + intercept
    await ItemStore(database).put(collection, items)
    return await reloaded(database, collection), logits


def ranked(logits: dict[str, float]) -> list[str]:
    return sorted(logits, key=lambda name: -logits[name])


async def test_the_better_of_the_whole_and_the_best_part_counts(database: Database) -> None:
    collection, logits = await a_mixed_collection(database)
    found = await searcher(database).find(collection, WISH)
    assert [hit.item.id for hit in found.hits] == ranked(logits)
    for hit in found.hits:
        assert hit.item.modality is not None
        slope, intercept = SLOPES[hit.item.modality]
        expected = (logits[hit.item.id] - intercept) / slope
        assert hit.similarity == pytest.approx(expected, abs=2e-3)


async def test_pages_thresholds_filters_and_exclusions_hold_for_parts_as_well(
    database: Database,
) -> None:
    collection, logits = await a_mixed_collection(database)
    segments, order = searcher(database), ranked(logits)
    pages = []
    for offset in range(0, 35, 7):
        found = await segments.find(collection, replace(WISH, offset=offset, limit=7))
        pages += [hit.item.id for hit in found.hits]
    assert pages == order
    least = (logits[order[11]] + logits[order[12]]) / 2
    found = await segments.find(collection, replace(WISH, least_rank=least))
    assert [hit.item.id for hit in found.hits] == order[:12]
    wish = replace(WISH, filter=Equals(("third",), 1), exclude_ids=(order[0], order[1]))
    found = await segments.find(collection, wish)
    third = [name for name in order[2:] if int(name.split()[1]) % 3 == 1]
    assert [hit.item.id for hit in found.hits] == third
    found = await segments.find(collection, replace(WISH, with_vectors=True, limit=30))
    for hit in found.hits:
        np.testing.assert_allclose(hit.vector, an_item(hit.item.id).vector, atol=1e-3)


async def test_only_a_search_for_recordings_looks_at_their_parts(database: Database) -> None:
    collection, _ = await a_mixed_collection(database)
    images = replace(WISH, branches=(Branch(Modality.IMAGE),))
    off = replace(SearchSettings(), segment_rows=0)
    for settings, wish in ((SearchSettings(), images), (off, WISH)):
        found = await searcher(database, settings).find(collection, wish)
        plain = await NearestSearcher(settings, SearchStore(database)).find(collection, wish)
        assert [hit.item.id for hit in found.hits] == [hit.item.id for hit in plain.hits]


async def test_hits_are_located_by_the_part_most_like_the_query(database: Database) -> None:
    collection, _ = await a_mixed_collection(database)
    segments = searcher(database)
    found = await segments.find(collection, WISH)
    located = await segments.locate(collection, QUERY, found.hits)
    assert set(located) == {f"audio {n}" for n in range(1, 10)}
    for n in range(1, 10):
        assert located[f"audio {n}"].start == (unit_vectors(2 * n, seed=n) @ QUERY).argmax()
    text = [hit for hit in found.hits if hit.item.modality is Modality.TEXT]
    assert await segments.locate(collection, QUERY, text) == {}
