"""The gap between modalities, and what a score means."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from app.domain.modality import Modality
from app.encoders.calibration import GAP_FILE, Calibration, Gap, unit
from app.encoders.cards import Logistic, read_card
from app.encoders.registry import SHIPPED
from app.errors import Unavailable
from tests.encoders.factories import write_card

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from app.encoders.cards import Card

PAIRS = list(itertools.product(Modality, Modality))
slopes = st.floats(0.5, 60.0)
intercepts = st.floats(-30.0, 10.0)
cosines = st.floats(-1.0, 1.0)
pairs = st.sampled_from(PAIRS)


def calibration(tmp_path: Path, **curves: Logistic) -> Calibration:
    card = read_card(write_card(tmp_path))
    return Calibration(with_curves(card, **curves))


def with_curves(card: Card, **curves: Logistic) -> Card:
    named = {name.replace("_", "-"): curve for name, curve in curves.items()}
    return msgspec.structs.replace(card, calibration=named)


@pytest.fixture(scope="module")
def uncalibrated(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    return calibration(tmp_path_factory.mktemp("card"))


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Card:
    return read_card(write_card(tmp_path_factory.mktemp("card")))


@given(slope=slopes, intercept=intercepts, cosine=st.lists(cosines, min_size=2), pair=pairs)
def test_scores_are_between_0_and_1_and_monotonic(
    card: Card, slope: float, intercept: float, cosine: list[float], pair: tuple[Modality, Modality]
) -> None:
    curves = {"_".join(sorted(pair)): Logistic(slope, intercept)}
    scores = Calibration(with_curves(card, **curves)).scores(*pair, sorted(cosine))
    assert scores.shape == (len(cosine),)
    assert ((scores >= 0) & (scores <= 1)).all()
    assert (np.diff(scores) >= 0).all()


@given(slope=slopes, intercept=intercepts, score=st.floats(0.001, 0.999), pair=pairs)
def test_least_cosine_is_the_inverse(
    card: Card, slope: float, intercept: float, score: float, pair: tuple[Modality, Modality]
) -> None:
    curves = {"_".join(sorted(pair)): Logistic(slope, intercept)}
    calibrated = Calibration(with_curves(card, **curves))
    least = calibrated.least_cosine(*pair, score)
    assert least >= -1.0
    if least > -1.0:
        assert calibrated.scores(*pair, least) == pytest.approx(score, abs=1e-9)
    else:
        assert calibrated.scores(*pair, -1.0) >= score - 1e-9


def test_query_and_item_may_change_places(tmp_path: Path) -> None:
    scores = calibration(tmp_path, image_text=Logistic(9.0, -3.0))
    one = scores.scores(Modality.TEXT, Modality.IMAGE, 0.3)
    assert one == scores.scores(Modality.IMAGE, Modality.TEXT, 0.3) == pytest.approx(0.42556, 1e-4)


def test_every_cosine_reaches_0_and_none_reaches_1(uncalibrated: Calibration) -> None:
    for pair in PAIRS:
        assert uncalibrated.least_cosine(*pair, 0.0) == -1.0
        assert uncalibrated.least_cosine(*pair, 1.0) > 1.0


def test_without_calibration_identical_content_scores_above_099(uncalibrated: Calibration) -> None:
    for pair in PAIRS:
        assert uncalibrated.scores(*pair, 1.0) > 0.99
        assert uncalibrated.scores(*pair, -0.2) < 0.01


def test_scores_keep_their_shape(uncalibrated: Calibration) -> None:
    scores = uncalibrated.scores(Modality.TEXT, Modality.AUDIO, np.zeros((2, 3), np.float32))
    assert scores.shape == (2, 3)


def test_bundled_model_scores_identical_content_above_099() -> None:
    card = read_card(SHIPPED / "multimodal-embedding-v1")
    for modality in card.types:
        assert Calibration(card).scores(modality, modality, 1.0) > 0.99


def test_gap_is_subtracted_and_vectors_are_unit(tmp_path: Path) -> None:
    mean = np.array([0.5, 0, 0, 0], np.float32)
    save_file({"text": mean}, tmp_path / GAP_FILE)
    gap = Gap.read(tmp_path, 4)
    vectors = unit(np.array([[3, 4, 0, 0], [1, 0, 0, 1]], np.float32))
    closed = gap.close(Modality.TEXT, vectors)
    np.testing.assert_allclose(closed, unit(vectors - mean), rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(closed, axis=1), 1.0, rtol=1e-6)
    np.testing.assert_allclose(gap.close(Modality.IMAGE, vectors), vectors, rtol=1e-6)


def test_gap_brings_modalities_together() -> None:
    rng = np.random.default_rng(7)
    content = rng.normal(size=(50, 64)).astype(np.float32)
    cones: dict[Modality, NDArray[np.float32]] = {
        m: 8 * rng.normal(size=64).astype(np.float32) for m in (Modality.IMAGE, Modality.TEXT)
    }
    raw = {m: unit(content + cone) for m, cone in cones.items()}
    gap = Gap({m: v.mean(axis=0) for m, v in raw.items()})
    image, text = (gap.close(m, raw[m]) for m in cones)
    both = np.concatenate([image, text])
    ranks = (-text @ both.T).argsort(axis=1)[:, :2]
    assert {tuple(sorted(row)) for row in ranks.tolist()} == {(n, n + 50) for n in range(50)}


def test_without_a_file_there_is_no_correction(tmp_path: Path) -> None:
    vectors = unit(np.eye(3, dtype=np.float32) + 0.1)
    closed = Gap.read(tmp_path, 3).close(Modality.AUDIO, vectors)
    np.testing.assert_allclose(closed, vectors, rtol=1e-6)


def test_vector_that_is_the_mean_keeps_its_direction() -> None:
    mean = unit(np.ones((1, 4), np.float32))
    closed = Gap({Modality.TEXT: mean[0]}).close(Modality.TEXT, mean)
    np.testing.assert_allclose(closed, mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"text": np.zeros(3, np.float32)}, r"text has shape \(3,\), not \(4,\)"),
        ({"smell": np.zeros(4, np.float32)}, "smell"),
    ],
)
def test_gap_that_does_not_fit_is_refused(
    tmp_path: Path, tensors: dict[str, NDArray[np.float32]], said: str
) -> None:
    save_file(tensors, tmp_path / GAP_FILE)
    with pytest.raises(Unavailable, match=said):
        Gap.read(tmp_path, 4)


def test_damaged_gap_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / GAP_FILE).write_bytes(b"no tensors")
    with pytest.raises(Unavailable, match=GAP_FILE):
        Gap.read(tmp_path, 4)
