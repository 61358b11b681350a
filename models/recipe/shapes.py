"""Shapes, colours and patterns, drawn at twice the size of a picture for smooth edges."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from random import Random

    from numpy.typing import NDArray
    from PIL import ImageDraw

SIZE = 225
DRAWN = 2 * SIZE  # the side of a canvas before it is reduced

COLOURS = {
    "red": (214, 32, 32),
    "orange": (245, 140, 20),
    "yellow": (248, 220, 40),
    "green": (40, 160, 60),
    "blue": (36, 84, 210),
    "purple": (130, 50, 170),
    "pink": (246, 130, 185),
    "brown": (125, 75, 35),
    "black": (18, 18, 18),
    "white": (250, 250, 250),
    "gray": (135, 135, 135),
}
SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "hexagon",
    "diamond",
    "ring",
    "cross",
    "rectangle",
    "crescent",
)
PATTERNS = ("striped", "dotted", "checkered")

Rgb = tuple[int, int, int]
Point = tuple[float, float]


def any_colour(random: Random) -> Rgb:
    return (random.randint(0, 255), random.randint(0, 255), random.randint(0, 255))


def shade(random: Random, colour: str) -> Rgb:
    """A colour as it may come: a little lighter, darker, warmer or cooler."""
    red, green, blue = (
        min(255, max(0, channel + random.randint(-14, 14))) for channel in COLOURS[colour]
    )
    return (red, green, blue)


def blank(random: Random, ground: str) -> Image.Image:
    """A canvas in a shade of one colour."""
    return Image.new("RGB", (DRAWN, DRAWN), shade(random, ground))


def reduced(canvas: Image.Image) -> NDArray[np.uint8]:
    """A canvas as pixels [225, 225, 3], edges smoothed."""
    return np.asarray(canvas.reduce(2))


def apart(random: Random, count: int, radius: float) -> tuple[list[Point], float]:
    """Centres of circles that do not overlap, and their radius: smaller if room ran out."""
    low, high = radius * 1.05, DRAWN - radius * 1.05
    while True:
        placed: list[Point] = []
        for _ in range(60):
            point = (random.uniform(low, high), random.uniform(low, high))
            if all(math.dist(point, other) > 2.1 * radius for other in placed):
                placed.append(point)
            if len(placed) == count:
                return placed, radius
        radius *= 0.97


def patterned(random: Random, pattern: str, first: str, second: str) -> Image.Image:
    """A canvas full of a pattern of two colours."""
    period = random.randint(36, 64)
    y, x = np.mgrid[0:DRAWN, 0:DRAWN]
    if pattern == "striped":
        axis = random.choice((x, y, x + y))
        chosen = (axis // (period // 2)) % 2 == 0
    elif pattern == "checkered":
        chosen = (x // (period // 2) + y // (period // 2)) % 2 == 0
    else:
        half = period / 2
        chosen = np.hypot(x % period - half, y % period - half) > 0.3 * period
    colours = np.array([shade(random, second), shade(random, first)], dtype=np.uint8)
    return Image.fromarray(colours[chosen.astype(np.intp)])


def draw_shape(
    draw: ImageDraw.ImageDraw,
    shape: str,
    centre: Point,
    radius: float,
    fill: Rgb | int,
    turn: float,
) -> None:
    """Draw a shape within the circle around `centre`, turned by `turn` radians."""
    x, y = centre
    if shape == "circle":
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif shape == "ring":
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, outline=fill, width=int(radius * 0.35))
    else:
        points = [
            (
                x + radius * (px * math.cos(turn) - py * math.sin(turn)),
                y + radius * (px * math.sin(turn) + py * math.cos(turn)),
            )
            for px, py in _outline(shape)
        ]
        draw.polygon(points, fill=fill)


@lru_cache(maxsize=32)
def _outline(shape: str) -> tuple[Point, ...]:
    """The corners of a shape within the unit circle."""
    if shape == "heart":
        steps = [i * math.tau / 40 for i in range(40)]
        return tuple(
            (
                16 * math.sin(t) ** 3 / 17,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t))
                / 17,
            )
            for t in steps
        )
    if shape == "crescent":
        outer = [(math.cos(t / 20 * math.pi), math.sin(t / 20 * math.pi)) for t in range(10, 31)]
        inner = [
            (0.25 + 0.8 * math.cos(t / 20 * math.pi), 0.95 * math.sin(t / 20 * math.pi))
            for t in range(30, 9, -1)
        ]
        return tuple((px + 0.4, py) for px, py in outer + inner)
    if shape == "cross":
        arm, end = 0.3, 0.92
        quarter = ((arm, end), (arm, arm), (end, arm))
        turns = ((1, 0), (0, 1), (-1, 0), (0, -1))
        return tuple((px * c + py * s, -px * s + py * c) for c, s in turns for px, py in quarter)
    if shape == "rectangle":
        return ((-0.95, -0.45), (0.95, -0.45), (0.95, 0.45), (-0.95, 0.45))
    if shape == "star":
        radii = [1.0, 0.42] * 5
        return tuple(_polar(-0.25 + i / 10, r) for i, r in enumerate(radii))
    corners, first = {
        "square": (4, 0.125),
        "diamond": (4, 0.0),
        "triangle": (3, -0.25),
        "hexagon": (6, 0.0),
    }[shape]
    narrow = 0.7 if shape == "diamond" else 1.0
    points = [_polar(first + i / corners, 1.0) for i in range(corners)]
    return tuple((px * narrow, py) for px, py in points)


def _polar(turns: float, radius: float) -> Point:
    return (radius * math.cos(turns * math.tau), radius * math.sin(turns * math.tau))
