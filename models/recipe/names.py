"""What the classes of the two classifiers are called, in words a search would use."""

from __future__ import annotations

import re

# ImageNet's class numbers (the background class of the kit's network not counted) of animals whose
# names rarely say what they are: the kind's word is added to theirs with a small weight.
KINDS: tuple[tuple[str, tuple[tuple[int, int], ...]], ...] = (
    ("fish", ((0, 6), (389, 397))),
    ("bird", ((7, 24), (80, 100), (127, 146))),
    ("frog", ((30, 32),)),
    ("turtle", ((33, 37),)),
    ("lizard", ((38, 48),)),
    ("snake", ((52, 68),)),
    ("spider", ((72, 77),)),
    ("crab", ((118, 121),)),
    ("dog", ((151, 268),)),
    ("fox", ((277, 280),)),
    ("cat", ((281, 285),)),
    ("bear", ((294, 297),)),
    ("beetle", ((300, 307),)),
    ("butterfly", ((321, 326),)),
    ("rabbit", ((330, 332),)),
    ("monkey", ((369, 382),)),
    ("elephant", ((385, 386), (101, 101))),
)
KIND_WEIGHT = 0.5
SYNONYM_WEIGHT = 0.35

# AudioSet names that mislead when read alone, and what the sound is.
SOUND_NAMES = {
    "Bark": ("a dog barking", "dog"),
    "Yip": ("a small dog yipping", "dog"),
    "Howl": ("a dog howling", "dog"),
    "Bow-wow": ("a dog barking", "dog"),
    "Growling": ("a dog growling", "dog"),
    "Whimper (dog)": ("a dog whimpering", "dog"),
    "Purr": ("a cat purring", "cat"),
    "Meow": ("a cat meowing", "cat"),
    "Hiss": ("a cat hissing", "snake hissing"),
    "Caterwaul": ("a cat crying", "cat"),
    "Clip-clop": ("horse hooves clip-clop", "horse"),
    "Neigh, whinny": ("a horse neighing", "horse"),
    "Moo": ("a cow mooing", "cow"),
    "Oink": ("a pig oinking", "pig"),
    "Bleat": ("a sheep bleating", "goat"),
    "Cluck": ("a chicken clucking", "chicken"),
    "Crowing, cock-a-doodle-doo": ("a rooster crowing", "rooster"),
    "Gobble": ("a turkey gobbling", "turkey bird"),
    "Quack": ("a duck quacking", "duck"),
    "Honk": ("a goose honking", "goose"),
    "Roar": ("a lion roaring", "lion"),
    "Chirp, tweet": ("a bird chirping", "bird"),
    "Squawk": ("a bird squawking", "bird"),
    "Coo": ("a pigeon cooing", "pigeon"),
    "Caw": ("a crow cawing", "crow"),
    "Hoot": ("an owl hooting", "owl"),
    "Bird flight, flapping wings": ("a bird flapping its wings", "bird"),
    "Patter": ("mouse patter", "mouse"),
    "Buzz": ("an insect buzzing", "bee"),
    "Croak": ("a frog croaking", "frog"),
    "Rattle": ("a snake rattling", "rattle"),
    "Toot": ("a train or car tooting", "horn"),
    "Reversing beeps": ("a truck reversing with beeps", "truck"),
    "Idling": ("an engine idling", "engine"),
    "Ding": ("a bell ringing, ding", "bell"),
    "Ding-dong": ("a doorbell ringing", "doorbell"),
    "Tick": ("a clock ticking", "clock"),
    "Tick-tock": ("a clock ticking", "clock"),
    "Strum": ("a guitar strum", "guitar"),
    "Pizzicato": ("violin strings plucked", "violin"),
    "Wind": ("wind blowing", "wind"),
    "Fire": ("a fire crackling", "fire"),
    "Crackle": ("a fire crackling", "crackling"),
    "Run": ("someone running", "running"),
    "Fill (with liquid)": ("filling a glass with liquid", "water"),
    "Boiling": ("water boiling", "boiling"),
    "Keys jangling": ("keys jangling", "keys"),
    "Crow": ("a crow cawing", "crow"),
    "Chop": ("chopping wood", "chopping"),
    "Single-lens reflex camera": ("a camera shutter", "camera"),
    "Camera": ("a camera shutter click", "camera"),
}

Weighted = list[tuple[str, float]]


def image_class_texts(label: str, number: int) -> Weighted:
    """Texts that name one ImageNet class, each with a weight; `number` counts from 0."""
    synonyms = [name.strip().replace("_", " ") for name in label.split(",")]
    texts: Weighted = [(synonyms[0], 1.0), (f"a photo of {article(synonyms[0])}", 1.5)]
    texts += [(f"a photo of {article(name)}", SYNONYM_WEIGHT) for name in synonyms[1:4]]
    for kind, ranges in KINDS:
        if any(low <= number <= high for low, high in ranges):
            texts += [(kind, KIND_WEIGHT / 2), (f"a photo of {article(kind)}", KIND_WEIGHT / 2)]
    return texts


def sound_class_texts(label: str) -> Weighted:
    """Texts that name one AudioSet class, each with a weight."""
    if label in SOUND_NAMES:
        heard, source = SOUND_NAMES[label]
        return [(heard, 1.0), (f"the sound of {heard}", 1.0), (source, 0.7), (label.lower(), 0.3)]
    plain = re.sub(r"\s*\(.*?\)", "", label).lower()
    first = plain.split(",")[0].strip()
    return [(plain, 1.0), (first, 0.7), (f"the sound of {first}", 1.0)]


def article(noun: str) -> str:
    """Put "a" or "an" before a noun."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"
