"""Waveform to log-mel patches: the front end of the bundled audio tower.

The spectrogram is the one that YAMNet was trained with (Hershey et al. 2017, "CNN architectures
for large-scale audio classification"): 25 ms periodic Hann windows every 10 ms, 64 mel bands.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000  # hertz
FRAME_SAMPLES = 400  # 25 ms
FRAME_HOP = 160  # 10 ms
FFT_SIZE = 512
MEL_BANDS = 64
MEL_RANGE = (125.0, 7_500.0)  # hertz
LOG_OFFSET = 1e-3
WINDOW_FRAMES = 96
WINDOW_HOP_FRAMES = 48

_WINDOW_SAMPLES = (WINDOW_FRAMES - 1) * FRAME_HOP + FRAME_SAMPLES
_HOP_SAMPLES = WINDOW_HOP_FRAMES * FRAME_HOP
_FRAMES_AT_ONCE = 2_000  # twenty seconds; bounds the memory that a long recording takes


def window_count(samples: int) -> int:
    """How many windows a waveform of that many samples is cut into: at least one."""
    return 1 + -(-max(0, samples - _WINDOW_SAMPLES) // _HOP_SAMPLES)


def log_mel_windows(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut a mono waveform at 16 kHz, float32 [samples] in [-1, 1], into [windows, 96, 64] patches.

    Windows are 0.96 s long and start every 0.48 s from the first sample; silence is appended
    until the last one is full.
    """
    windows = window_count(len(waveform))
    frames = (windows - 1) * WINDOW_HOP_FRAMES + WINDOW_FRAMES
    padded = np.zeros((frames - 1) * FRAME_HOP + FRAME_SAMPLES, np.float32)
    used = min(len(waveform), len(padded))
    padded[:used] = waveform[:used]
    overlapping = sliding_window_view(padded, FRAME_SAMPLES)[::FRAME_HOP]
    log_mel = np.empty((frames, MEL_BANDS), np.float32)
    for start in range(0, frames, _FRAMES_AT_ONCE):
        part = slice(start, start + _FRAMES_AT_ONCE)
        log_mel[part] = _log_mel(overlapping[part])
    patches = sliding_window_view(log_mel, WINDOW_FRAMES, axis=0)[::WINDOW_HOP_FRAMES]
    return np.ascontiguousarray(patches.swapaxes(1, 2))


def _log_mel(frames: NDArray[np.float32]) -> NDArray[np.float32]:
    """[frames, 400] samples → [frames, 64] log-mel magnitudes.

    In numpy, on one thread: for a short recording, handing parts to several threads takes longer
    than the work, and many times longer when the machine is busy.
    """
    window, mel = _constants()
    spectrum = np.abs(np.fft.rfft(frames * window, FFT_SIZE))
    out: NDArray[np.float32] = np.log(spectrum @ mel + np.float32(LOG_OFFSET))
    return out


@cache
def _constants() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The Hann window [400], and the filters as [bins, bands]."""
    phase = 2 * np.pi * np.arange(FRAME_SAMPLES) / FRAME_SAMPLES
    window = (0.5 - 0.5 * np.cos(phase)).astype(np.float32)
    return window, np.ascontiguousarray(mel_filters().T.astype(np.float32))


def mel_filters() -> NDArray[np.float64]:
    """Triangular filters, [bands, bins]: linear and of height one in HTK mel, bin 0 dropped."""
    hertz = np.linspace(0, SAMPLE_RATE / 2, FFT_SIZE // 2 + 1)
    bins = _mel(hertz)
    edges = np.linspace(_mel(MEL_RANGE[0]), _mel(MEL_RANGE[1]), MEL_BANDS + 2)
    lower, centre, upper = (edges[i : i + MEL_BANDS, None] for i in range(3))
    rising = (bins - lower) / (centre - lower)
    falling = (upper - bins) / (upper - centre)
    filters: NDArray[np.float64] = np.maximum(0.0, np.minimum(rising, falling))
    filters[:, 0] = 0.0
    return filters


def _mel(hertz: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """HTK's mel scale."""
    scale: NDArray[np.float64] = 1127.0 * np.log1p(np.asarray(hertz, dtype=np.float64) / 700.0)
    return scale
