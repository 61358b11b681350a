"""A recording on its way through the audio tower: cut into windows, and these pooled again."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING

import numpy as np

from app.domain.segments import MOST_SEGMENTS, Segment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.encoders.cards import AudioTower
    from app.encoders.towers import Towers

# Long enough for a sound to be recognised, and about as long as those that scores are fitted on.
SEGMENT_SECONDS = 2.4


class Recording:
    """A waveform, float32 [samples]; the windows of one stretch of it are in memory at a time."""

    def __init__(self, samples: NDArray[np.float32], audio: AudioTower, batch_size: int) -> None:
        self.left = audio.windows(len(samples))
        self._audio = audio
        self._seconds = len(samples) / audio.sample_rate
        self._stretches = deque(stretches(samples, audio, batch_size))
        self._windows: NDArray[np.float32] | None = None
        self._each = windows_each(self.left, audio)
        self._sums: list[NDArray[np.float32]] = []
        self._count = 0

    @property
    def finished(self) -> bool:
        return self._windows is None and not self._stretches

    def cut(self, towers: Towers, room: int) -> NDArray[np.float32]:
        """Return the next windows, at least one and at most `room`: [windows, …features]."""
        parts: list[NDArray[np.float32]] = []
        while room > 0 and not self.finished:
            if self._windows is None:
                samples, most = self._stretches.popleft()
                self._windows = towers.audio_windows(samples)[:most]
            parts.append(self._windows[:room])
            self._windows = self._windows[room:] if len(self._windows) > room else None
            room -= len(parts[-1])
            self.left = max(1, self.left - len(parts[-1]))
        return np.concatenate(parts)

    def add(self, vectors: NDArray[np.float32]) -> None:
        """Take the vectors of the next windows, float32 [n, d], into their segments' sums."""
        start = 0
        while start < len(vectors):
            place = self._count % self._each
            part = vectors[start : start + self._each - place].sum(axis=0)
            if place:
                self._sums[-1] = self._sums[-1] + part
            else:
                self._sums.append(part)
            taken = min(len(vectors) - start, self._each - place)
            self._count += taken
            start += taken

    def pooled(self) -> tuple[NDArray[np.float32], int]:
        """Return means of windows' vectors, float32 [1 + n, d], and how many windows there were.

        The first is that of all; n more follow, one for each of `spans`, unless it is one alone.
        """
        sums = np.stack(self._sums)
        means = sums.sum(axis=0, keepdims=True) / self._count
        segments = self._segments()
        if len(segments) > 1:
            sums[len(segments) - 1] = sums[len(segments) - 1 :].sum(axis=0)
            counts = np.array([[last - first] for first, last in segments])
            means = np.concatenate([means, sums[: len(segments)] / counts])
        return means.astype(np.float32), self._count

    def spans(self) -> tuple[Segment, ...]:
        """Return where the segments begin and end; a window's end is what its segment hears."""
        hop, window = self._audio.hop_seconds, self._audio.window_seconds
        spans = [
            Segment(first * hop, min((last - 1) * hop + window, self._seconds))
            for first, last in self._segments()
        ]
        return (*spans[:-1], Segment(spans[-1].start, self._seconds))

    def _segments(self) -> list[tuple[int, int]]:
        """Return each segment's first window and the one after its last.

        What is left at the end is a segment of its own if it is half of one, and else goes with
        the last.
        """
        whole, rest = divmod(self._count, self._each)
        count = max(1, min(whole + (2 * rest >= self._each), MOST_SEGMENTS))
        starts = [place * self._each for place in range(count)]
        return list(zip(starts, [*starts[1:], self._count], strict=True))


def windows_each(windows: int, audio: AudioTower) -> int:
    """Return how many windows make a segment: the more, the more there are."""
    least = max(1, round(SEGMENT_SECONDS / audio.hop_seconds))
    return max(least, math.ceil(windows / MOST_SEGMENTS))


def stretches(
    samples: NDArray[np.float32], audio: AudioTower, windows: int
) -> list[tuple[NDArray[np.float32], int | None]]:
    """Cut a long waveform so that its stretches' windows are the windows of the whole.

    Each stretch comes with how many of its first windows count (None: all); a tower may cut one
    more from a stretch's end, which is the next one's first. Stretches share the samples.
    """
    step = audio.hop_seconds * audio.sample_rate * windows
    if not step.is_integer():
        return [(samples, None)]
    hop = int(step)
    reach = hop + math.ceil(audio.window_seconds * audio.sample_rate)
    parts: list[tuple[NDArray[np.float32], int | None]] = []
    start = 0
    while len(samples) - start > reach:
        parts.append((samples[start : start + reach], windows))
        start += hop
    return [*parts, (samples[start:], None)]
