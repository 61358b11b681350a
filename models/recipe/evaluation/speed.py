"""How fast the towers are on this machine, and how large."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from app.domain.modality import Modality
from app.encoders.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.recipe.evaluation.examples import Examples
    from models.recipe.evaluation.subject import Subject

IMAGES = 16
SECONDS_OF_AUDIO = 60
RUNS = 7
LEAST_SECONDS = 2.0  # in all, so that of what takes milliseconds some runs are left in peace
QUERY = "a red guitar on a sofa"


def speed(subject: Subject, _: Examples) -> dict[str, float]:
    """Images a second, milliseconds a short query, seconds of audio a second."""
    towers, source = subject.towers, np.random.default_rng(0)
    figures = {}
    if Modality.IMAGE in subject.kinds:
        side = subject.image_size or 225
        pixels = source.integers(0, 256, (IMAGES, side, side, 3), dtype=np.uint8)
        figures["images a second"] = IMAGES / _seconds(lambda: towers.encode_images(pixels))
    if Modality.TEXT in subject.kinds:
        figures["milliseconds a short query"] = 1000 * _seconds(lambda: subject.raw_texts([QUERY]))
    if Modality.AUDIO in subject.kinds:
        wave = source.normal(0, 0.1, SECONDS_OF_AUDIO * SAMPLE_RATE).astype(np.float32)
        figures["times real time, audio"] = SECONDS_OF_AUDIO / _seconds(
            lambda: towers.encode_audio(towers.audio_windows(wave))
        )
    return figures


def size(subject: Subject, _: Examples) -> dict[str, float]:
    """Megabytes of the files that hold the model's weights; none that are known is no figure."""
    if not subject.weights:
        return {}
    return {"megabytes of weights": sum(path.stat().st_size for path in subject.weights) / 1e6}


def _seconds(work: Callable[[], object]) -> float:
    """The best of some runs: what else the machine does only ever adds."""
    times: list[float] = []
    while len(times) < RUNS or sum(times) < LEAST_SECONDS:
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
