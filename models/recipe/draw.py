"""Rendered pictures with captions: shapes, emoji on backgrounds, words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from models.recipe.names import article
from models.recipe.shapes import (
    COLOURS,
    DRAWN,
    PATTERNS,
    SHAPES,
    SIZE,
    any_colour,
    apart,
    blank,
    draw_shape,
    patterned,
    reduced,
    shade,
)

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from numpy.typing import NDArray

NUMBERS = ("zero", "one", "two", "three", "four", "five", "six")
PLACES = {
    "on the left": (0.25, 0.5),
    "on the right": (0.75, 0.5),
    "at the top": (0.5, 0.25),
    "at the bottom": (0.5, 0.75),
    "in the centre": (0.5, 0.5),
}


@dataclass(frozen=True)
class Picture:
    """Pixels uint8 [225, 225, 3], the captions that fit, and what makes two pictures the same."""

    pixels: NDArray[np.uint8]
    captions: tuple[str, ...]
    group: str


def scene(random: Random) -> Picture:
    """Some shapes of one colour on a plain ground; or one with a place or pattern; or a pair."""
    kind = random.random()
    ground = random.choice(list(COLOURS))
    colour = random.choice([name for name in COLOURS if name != ground])
    shape = random.choice(SHAPES)
    if kind < 0.62:
        return _counted(random, random.randint(1, 6), colour, shape, ground)
    if kind < 0.74:
        return _placed(random, colour, shape, ground)
    if kind < 0.86:
        return _patterned(random, colour, shape, ground)
    return _related(random, colour, shape, ground)


def counted_scene(random: Random, count: int, colour: str, shape: str) -> Picture:
    """A picture of so many shapes of one colour, on a ground of any other."""
    ground = random.choice([name for name in COLOURS if name != colour])
    return _counted(random, count, colour, shape, ground)


def noun_phrase(count: int, colour: str, shape: str) -> str:
    """Say what is there: "a red circle", "three red crosses"."""
    if count == 1:
        return article(f"{colour} {shape}")
    plural = {"cross": "crosses"}.get(shape, f"{shape}s")
    return f"{NUMBERS[count]} {colour} {plural}"


def _counted(random: Random, count: int, colour: str, shape: str, ground: str) -> Picture:
    canvas = blank(random, ground)
    draw = ImageDraw.Draw(canvas)
    largest = (0.42, 0.26, 0.22, 0.2, 0.18, 0.165)[count - 1]
    radius = random.uniform(0.6, 1.0) * largest * DRAWN
    fill = shade(random, colour)
    centres, radius = apart(random, count, radius)
    for centre in centres:
        draw_shape(draw, shape, centre, radius, fill, random.uniform(-0.25, 0.25))
    phrase = noun_phrase(count, colour, shape)
    plain = shape if count == 1 else f"{shape}s"
    captions = (
        phrase,
        f"{phrase} on {article(ground)} background",
        f"{phrase} on {ground}",
        f"a picture of {phrase}",
        f"{colour} {plain}" if random.random() < 0.3 else phrase,
    )
    return Picture(reduced(canvas), captions, f"{count} {colour} {shape}")


def _placed(random: Random, colour: str, shape: str, ground: str) -> Picture:
    canvas = blank(random, ground)
    place, (x, y) = random.choice(list(PLACES.items()))
    radius = random.uniform(0.1, 0.2) * DRAWN
    jitter = 0.06 * DRAWN
    centre = (
        x * DRAWN + random.uniform(-jitter, jitter),
        y * DRAWN + random.uniform(-jitter, jitter),
    )
    draw_shape(ImageDraw.Draw(canvas), shape, centre, radius, shade(random, colour), 0.0)
    phrase = noun_phrase(1, colour, shape)
    captions = (
        phrase,
        f"{phrase} {place}",
        f"{phrase} {place} on {article(ground)} background",
        f"{phrase} {place} of the picture",
    )
    return Picture(reduced(canvas), captions, f"1 {colour} {shape} {place}")


def _patterned(random: Random, colour: str, shape: str, ground: str) -> Picture:
    pattern = random.choice(PATTERNS)
    other = random.choice([name for name in COLOURS if name not in {colour, ground}])
    canvas = blank(random, ground)
    mask = Image.new("L", canvas.size, 0)
    radius = random.uniform(0.3, 0.44) * DRAWN
    middle = (DRAWN / 2, DRAWN / 2)
    draw_shape(ImageDraw.Draw(mask), shape, middle, radius, 255, 0.0)
    canvas.paste(patterned(random, pattern, colour, other), (0, 0), mask)
    phrase = f"{article(pattern)} {shape}"
    colours = f"{colour} and {other}"
    captions = (
        f"{phrase}, {colours}",
        f"a {colours} {pattern} {shape}",
        f"a {colours} {pattern} {shape} on {article(ground)} background",
    )
    return Picture(reduced(canvas), captions, f"{pattern} {colour} {other} {shape}")


def _related(random: Random, colour: str, shape: str, ground: str) -> Picture:
    other = random.choice([name for name in COLOURS if name not in {colour, ground}])
    second = random.choice(SHAPES)
    words, start, end = random.choice(
        (
            ("above", (0.5, 0.27), (0.5, 0.73)),
            ("below", (0.5, 0.73), (0.5, 0.27)),
            ("to the left of", (0.27, 0.5), (0.73, 0.5)),
            ("to the right of", (0.73, 0.5), (0.27, 0.5)),
        )
    )
    canvas = blank(random, ground)
    draw = ImageDraw.Draw(canvas)
    for name, tint, (x, y) in ((shape, colour, start), (second, other, end)):
        radius = random.uniform(0.12, 0.2) * DRAWN
        draw_shape(draw, name, (x * DRAWN, y * DRAWN), radius, shade(random, tint), 0.0)
    one, two = noun_phrase(1, colour, shape), noun_phrase(1, other, second)
    captions = (
        f"{one} {words} {two}",
        f"{one} and {two}",
        f"{one} {words} {two} on {article(ground)} background",
    )
    return Picture(reduced(canvas), captions, f"{colour} {shape} {words} {other} {second}")


def emoji_picture(
    random: Random, emoji: Image.Image, photos: list[Image.Image]
) -> NDArray[np.uint8]:
    """One emoji of any size, slightly turned, on a plain, graded or photographed ground."""
    ground = _ground(random, photos)
    side = int(SIZE * random.uniform(0.35, 0.95))
    turned = emoji.resize((side, side), Image.Resampling.BICUBIC)
    turned = turned.rotate(random.uniform(-25, 25), Image.Resampling.BICUBIC, expand=True)
    room = SIZE - turned.width
    low, high = min(0, room), max(0, room)
    ground.paste(turned, (random.randint(low, high), random.randint(low, high)), turned)
    return np.asarray(ground)


def word_picture(random: Random, word: str, fonts: list[Path]) -> NDArray[np.uint8]:
    """A word in some font, size and pair of colours."""
    ground, ink = random.sample(list(COLOURS), 2)
    canvas = Image.new("RGB", (SIZE, SIZE), shade(random, ground))
    font = _font(str(random.choice(fonts)), 100)
    left, top, right, bottom = font.getbbox(word)
    scale = random.uniform(0.55, 0.95) * SIZE / max(right - left, 1)
    sized = _font(str(font.path), max(12, min(90, int(100 * scale))))
    left, top, right, bottom = sized.getbbox(word)
    free_x, free_y = SIZE - (right - left), SIZE - (bottom - top)
    x = random.uniform(0, max(free_x, 0)) - left
    y = random.uniform(0.2, 0.8) * free_y - top
    draw = ImageDraw.Draw(canvas)
    draw.text((x, y), word, font=sized, fill=shade(random, ink))
    return np.asarray(canvas)


@lru_cache(maxsize=512)
def _font(path: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


def _ground(random: Random, photos: list[Image.Image]) -> Image.Image:
    kind = random.random()
    if kind < 0.35 or not photos:
        return Image.new("RGB", (SIZE, SIZE), any_colour(random))
    if kind < 0.6:
        ends = np.array([any_colour(random), any_colour(random)], dtype=np.float32)
        ramp = np.linspace(0, 1, SIZE, dtype=np.float32)[:, None]
        column = (ends[0] * (1 - ramp) + ends[1] * ramp).astype(np.uint8)
        plane = np.repeat(column[:, None], SIZE, axis=1)
        return Image.fromarray(
            np.ascontiguousarray(plane if random.random() < 0.5 else plane.transpose(1, 0, 2))
        )
    photo = random.choice(photos)
    width, height = photo.size
    side = int(min(width, height) * random.uniform(0.5, 1.0))
    x, y = random.randint(0, width - side), random.randint(0, height - side)
    return photo.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=(x, y, x + side, y + side))
