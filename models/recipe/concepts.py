"""What examples of different sources are about, so that a sound may match a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models.recipe.corpus import Part

# The kinds of synthesised sounds (their first captions), as the emoji of the same thing is called.
OF_SOUNDS = {
    "wind blowing": "wind face",
    "ocean waves": "water wave",
    "a siren": "police car",
    "an alarm beeping": "alarm clock",
    "a bell ringing": "bell",
    "a telephone ringing": "telephone",
    "a clock ticking": "mantelpiece clock",
    "an engine running": "racing car",
    "a helicopter": "helicopter",
    "a bird chirping": "bird",
    "a cricket chirping": "cricket",
    "a dog barking": "dog",
    "a cat meowing": "cat",
    "a cow mooing": "cow",
    "a car horn": "automobile",
    "a drum beat": "drum with drumsticks",
    "a guitar": "guitar",
    "a piano": "musical keyboard",
    "a flute": "flute",
    "applause": "clapping hands sign",
    "footsteps": "footprints",
    "a knock on the door": "door",
    "dripping water": "droplet",
    "rain": "cloud with rain",
    "thunder": "thunder cloud and rain",
    "a heartbeat": "beating heart",
}


def concept(source: str, group: str) -> str:
    """Name what an example is about; examples of one concept match whatever their kind."""
    if source in {"digits", "speech"}:
        return group.removeprefix("said ")
    if source == "sounds":
        return OF_SOUNDS.get(group, group)
    return group


def concepts(parts: Iterable[Part]) -> list[str]:
    """What each example of some parts is about, in their order."""
    return [concept(part.source, group) for part in parts for group in part.groups]
