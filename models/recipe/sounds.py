"""Synthesised everyday sounds, 16 kHz mono, each drawn anew from its kind's ranges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models.recipe import makers
from models.recipe.waves import echo

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator
    from numpy.typing import NDArray

    from models.recipe.waves import Wave


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sound: how to make one, and the captions that fit; the first is its name."""

    make: Callable[[Generator], Wave]
    captions: tuple[str, ...]


def synthesise(kind: Kind, random: Generator) -> NDArray[np.float32]:
    """Make one sound of a kind, float32 [samples] in [-1, 1], with some room and noise in it."""
    wave = kind.make(random)
    wave = wave / max(float(np.abs(wave).max()), 1e-9)
    if random.random() < 0.5:
        wave = echo(wave, random)
    wave = wave + random.normal(0, 10 ** random.uniform(-4, -2), len(wave))
    level = random.uniform(0.15, 0.95) / max(float(np.abs(wave).max()), 1e-9)
    return (wave * level).astype(np.float32)


def _kinds() -> tuple[Kind, ...]:
    def kind(make: Callable[[Generator], Wave], *captions: str) -> Kind:
        return Kind(make, captions + tuple(f"the sound of {caption}" for caption in captions[:2]))

    return (
        kind(makers.tone, "a steady tone", "a sine tone", "a beep"),
        kind(makers.static, "white noise", "static", "hiss"),
        kind(makers.wind, "wind blowing", "a howling wind", "wind"),
        kind(makers.waves, "ocean waves", "waves on a beach", "the sea"),
        kind(makers.siren, "a siren", "an ambulance siren", "a police siren"),
        kind(makers.alarm, "an alarm beeping", "an alarm clock", "a smoke alarm"),
        kind(makers.bell, "a bell ringing", "a church bell", "bell"),
        kind(makers.phone, "a telephone ringing", "a ringing phone", "telephone"),
        kind(makers.clock, "a clock ticking", "a ticking watch", "clock"),
        kind(makers.engine, "an engine running", "a car engine", "motor"),
        kind(makers.helicopter, "a helicopter", "helicopter rotor blades", "a helicopter flying"),
        kind(makers.bird, "a bird chirping", "birdsong", "birds singing"),
        kind(makers.cricket, "a cricket chirping", "crickets at night", "cricket insect"),
        kind(makers.dog, "a dog barking", "a dog's bark", "dog"),
        kind(makers.cat, "a cat meowing", "a meow", "cat"),
        kind(makers.cow, "a cow mooing", "a moo", "cow"),
        kind(makers.horn, "a car horn", "honking", "a vehicle horn"),
        kind(makers.drum, "a drum beat", "drums", "drum"),
        kind(makers.guitar, "a guitar", "plucked guitar strings", "an acoustic guitar"),
        kind(makers.piano, "a piano", "someone playing the piano", "piano music"),
        kind(makers.flute, "a flute", "someone playing the flute", "flute music"),
        kind(makers.applause, "applause", "people clapping", "a clapping audience"),
        kind(makers.footsteps, "footsteps", "someone walking", "steps"),
        kind(makers.knock, "a knock on the door", "knocking", "someone knocking"),
        kind(makers.drip, "dripping water", "water drops", "a dripping tap"),
        kind(makers.rain, "rain", "rain falling", "heavy rain"),
        kind(makers.thunder, "thunder", "a thunderstorm", "rolling thunder"),
        kind(makers.heart, "a heartbeat", "a beating heart", "heart sounds"),
        kind(makers.whistle, "a whistle", "a referee's whistle", "whistling"),
        kind(makers.explosion, "an explosion", "a blast", "an explosive boom"),
        kind(makers.laser, "a laser gun", "science fiction laser shots", "laser"),
        kind(makers.morse, "Morse code", "telegraph beeps", "Morse signals"),
    )


KINDS = _kinds()
