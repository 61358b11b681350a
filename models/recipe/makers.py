"""How each kind of everyday sound is made; each call draws another from the kind's ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from app.encoders.audio import SAMPLE_RATE
from models.recipe.waves import burst, harmonics, noise, repeat, sweep, throat, ticks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from models.recipe.waves import Wave


def tone(random: Generator) -> Wave:
    time = ticks(random)
    return np.sin(2 * np.pi * random.uniform(250, 3000) * time)


def static(random: Generator) -> Wave:
    return noise(random, len(ticks(random)), 50, 7900)


def wind(random: Generator) -> Wave:
    time = ticks(random, 2, 3)
    swell = 0.6 + 0.4 * np.sin(2 * np.pi * random.uniform(0.2, 0.7) * time + random.uniform(0, 6))
    return noise(random, len(time), 80, random.uniform(500, 900)) * swell


def waves(random: Generator) -> Wave:
    time = ticks(random, 2.2, 3)
    swell = np.sin(np.pi * random.uniform(0.3, 0.5) * time) ** 2 + 0.1
    return noise(random, len(time), 200, random.uniform(2500, 4500)) * swell


def siren(random: Generator) -> Wave:
    time = ticks(random, 1.8, 3)
    middle, width = random.uniform(700, 1000), random.uniform(200, 400)
    phase = sweep(middle + width * np.sin(2 * np.pi * random.uniform(0.4, 2.5) * time))
    return harmonics(phase, np.array([1, 0.4, 0.25, 0.1]))


def alarm(random: Generator) -> Wave:
    frequency, length = random.uniform(1800, 3200), random.uniform(0.08, 0.18)

    def beep() -> Wave:
        time = np.arange(int(length * SAMPLE_RATE)) / SAMPLE_RATE
        return np.sign(np.sin(2 * np.pi * frequency * time))

    return repeat(random, beep, (2 * length, 3 * length))


def bell(random: Generator) -> Wave:
    frequency, decay = random.uniform(300, 1200), random.uniform(0.5, 1.4)

    def strike() -> Wave:
        time = np.arange(int(2 * SAMPLE_RATE)) / SAMPLE_RATE
        partials = ((0.5, 0.5), (1, 1), (1.19, 0.6), (1.5, 0.5), (2, 0.8), (2.66, 0.4), (3.01, 0.3))
        return sum(
            (
                a * np.exp(-time * r**0.5 / decay) * np.sin(2 * np.pi * frequency * r * time)
                for r, a in partials
            ),
            np.zeros_like(time),
        )

    return repeat(random, strike, (0.7, 1.5))


def phone(random: Generator) -> Wave:
    time = ticks(random, 1.6, 2.6)
    first, second = random.uniform(400, 900), random.uniform(950, 1500)
    warble = np.sin(2 * np.pi * random.uniform(15, 25) * time) > 0
    ring = np.where(warble, np.sin(2 * np.pi * first * time), np.sin(2 * np.pi * second * time))
    return ring * (np.sin(2 * np.pi * random.uniform(0.5, 0.9) * time) > -0.3)


def clock(random: Generator) -> Wave:
    pitch = random.uniform(1500, 4000)
    return repeat(random, lambda: burst(random, 0.02, pitch, pitch + 2500), (0.3, 0.6))


def engine(random: Generator) -> Wave:
    time = ticks(random, 1.5, 2.8)
    rate = random.uniform(35, 110) * (1 + 0.1 * np.sin(2 * np.pi * random.uniform(0.2, 1) * time))
    rumble = harmonics(sweep(rate), 1 / np.arange(1, 16))
    return rumble * (1 + 0.4 * noise(random, len(time), 20, 200)) + 0.2 * noise(
        random, len(time), 80, 1500
    )


def helicopter(random: Generator) -> Wave:
    low = random.uniform(80, 200)
    return repeat(random, lambda: burst(random, 0.07, low, low + 900), (0.07, 0.11))


def bird(random: Generator) -> Wave:
    base = random.uniform(2200, 4500)

    def chirp() -> Wave:
        size = int(random.uniform(0.06, 0.18) * SAMPLE_RATE)
        ramp = np.linspace(0, 1, size)
        bend = random.uniform(-900, 900) * ramp + 300 * np.sin(2 * np.pi * 3 * ramp)
        return np.sin(sweep(base + bend)) * np.sin(np.pi * ramp)

    return repeat(random, chirp, (0.12, 0.35))


def cricket(random: Generator) -> Wave:
    frequency = random.uniform(4000, 5200)

    def trill() -> Wave:
        time = np.arange(int(0.12 * SAMPLE_RATE)) / SAMPLE_RATE
        return np.sin(2 * np.pi * frequency * time) * (np.sin(2 * np.pi * 45 * time) > 0)

    return repeat(random, trill, (0.2, 0.45))


def dog(random: Generator) -> Wave:
    pitch = random.uniform(280, 650)
    formants = np.array([random.uniform(600, 1000), random.uniform(1300, 2000)])

    def bark() -> Wave:
        length = random.uniform(0.12, 0.22)
        size = int(length * SAMPLE_RATE)
        body = throat(random, pitch * 1.25, pitch * 0.75, length, formants)
        rough = float(np.abs(body).max()) * burst(random, length, 400, 3500)
        return body + 0.5 * rough[:size]

    return repeat(random, bark, (0.3, 0.7))


def cat(random: Generator) -> Wave:
    pitch, formants = random.uniform(450, 750), np.array([random.uniform(1000, 1600), 2800.0])
    return repeat(
        random,
        lambda: throat(random, pitch, pitch * random.uniform(0.75, 1.3), 0.7, formants),
        (0.9, 1.4),
    )


def cow(random: Generator) -> Wave:
    pitch = random.uniform(100, 160)
    return throat(random, pitch, pitch * 0.85, random.uniform(1.2, 2.2), np.array([350.0, 800.0]))


def horn(random: Generator) -> Wave:
    time = ticks(random, 0.8, 2)
    base = random.uniform(300, 480)
    weights = 1 / np.arange(1, 9)
    return harmonics(2 * np.pi * base * time, weights) + harmonics(
        2 * np.pi * base * 1.25 * time, weights
    )


def drum(random: Generator) -> Wave:
    base = random.uniform(60, 130)

    def hit() -> Wave:
        time = np.arange(int(0.35 * SAMPLE_RATE)) / SAMPLE_RATE
        thud = np.sin(sweep(base * (1 + 1.5 * np.exp(-time * 30)))) * np.exp(-time * 10)
        return thud + 0.4 * np.pad(burst(random, 0.05, 200, 5000), (0, len(time) - 800))

    return repeat(random, hit, (0.2, 0.6))


def guitar(random: Generator) -> Wave:
    """Plucked strings (Karplus and Strong 1983)."""

    def pluck() -> Wave:
        period = int(SAMPLE_RATE / random.choice([110, 131, 147, 165, 196, 220, 262, 294, 330]))
        rows = int(1.2 * SAMPLE_RATE) // period
        line = random.uniform(-1, 1, period)
        out = []
        for _ in range(rows):
            out.append(line)
            line = 0.498 * (line + np.roll(line, 1))
        return np.concatenate(out)

    return repeat(random, pluck, (0.25, 0.6))


def piano(random: Generator) -> Wave:
    def note() -> Wave:
        frequency = 220 * 2 ** (random.integers(0, 25) / 12)
        time = np.arange(int(0.9 * SAMPLE_RATE)) / SAMPLE_RATE
        weights = 1 / np.arange(1, 9) ** 1.4
        return harmonics(2 * np.pi * frequency * time, weights) * np.exp(-time * 4)

    return repeat(random, note, (0.25, 0.6))


def flute(random: Generator) -> Wave:
    time = ticks(random)
    vibrato = 1 + 0.008 * np.sin(2 * np.pi * random.uniform(4, 6) * time)
    phase = sweep(random.uniform(500, 1300) * vibrato)
    return harmonics(phase, np.array([1, 0.3, 0.1])) + 0.06 * noise(random, len(time), 1500, 6000)


def applause(random: Generator) -> Wave:
    clapping = np.zeros(2 * SAMPLE_RATE)
    for _ in range(12):
        clapping += scattered(random, lambda: burst(random, 0.03, 700, 5000))
    return clapping


def scattered(random: Generator, one: Callable[[], Wave]) -> Wave:
    """Two seconds of one person's clapping."""
    out = np.zeros(2 * SAMPLE_RATE)
    for at in np.cumsum(random.uniform(0.12, 0.3, 12)) * SAMPLE_RATE:
        part = one()[: max(0, len(out) - int(at))]
        out[int(at) : int(at) + len(part)] += part
    return out


