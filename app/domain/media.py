"""Decoded media, ready for an encoder: what the decoders make and the towers take."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Resize(StrEnum):
    """How a picture of any shape becomes a square."""

    CROP = "crop"  # the shorter side to the size, then the middle: OpenCLIP's "shortest"
    PAD = "pad"  # the longer side to the size, the rest filled: OpenCLIP's "longest"
    SQUASH = "squash"  # both sides to the size: OpenCLIP's "squash"


class Interpolation(StrEnum):
    BICUBIC = "bicubic"
    BILINEAR = "bilinear"


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The pixels a model's image tower takes: `size` is the side of the square in pixels."""

    size: int
    resize: Resize = Resize.CROP
    interpolation: Interpolation = Interpolation.BICUBIC
    fill: int = 0


@dataclass(frozen=True, slots=True)
class AudioInput:
    """The waveform a model's audio tower takes: mono at `sample_rate` hertz."""

    sample_rate: int


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """`pixels` is uint8 [size, size, 3], RGB; `width` and `height` are the original's."""

    pixels: NDArray[np.uint8]
    width: int
    height: int
    content_type: str


@dataclass(frozen=True, slots=True)
class DecodedAudio:
    """`samples` is float32 [n], mono in [-1, 1] at the rate asked for; `duration` in seconds."""

    samples: NDArray[np.float32]
    sample_rate: int
    duration: float
    content_type: str


@dataclass(frozen=True, slots=True)
class MediaRef:
    """Where stored media lies and what it is."""

    key: str
    content_type: str
