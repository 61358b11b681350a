"""What the server and its decoder processes say to each other.

A message is a frame: two lengths, a header in JSON, then raw bytes. Nothing is pickled: a decoder
that was taken over by what it decodes must not be able to run anything in the server.
"""

from __future__ import annotations

import struct
from typing import Final

import msgspec

from app.domain.media import Interpolation, Resize  # noqa: TC001 - msgspec reads them

LENGTHS: Final = struct.Struct("!IQ")
READY: Final = b"\x06"  # what a decoder says once, when it has started
MAX_HEADER: Final = 64 * 1024
# Seconds of sound that may be decoded beyond the limit before decoding stops: a lossy codec's
# padding, and the last frame.
AUDIO_SLACK: Final = 10.0


class ImageTask(msgspec.Struct, frozen=True, tag="image"):
    """Decode one picture to `size` x `size` RGB pixels; `decoder` is the Pillow plugin."""

    decoder: str
    size: int
    resize: Resize
    interpolation: Interpolation
    fill: int
    max_pixels: int


class AudioTask(msgspec.Struct, frozen=True, tag="audio"):
    """Decode one recording to mono float32 at `sample_rate`; `decoder` is the FFmpeg demuxer."""

    decoder: str
    sample_rate: int
    max_seconds: float


Task = ImageTask | AudioTask


class Request(msgspec.Struct, frozen=True):
    """A task and the seconds (of the clock and of the CPU) after which the process ends itself."""

    task: Task
    seconds: float


class Picture(msgspec.Struct, frozen=True, tag="picture"):
    """The body is uint8 [size, size, 3]; `width` and `height` are the original's, upright."""

    width: int
    height: int


class Sound(msgspec.Struct, frozen=True, tag="sound"):
    """The body is float32 [n] in the machine's byte order."""


class Failure(msgspec.Struct, frozen=True, tag="failure"):
    """`code` is that of one of the MediaErrors."""

    code: str
    message: str


Reply = Picture | Sound | Failure