def footsteps(random: Generator) -> Wave:
    return repeat(random, lambda: burst(random, 0.09, 90, random.uniform(700, 1500)), (0.4, 0.65))


def knock(random: Generator) -> Wave:
    pitch = random.uniform(180, 420)
    return repeat(random, lambda: burst(random, 0.06, pitch, pitch * 3), (0.16, 0.26))


def drip(random: Generator) -> Wave:
    def drop() -> Wave:
        time = np.arange(int(0.12 * SAMPLE_RATE)) / SAMPLE_RATE
        return np.sin(sweep(random.uniform(700, 1300) * (1 + 6 * time))) * np.exp(-time * 40)

    return repeat(random, drop, (0.25, 0.7))


def rain(random: Generator) -> Wave:
    hiss = noise(random, 2 * SAMPLE_RATE, 1000, 7500)
    drops = (random.random(2 * SAMPLE_RATE) < 0.004) * random.uniform(1, 4, 2 * SAMPLE_RATE)
    return hiss + np.convolve(drops, np.exp(-np.arange(80) / 15), mode="same")


def thunder(random: Generator) -> Wave:
    time = ticks(random, 2, 3)
    return noise(random, len(time), 25, random.uniform(150, 350)) * np.exp(-time * 0.9)


def heart(random: Generator) -> Wave:
    def beat() -> Wave:
        out = np.zeros(int(0.5 * SAMPLE_RATE))
        for at, level in ((0, 1.0), (0.22, 0.7)):
            time = np.arange(int(0.12 * SAMPLE_RATE)) / SAMPLE_RATE
            start = int(at * SAMPLE_RATE)
            out[start : start + len(time)] += (
                level * np.sin(2 * np.pi * 55 * time) * np.exp(-time * 25)
            )
        return out

    return repeat(random, beat, (0.7, 1.1))


def whistle(random: Generator) -> Wave:
    time = ticks(random, 0.8, 2)
    trill = 1 + 0.04 * np.sin(2 * np.pi * random.uniform(20, 40) * time)
    return np.sin(sweep(random.uniform(2200, 3400) * trill))


def explosion(random: Generator) -> Wave:
    time = ticks(random, 1.2, 2.2)
    return noise(random, len(time), 30, 3500) * np.exp(-time * random.uniform(3, 6))


def laser(random: Generator) -> Wave:
    def zap() -> Wave:
        time = np.arange(int(0.25 * SAMPLE_RATE)) / SAMPLE_RATE
        return np.sin(sweep(random.uniform(2500, 4500) * np.exp(-time * 10)))

    return repeat(random, zap, (0.3, 0.6))


def morse(random: Generator) -> Wave:
    frequency = random.uniform(500, 900)

    def mark() -> Wave:
        time = np.arange(int(random.choice([0.06, 0.18]) * SAMPLE_RATE)) / SAMPLE_RATE
        return np.sin(2 * np.pi * frequency * time)

    return repeat(random, mark, (0.14, 0.24))
