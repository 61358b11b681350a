"""Examples steer a search, and plans choose how it is answered."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.domain.collections import Collection, IndexState, Space, SpaceSpec
from app.domain.modality import Modality
from app.domain.requests import Example, SearchQuery
from app.domain.search import Strategy
from app.encoders.cards import Logistic
from app.engine.planner import least_rank, plan_search
from app.engine.searching import steer
from app.errors import InvalidInput
from app.settings import SearchSettings

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = SearchSettings(exact_rows=100, hnsw_rows=200)
CURVES = {kind: Logistic(slope=10.0, intercept=-4.0) for kind in Modality}
VECTOR = np.eye(1, 8, dtype=np.float32)[0]


def a_collection(items: int, state: IndexState) -> Collection:
    space = Space(1, SpaceSpec("model", 8), state)
    return Collection(1, "col_1", "default", "name", None, space, items, NOW, NOW)


@pytest.mark.parametrize(
    ("items", "state", "exact", "strategy"),
    [
        (100, IndexState.READY, False, Strategy.EXACT),
        (101, IndexState.READY, False, Strategy.HNSW),
        (101, IndexState.READY, True, Strategy.EXACT),
        (101, IndexState.BUILDING, False, Strategy.EXACT),
        (10**9, IndexState.NONE, False, Strategy.EXACT),
    ],
)
def test_the_index_answers_only_when_there_are_many_rows_and_it_is_ready(
    items: int, state: IndexState, exact: bool, strategy: Strategy
) -> None:
    plan = plan_search(
        a_collection(items, state), SearchQuery(exact=exact), VECTOR, CURVES, SETTINGS
    )
    assert {branch.strategy for branch in plan.branches} == {strategy}
    assert {branch.modality for branch in plan.branches} == set(Modality)


def test_a_plan_keeps_to_the_kinds_asked_for_and_leaves_the_examples_out() -> None:
    query = SearchQuery(
        example=Example(("a", "b"), ("c",)), modalities=frozenset({Modality.AUDIO}), threshold=0.5
    )
    plan = plan_search(a_collection(10, IndexState.NONE), query, VECTOR, CURVES, SETTINGS)
    (branch,) = plan.branches
    assert branch.modality is Modality.AUDIO
    assert branch.least_rank == 0.0
    assert plan.exclude_ids == ("a", "b", "c")


def test_the_walk_through_the_index_widens_with_the_page() -> None:
    collection = a_collection(1000, IndexState.READY)
    near = plan_search(collection, SearchQuery(top_k=10), VECTOR, CURVES, SETTINGS)
    deep = plan_search(
        collection, replace(SearchQuery(top_k=100), offset=1000), VECTOR, CURVES, SETTINGS
    )
    assert near.ef_search == 100
    assert deep.ef_search == 1000


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
