"""Rendered pictures show what their captions say."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from skimage.measure import label

from models.recipe.corpus import counted_scenes, scenes
from models.recipe.draw import NUMBERS, counted_scene, emoji_picture, noun_phrase, scene
from models.recipe.shapes import COLOURS, PATTERNS, SHAPES, SIZE, apart

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Enough of the pixels between shapes and ground; seven pixels are a smoothed edge's crumbs.
LEAST_AREA = 8


def components(pixels: NDArray[np.uint8]) -> int:
    """Count what stands out from the colour of the corner, which is always ground."""
    distance = np.abs(pixels.astype(int) - pixels[0, 0].astype(int)).sum(2)
    marked = label(distance > distance.max() / 2)
    return int((np.bincount(marked.ravel())[1:] >= LEAST_AREA).sum())


@pytest.mark.parametrize("shape", SHAPES)
def test_counted_scene_has_as_many_shapes_as_it_says(shape: str) -> None:
    source = random.Random(shape)
    for count in range(1, len(NUMBERS)):
        for _ in range(4):
            picture = counted_scene(source, count, "blue", shape)
            assert components(picture.pixels) == count, picture.captions
            assert picture.captions[0] == noun_phrase(count, "blue", shape)
            assert picture.group == f"{count} blue {shape}"


def test_counted_scene_has_the_colour_it_says() -> None:
    source = random.Random(2)
    for colour in COLOURS:
        picture = counted_scene(source, 1, colour, "circle")
        distances = {
            name: np.abs(picture.pixels.astype(int) - rgb).sum(2).min()
            for name, rgb in COLOURS.items()
        }
        assert distances[colour] <= 3 * 14


def test_circles_stay_apart_where_room_runs_out() -> None:
    centres, radius = apart(random.Random(3), 6, 150)
    assert radius < 150
    places = np.array(centres)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2)
    assert distances[np.triu_indices(6, 1)].min() > 2 * radius


def test_noun_phrase() -> None:
    assert noun_phrase(1, "red", "circle") == "a red circle"
    assert noun_phrase(1, "orange", "star") == "an orange star"
    assert noun_phrase(3, "green", "cross") == "three green crosses"
    assert noun_phrase(6, "white", "ring") == "six white rings"


def test_scenes_are_decided_by_their_seed() -> None:
    one, again, other = scenes(7, 30), scenes(7, 30), scenes(8, 30)
    for first, second in zip(one.content, again.content, strict=True):
        np.testing.assert_array_equal(first, second)
    assert one.captions == again.captions
    assert one.groups == again.groups
    assert one.groups != other.groups


def test_every_caption_of_a_scene_names_a_colour_and_a_shape() -> None:
    source = random.Random(4)
    for _ in range(200):
        picture = scene(source)
        assert picture.pixels.shape == (SIZE, SIZE, 3)
        assert picture.pixels.dtype == np.uint8
        for caption in picture.captions:
            assert any(colour in caption for colour in (*COLOURS, *PATTERNS))
            assert any(shape in caption for shape in SHAPES)


def test_counted_scenes_never_repeat_themselves() -> None:
    part = counted_scenes(5, 60)
    assert len(set(part.groups)) == len(part) == 60


def test_emoji_picture_is_decided_by_its_seed() -> None:
    emoji = Image.new("RGBA", (128, 128), (200, 30, 30, 255))
    photos = [Image.fromarray(np.full((SIZE, SIZE, 3), 77, dtype=np.uint8))]
    for seed in range(12):
        one, again = (emoji_picture(random.Random(seed), emoji, photos) for _ in range(2))
        np.testing.assert_array_equal(one, again)
        assert one.shape == (SIZE, SIZE, 3)
        assert (one == (200, 30, 30)).all(2).any()
