"""Synthesised sounds as files with captions, as people bring their own recordings."""

from __future__ import annotations

import io
import json
import tarfile
import wave
from typing import TYPE_CHECKING

import numpy as np

from app.encoders.audio import SAMPLE_RATE
from models.recipe.recordings import LISTING
from models.recipe.sounds import KINDS, synthesise

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray


def wav(samples: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def write_sounds(directory: Path, kinds: int, each: int, seed: int = 3) -> Path:
    """Write so many sounds of each of the first kinds, a second long at most, and the listing."""
    directory.mkdir(parents=True)
    source = np.random.default_rng(seed)
    lines = []
    for place, kind in enumerate(KINDS[:kinds]):
        for number in range(each):
            name = f"{place}-{number}.wav"
            (directory / name).write_bytes(wav(synthesise(kind, source)[:SAMPLE_RATE]))
            lines.append(json.dumps({"file": name, "captions": kind.captions[:2]}))
    (directory / LISTING).write_text("\n".join(lines), encoding="utf-8")
    return directory


def as_tar(directory: Path) -> Path:
    path = directory.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        tar.add(directory, arcname=".")
    return path
