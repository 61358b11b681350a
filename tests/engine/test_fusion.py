"""Fusing lists, choosing for diversity and grouping, by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.collections import Metric
from app.domain.fusion import distributions, diverse, reciprocal_ranks
from app.domain.grouping import values_at
from app.domain.vectors import SparseVector, average, pairwise, similarities, sparse


def test_reciprocal_ranks_add_up() -> None:
    fused = reciprocal_ranks([["a", "b"], ["b", "c"]])
    assert fused == [("b", 1 / 3 + 1 / 2), ("a", 1 / 2), ("c", 1 / 3)]


def test_weights_count_as_in_qdrants_formula() -> None:
    fused = dict(reciprocal_ranks([["a"], ["b", "a"]], k=60, weights=(0.25, 0.75)))
    assert fused["a"] == pytest.approx(1 / (1 / 0.25 + 59) + 1 / (2 / 0.75 + 59))
    assert fused["b"] == pytest.approx(1 / (1 / 0.75 + 59))
    assert reciprocal_ranks([["a"], ["b"]], weights=(0, 1)) == [("b", 0.5)]


def test_distributions_put_three_deviations_at_0_and_1() -> None:
    fused = dict(distributions([[("a", 3.0), ("b", 2.0), ("c", 1.0)], [("a", 9.0)]]))
    assert fused["b"] == pytest.approx(0.5)
    assert fused["a"] == pytest.approx(0.5 + 1 / 6 + 0.5)  # alone in the second list
    assert distributions([[("a", 1.0), ("b", 1.0)], []]) == [("a", 0.5), ("b", 0.5)]
    assert distributions([]) == []


@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True), max_size=4))
def test_every_id_is_fused_once_best_first(lists: list[list[str]]) -> None:
    fused = reciprocal_ranks(lists)
    assert {name for name, _ in fused} == {name for names in lists for name in names}
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)
    assert len({name for name, _ in fused}) == len(fused)


def test_diversity_passes_over_the_likeness_of_what_is_chosen() -> None:
    relevance = np.array([1.0, 0.99, 0.5])
    likeness = np.array([[1.0, 0.99, 0.1], [0.99, 1.0, 0.1], [0.1, 0.1, 1.0]])
    assert diverse(relevance, likeness, 0.0, 3) == [0, 1, 2]
    assert diverse(relevance, likeness, 0.5, 2) == [0, 2]
    assert diverse(relevance, likeness, 0.5, 9) == [0, 2, 1]
    assert diverse(relevance, likeness, 0.5, 0) == []
    assert diverse(np.zeros(0), np.zeros((0, 0)), 0.5, 3) == []


@pytest.mark.parametrize(
    ("document", "path", "expected"),
    [
        ({"a": {"b": 1}}, ("a", "b"), [1]),
        ({"a": [{"b": 1}, {"b": [2, 3]}, {"c": 4}, 5]}, ("a", "b"), [1, 2, 3]),
        ({"a": 1}, ("a", "b"), []),
        ({"a": None}, ("a",), [None]),
        ({"a": [1, [2]]}, ("a",), [1]),
        ({}, ("a",), []),
    ],
)
def test_a_path_leads_into_arrays(
    document: Any, path: tuple[str, ...], expected: list[Any]
) -> None:
    assert list(values_at(document, path)) == expected


def test_averages_move_away_from_the_negative() -> None:
    one, other = np.eye(2, dtype=np.float32)
    np.testing.assert_array_equal(average([one, one], [other]), [2, -1])
    np.testing.assert_array_equal(average([one], []), one)
    pages = average([np.stack([one, other])], [other[None]])
    np.testing.assert_array_equal(pages, [one, other, -other])
    words = [SparseVector((1, 5), (1.0, 2.0)), SparseVector((5,), (4.0,))]
    assert average(words, []) == SparseVector((1, 5), (0.5, 3.0))
    assert average(words[:1], words[1:]) == SparseVector((1,), (2.0,))


@pytest.mark.parametrize("metric", list(Metric))
def test_pairs_are_compared_as_one_with_all(metric: Metric) -> None:
    generator = np.random.default_rng(0)
    dense = list(generator.standard_normal((9, 5)).astype(np.float32))
    multi = [generator.standard_normal((n % 3 + 1, 5)).astype(np.float32) for n in range(9)]
    words = [sparse({int(i): 1.5 for i in generator.integers(0, 9, 4)}) for _ in range(9)]
    for vectors in (dense, multi, words):
        each = [similarities(metric, one, vectors, squared=True) for one in vectors]
        np.testing.assert_allclose(pairwise(metric, vectors), each, atol=1e-9)
