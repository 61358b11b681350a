"""The audio front end, checked against the definition computed frame by frame."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from app.encoders.audio import SAMPLE_RATE, log_mel_windows, mel_filters, window_count

SILENCE = math.log(0.001)


def tone(hertz: float, seconds: float) -> np.ndarray:
    time_ = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (0.5 * np.sin(2 * np.pi * hertz * time_)).astype(np.float32)


def defined_frame(samples: np.ndarray, index: int) -> np.ndarray:
    """One log-mel frame, straight from the definition: a DFT sum and one triangle per band."""
    frame = np.zeros(512)
    frame[:400] = samples[160 * index :][:400]
    frame[:400] *= [0.5 - 0.5 * math.cos(2 * math.pi * n / 400) for n in range(400)]
    angles = -2j * np.pi * np.outer(np.arange(257), np.arange(512)) / 512
    magnitude = np.abs(np.exp(angles) @ frame)

    def mel(hertz: float) -> float:
        return 2595 * math.log10(1 + hertz / 700)

    low, high = mel(125), mel(7500)
    bands = []
    for band in range(64):
        left, peak, right = (low + (high - low) * (band + i) / 65 for i in range(3))
        total = 0.0
        for number in range(1, 257):
            place = mel(number * SAMPLE_RATE / 512)
            if left < place <= peak:
                total += magnitude[number] * (place - left) / (peak - left)
            elif peak < place < right:
                total += magnitude[number] * (right - place) / (right - peak)
        bands.append(math.log(total + 0.001))
    return np.array(bands)


@pytest.mark.parametrize("index", [0, 7, 95])
def test_frame_matches_its_definition(index: int) -> None:
    samples = np.random.default_rng(3).normal(0, 0.1, 20_000).astype(np.float32)
    windows = log_mel_windows(samples)
    np.testing.assert_allclose(windows[0, index], defined_frame(samples, index), atol=2e-3)


def test_windows_overlap_by_half() -> None:
    samples = np.random.default_rng(4).normal(0, 0.1, 3 * SAMPLE_RATE).astype(np.float32)
    windows = log_mel_windows(samples)
    np.testing.assert_array_equal(windows[0, 48:], windows[1, :48])


@pytest.mark.parametrize(
    ("samples", "windows"),
    [(0, 1), (1, 1), (15_600, 1), (15_601, 2), (15_600 + 7_680, 2), (160_000, 20)],
)
def test_window_count_covers_every_sample(samples: int, windows: int) -> None:
    assert window_count(samples) == windows
    assert log_mel_windows(np.zeros(samples, np.float32)).shape == (windows, 96, 64)


def test_short_input_is_padded_with_silence() -> None:
    windows = log_mel_windows(tone(440, 0.2))
    assert windows[0, 5].max() > 0
    np.testing.assert_allclose(windows[0, 30:], SILENCE, atol=1e-6)


def test_filters_are_triangles_of_height_one_at_most() -> None:
    filters = mel_filters()
    assert filters.shape == (64, 257)
    assert filters.max() <= 1
    assert not filters[:, 0].any()
    hertz = np.arange(257) * SAMPLE_RATE / 512
    assert not filters[:, (hertz < 125) | (hertz > 7500)].any()


def test_higher_tone_rings_in_a_higher_band() -> None:
    bands = [log_mel_windows(tone(hertz, 1.0))[0, 40].argmax() for hertz in (200, 800, 3200)]
    assert bands == sorted(set(bands))


def test_ten_minutes_take_about_a_second() -> None:
    samples = np.zeros(600 * SAMPLE_RATE, np.float32)
    start = time.perf_counter()
    windows = log_mel_windows(samples)
    assert time.perf_counter() - start < 6  # 0.1 s on a free machine
    assert windows.nbytes < 32 * 2**20
