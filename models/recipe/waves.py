"""What sounds are put together from: sweeps, harmonics, noise, echoes, repetition.

Waves are float64 [samples] at 16 kHz.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.encoders.audio import SAMPLE_RATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    Wave = NDArray[np.float64]


def ticks(random: Generator, low: float = 1.0, high: float = 2.5) -> Wave:
    """The time in seconds of every sample of a sound that lasts between `low` and `high`."""
    return np.arange(int(random.uniform(low, high) * SAMPLE_RATE)) / SAMPLE_RATE


def sweep(frequency: Wave) -> Wave:
    """The phase of a tone whose frequency in hertz is given for every sample."""
    return 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE


def harmonics(phase: Wave, weights: Wave) -> Wave:
    """A tone of that phase and its overtones."""
    wave = np.zeros_like(phase)
    for number, weight in enumerate(weights, 1):
        wave = wave + weight * np.sin(number * phase)
    return wave


def noise(random: Generator, size: int, low: float, high: float) -> Wave:
    """Noise between two frequencies in hertz."""
    spectrum = np.fft.rfft(random.normal(size=size))
    hertz = np.fft.rfftfreq(size, 1 / SAMPLE_RATE)
    spectrum[(hertz < low) | (hertz > high)] = 0
    wave = np.fft.irfft(spectrum, size)
    loudest: Wave = wave / (np.abs(wave).max() + 1e-9)
    return loudest


def echo(wave: Wave, random: Generator) -> Wave:
    """A sound in a room: three echoes of it are added."""
    out = wave.copy()
    for _ in range(3):
        delay = int(random.uniform(0.01, 0.12) * SAMPLE_RATE)
        out[delay:] += random.uniform(0.1, 0.35) * wave[:-delay]
    return out


def repeat(random: Generator, one: Callable[[], Wave], gap: tuple[float, float]) -> Wave:
    """Some seconds of one short sound after the other; `gap` in seconds from start to start."""
    out = np.zeros(len(ticks(random, 1.5, 2.8)))
    at, step = 0, random.uniform(*gap)
    while at < len(out):
        part = one()[: len(out) - at]
        out[at : at + len(part)] += part
        at += int(step * random.uniform(0.9, 1.1) * SAMPLE_RATE)
    return out


def burst(random: Generator, seconds: float, low: float, high: float) -> Wave:
    """Noise between two frequencies in hertz that dies away."""
    size = int(seconds * SAMPLE_RATE)
    return noise(random, size, low, high) * np.exp(-np.arange(size) / (0.25 * size))


def throat(random: Generator, start: float, end: float, seconds: float, formants: Wave) -> Wave:
    """A harmonic glide in hertz through resonances, as an animal's throat makes it."""
    size = int(seconds * SAMPLE_RATE)
    ramp = np.linspace(0, 1, size)
    pitch = start + (end - start) * ramp + 8 * np.sin(2 * np.pi * 6 * ramp)
    count = max(3, int(6500 / max(start, end)))
    hertz = np.arange(1, count + 1) * (start + end) / 2
    resonance = np.exp(-(((hertz[:, None] - formants) / (0.25 * formants)) ** 2)).sum(1) + 0.03
    wave = harmonics(sweep(pitch), resonance / np.arange(1, count + 1) ** 0.3)
    voiced: Wave = wave * np.sin(np.pi * ramp**0.7) + 0.05 * noise(random, size, 300, 6000)
    return voiced


def disturbed(wave: NDArray[np.float32], random: Generator) -> NDArray[np.float32]:
    """A recording as it may come otherwise: faster or slower, later, quieter, in a room, in noise.

    Faster is higher too, as on a tape.
    """
    size = int(len(wave) / random.uniform(0.85, 1.18))
    played = np.interp(np.linspace(0, len(wave) - 1, size), np.arange(len(wave)), wave)
    out: Wave = np.concatenate([np.zeros(int(random.uniform(0, 0.2) * SAMPLE_RATE)), played])
    if random.random() < 0.4:
        out = echo(out, random)
    out = out + random.normal(0, 10 ** random.uniform(-4, -2), len(out))
    level = random.uniform(0.2, 0.95) / max(float(np.abs(out).max()), 1e-9)
    return (out * level).astype(np.float32)


def heard_elsewhere(windows: Wave, random: Generator) -> Wave:
    """Log-mel windows [n, 96, 64] as another throat and another microphone would have made them.

    The bands are stretched, as a longer or shorter vocal tract does (Jaitly and Hinton 2013, "Vocal
    tract length perturbation"), and made louder or quieter along a smooth curve.
    """
    bands = np.arange(windows.shape[2])
    stretched = np.clip(bands * random.uniform(0.88, 1.13), 0, bands[-1])
    below = np.minimum(stretched.astype(int), bands[-1] - 1)
    above = stretched - below
    moved = windows[:, :, below] * (1 - above) + windows[:, :, below + 1] * above
    knots = np.linspace(0, bands[-1], 5)
    heard: Wave = moved + np.interp(bands, knots, random.normal(0, 0.5, len(knots)))
    return heard
