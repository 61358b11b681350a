"""Examples steer a search, and thresholds cut it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.engine.aiming import steer
from app.engine.searching import least_rank
from app.errors import InvalidInput


@given(st.floats(min_value=0.001, max_value=0.999))
def test_a_least_rank_is_the_logit_of_the_threshold(threshold: float) -> None:
    rank = least_rank(threshold)
    assert rank is not None
    assert 1 / (1 + math.exp(-rank)) == pytest.approx(threshold)


def test_the_ends_of_the_threshold_cut_nothing_and_everything() -> None:
    assert least_rank(None) is None
    assert least_rank(0.0) is None
    assert least_rank(1.0) == math.inf


VECTORS = arrays(np.float32, 8, elements=st.floats(-1, 1, width=32)).filter(
    lambda vector: float(np.linalg.norm(vector)) > 0.1
)


@given(VECTORS)
def test_one_positive_example_points_to_itself(vector: np.ndarray) -> None:
    unit = vector / np.linalg.norm(vector)
    np.testing.assert_allclose(steer([vector], []), unit, atol=1e-6)


def test_negative_examples_push_away() -> None:
    right, up = np.eye(2, dtype=np.float32)
    both = steer([right, up], [])
    away = steer([right, up], [up])
    assert away @ right > both @ right
    assert away @ up < both @ up
    assert np.linalg.norm(away) == pytest.approx(1.0)


def test_examples_that_cancel_each_other_out_are_refused() -> None:
    right = np.array([1, 0], dtype=np.float32)
    with pytest.raises(InvalidInput) as caught:
        steer([right], [2 * right])
    assert caught.value.violations[0].path == ("example",)
