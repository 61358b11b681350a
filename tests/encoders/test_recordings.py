"""Windows pooled to segments: which belong together, where they lie, what their means are."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.domain.segments import MOST_SEGMENTS, Segment
from app.encoders.cards import AudioTower
from app.encoders.recordings import Recording, windows_each

if TYPE_CHECKING:
    from numpy.typing import NDArray

RATE = 100
TOWER = AudioTower(sample_rate=RATE, window_seconds=0.96, hop_seconds=0.48, tokens_per_window=1)


def recording(seconds: float) -> Recording:
    return Recording(np.zeros(round(seconds * RATE), np.float32), TOWER, 16)


def heard(seconds: float, vectors: NDArray[np.float32], batch: int = 7) -> Recording:
    made = recording(seconds)
    for start in range(0, len(vectors), batch):
        made.add(vectors[start : start + batch])
    return made


def windows(seconds: float) -> NDArray[np.float32]:
    count = TOWER.windows(round(seconds * RATE))
    return np.random.default_rng(1).standard_normal((count, 3)).astype(np.float32)


@pytest.mark.parametrize("seconds", [0.0, 0.3, 0.96, 2.4, 3.3])
def test_a_short_recording_is_one_segment_and_has_no_vector_beside_its_own(seconds: float) -> None:
    vectors = windows(seconds)
    made = heard(seconds, vectors)
    means, count = made.pooled()
    assert count == len(vectors)
    np.testing.assert_allclose(means, [vectors.mean(axis=0)], rtol=1e-5)
    assert made.spans() == (Segment(0.0, seconds),)


@pytest.mark.parametrize("batch", [1, 3, 5, 7, 16, 1000])
def test_each_segment_is_the_mean_of_its_windows(batch: int) -> None:
    vectors = windows(12.0)
    assert len(vectors) == 24
    made = heard(12.0, vectors, batch)
    means, _ = made.pooled()
    parts = [vectors[0:5], vectors[5:10], vectors[10:15], vectors[15:20], vectors[20:24]]
    expected = [vectors.mean(axis=0), *(part.mean(axis=0) for part in parts)]
    np.testing.assert_allclose(means, expected, rtol=1e-4)
    spans = made.spans()
    assert [span.start for span in spans] == pytest.approx([0, 2.4, 4.8, 7.2, 9.6])
    assert [span.end for span in spans] == pytest.approx([2.88, 5.28, 7.68, 10.08, 12.0])


def test_less_than_half_a_segment_at_the_end_goes_with_the_last() -> None:
    vectors = windows(10.5)
    assert len(vectors) == 21
    made = heard(10.5, vectors)
    means, _ = made.pooled()
    assert len(made.spans()) == len(means) - 1 == 4
    assert made.spans()[-1].end == 10.5
    np.testing.assert_allclose(means[-1], vectors[15:].mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("seconds", [60.0, 307.0, 308.0, 600.0, 3_600.0])
def test_segments_grow_so_that_there_are_never_too_many(seconds: float) -> None:
    vectors = windows(seconds)
    made = heard(seconds, vectors, batch=16)
    means, count = made.pooled()
    spans = made.spans()
    assert count == len(vectors)
    assert len(means) - 1 == len(spans) <= MOST_SEGMENTS
    assert spans[0].start == 0
    assert spans[-1].end == seconds
    assert all(one.start < two.start <= one.end for one, two in pairwise(spans))


def test_ten_minutes_have_segments_of_five_seconds() -> None:
    assert windows_each(TOWER.windows(600 * RATE), TOWER) == 10
    assert len(heard(600, windows(600), 16).spans()) == 125


def test_a_tower_of_long_windows_has_a_segment_for_each() -> None:
    tower = AudioTower(sample_rate=RATE, window_seconds=10, hop_seconds=5, tokens_per_window=1)
    assert windows_each(3, tower) == 1
