"""What the bundled model must know, on pictures and sounds that it was not trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from app.domain.modality import Modality
from app.encoders.audio import log_mel_windows
from app.encoders.bundled import load_bundled
from app.encoders.calibration import Gap
from app.settings import ROOT
from models.recipe.sounds import KINDS, synthesise

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.encoders.bundled import BundledTowers

    Vectors = NDArray[np.float32]

DIRECTORY = ROOT / "models" / "multimodal-embedding-v1"
PHOTOS = ("cat", "coffee", "rocket")
SEED = 77


@pytest.fixture(scope="module")
def towers() -> BundledTowers:
    return load_bundled(DIRECTORY)


@pytest.fixture(scope="module")
def gap(towers: BundledTowers) -> Gap:
    return Gap.read(DIRECTORY, towers.dimensions)


@pytest.fixture(scope="module")
def photos(towers: BundledTowers, gap: Gap) -> Vectors:
    pixels = []
    for name in PHOTOS:
        with Image.open(ROOT / "docs" / "tour" / f"{name}.jpg") as photo:
            pixels.append(np.asarray(photo.resize((225, 225), Image.Resampling.BICUBIC)))
    return gap.close(Modality.IMAGE, towers.encode_images(np.stack(pixels)))


def texts(towers: BundledTowers, gap: Gap, *words: str) -> Vectors:
    return gap.close(Modality.TEXT, towers.encode_texts(towers.tokenize(words)))


def heard(towers: BundledTowers, gap: Gap, kind: str, number: int) -> Vectors:
    """The mean of some sounds of a kind, drawn anew."""
    made = next(entry for entry in KINDS if entry.captions[0] == kind)
    source = np.random.default_rng(SEED)
    windows = [log_mel_windows(synthesise(made, source)) for _ in range(number)]
    means = [towers.encode_audio(one).mean(0) for one in windows]
    return gap.close(Modality.AUDIO, np.stack(means))


@pytest.mark.parametrize(
    ("words", "photo"),
    [
        ("an animal", "cat"),
        ("a pet with whiskers", "cat"),
        ("something hot to drink", "coffee"),
        ("a cup on a table", "coffee"),
        ("a spacecraft", "rocket"),
        ("a launch into orbit", "rocket"),
    ],
)
def test_words_that_no_class_is_called_by_find_the_photo(
    towers: BundledTowers, gap: Gap, photos: Vectors, words: str, photo: str
) -> None:
    (scores,) = texts(towers, gap, words) @ photos.T
    assert PHOTOS[int(scores.argmax())] == photo


def test_a_meow_finds_the_picture_of_a_cat(
    towers: BundledTowers, gap: Gap, photos: Vectors
) -> None:
    scores = heard(towers, gap, "a cat meowing", 5) @ photos.T
    assert (scores.argmax(1) == PHOTOS.index("cat")).mean() >= 0.8


def test_sounds_find_their_names(towers: BundledTowers, gap: Gap) -> None:
    names = [kind.captions[0] for kind in KINDS]
    said = texts(towers, gap, *names)
    found = []
    for place, name in enumerate(names):
        scores = heard(towers, gap, name, 2) @ said.T
        found += [int((row > row[place]).sum()) < 3 for row in scores]
    assert np.mean(found) >= 0.9
