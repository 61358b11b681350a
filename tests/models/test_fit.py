"""The curves that turn cosines into scores, and how far they are off."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recipe.evaluation.measures import recall, spearman
from models.recipe.fit import (
    TEXT_MEAN_LEFT,
    balanced_mean,
    calibrate,
    expected_calibration_error,
    gap_means,
    pairs,
    platt,
)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def test_platt_recovers_a_known_curve() -> None:
    source = np.random.default_rng(1)
    cosines = source.uniform(-1, 1, 200_000)
    matches = source.random(len(cosines)) < sigmoid(8 * cosines)
    slope, intercept = platt(cosines, matches)
    assert slope == pytest.approx(8, rel=0.07)
    assert intercept == pytest.approx(0, abs=0.15)


def test_platt_weighs_matches_and_others_alike() -> None:
    source = np.random.default_rng(2)
    near, far = source.normal(0.6, 0.15, 500), source.normal(0.1, 0.15, 50_000)
    cosines = np.concatenate([near, far])
    slope, intercept = platt(cosines, np.arange(len(cosines)) < len(near))
    assert -intercept / slope == pytest.approx(0.35, abs=0.03)


@settings(deadline=None, max_examples=30)
@given(
    st.floats(-0.2, 0.95), st.floats(-0.5, 0.5), st.floats(0.001, 0.4), st.integers(0, 2**32 - 1)
)
def test_same_content_scores_above_099_whatever_was_measured(
    match: float, other: float, spread: float, seed: int
) -> None:
    source = np.random.default_rng(seed)
    near, far = source.normal(match, spread, 60), source.normal(other, spread, 3000)
    cosines = np.clip(np.concatenate([near, far]), -1, 1)
    slope, intercept = platt(cosines, np.arange(len(cosines)) < len(near))
    assert slope > 0
    assert sigmoid(np.array(slope + intercept)) > 0.99


def test_curve_does_not_run_away_where_pairs_separate() -> None:
    cosines = np.concatenate([np.ones(20), np.zeros(5000)])
    slope, _ = platt(cosines, cosines > 0.5)
    assert 0 < slope < 100


def test_right_scores_have_no_calibration_error() -> None:
    scores, matches = np.array([1.0, 1.0, 0.0, 0.0]), np.array([True, True, False, False])
    assert expected_calibration_error(scores, matches) == pytest.approx(0)
    assert expected_calibration_error(1 - scores, matches) == pytest.approx(1)


def test_calibration_error_weighs_matches_and_others_alike() -> None:
    # One match and three others, all scored 0.8: weighed alike, half of them match.
    matches = np.array([True, False, False, False])
    assert expected_calibration_error(np.full(4, 0.8), matches) == pytest.approx(0.3)
    # Two bins that hold half of the weight each, off by 0.1 and 0.25.
    scores = np.array([0.9, 0.9, 0.25, 0.25])
    matches = np.array([True, True, False, False])
    assert expected_calibration_error(scores, matches) == pytest.approx((0.1 + 0.25) / 2)


def test_pairs_leave_out_an_example_with_itself() -> None:
    vectors = np.eye(3, dtype=np.float32)
    cosines, matches = pairs(
        vectors, np.array([1, 2, 1]), vectors, np.array([1, 2, 1]), same_set=True
    )
    np.testing.assert_array_equal(cosines, [0, 0, 0])
    np.testing.assert_array_equal(matches, [False, True, False])


def test_pairs_of_two_sets_are_all_of_them() -> None:
    one, other = np.eye(2, dtype=np.float32), np.eye(2, dtype=np.float32)
    cosines, matches = pairs(one, np.array([5, 6]), other, np.array([6, 6]), same_set=False)
    np.testing.assert_array_equal(cosines, [1, 0, 0, 1])
    np.testing.assert_array_equal(matches, [False, False, True, True])


def test_calibrate_fits_every_pair_of_kinds() -> None:
    source = np.random.default_rng(3)
    centres = source.normal(size=(20, 16))
    groups = np.arange(400) // 2 % 20
    vectors = {}
    for kind in ("image", "text", "audio"):
        noisy = centres[groups] + source.normal(0, 0.7, (400, 16))
        unit = noisy / np.linalg.norm(noisy, axis=1, keepdims=True)
        vectors[kind] = unit.astype(np.float32)
    curves = calibrate(vectors, dict.fromkeys(vectors, groups))
    assert set(curves) == {
        "audio-audio",
        "audio-image",
        "audio-text",
        "image-image",
        "image-text",
        "text-text",
    }
    for curve in curves.values():
        assert curve["slope"] > 0
        assert curve["error"] < 0.1


def test_calibrate_leaves_out_a_pair_of_kinds_without_a_match() -> None:
    vectors = {kind: np.eye(8, dtype=np.float32) for kind in ("audio", "text")}
    curves = calibrate(vectors, dict.fromkeys(vectors, np.arange(8)))
    assert set(curves) == {"audio-text"}


def test_balanced_mean_counts_a_concept_once() -> None:
    vectors = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], dtype=np.float32)
    mean = balanced_mean(vectors, ["dog", "dog", "dog", "cat"])
    assert mean.dtype == np.float32
    np.testing.assert_allclose(mean, [0.5, 0.5])


def test_kinds_have_one_mean_once_the_gap_is_closed_and_texts_move_least() -> None:
    source = np.random.default_rng(4)
    vectors = {
        kind: source.normal(place, 0.1, (40, 6)).astype(np.float32)
        for kind, place in (("audio", -1), ("image", 2), ("text", 1))
    }
    names = {kind: [str(row) for row in range(40)] for kind in vectors}
    gap = gap_means(vectors, names)
    left = {kind: vectors[kind].mean(0) - gap[kind] for kind in vectors}
    for mean in left.values():
        np.testing.assert_allclose(mean, TEXT_MEAN_LEFT * vectors["text"].mean(0), atol=1e-5)


def test_recall_counts_the_examples_whose_name_is_near_enough() -> None:
    names = np.eye(3, dtype=np.float32)
    found = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0]], dtype=np.float32)
    assert recall(found, names, [0, 1], 1) == 0.5
    assert recall(found, names, [0, 1], 2) == 1.0


def test_spearman_sees_order_only() -> None:
    values = np.random.default_rng(4).normal(size=50)
    assert spearman(values, np.exp(values)) == pytest.approx(1)
    assert spearman(values, -values) == pytest.approx(-1)
