"""What is left of the networks that the bundled model began with."""

from __future__ import annotations

import random
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import timm
import torch
from safetensors.torch import load_file

from app.encoders.calibration import unit
from models.recipe.evaluation.examples import SEED
from models.recipe.evaluation.measures import recall, spearman
from models.recipe.files import labels
from models.recipe.kit import IMAGE_NETWORK, reading
from models.recipe.start import image_classes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.recipe.evaluation.examples import Examples
    from models.recipe.evaluation.subject import Subject, Vectors

PAIRS = 1000
AT_ONCE = 32

OPENINGS = (
    "I am looking for",
    "where can I buy",
    "a drawing of",
    "nobody has seen",
    "the history of",
    "my sister would like",
    "how to cook",
    "a short poem about",
    "the price of",
    "look at",
)


def agreement(subject: Subject, examples: Examples) -> dict[str, float]:
    """Of photos, how many are nearest to the name of the class that the original network says.

    And how many have that name among the nearest five, for the network itself is unsure of many.
    Both are before the correction, which the network has not; the last figure is with it.
    """
    parts = [examples.clothes, examples.groceries]
    network = top_classes(examples.kit, [pixels for part in parts for pixels in part.content])
    truth = [int(number) for number in network]
    name = "photos, the original network's ImageNet class, R@"
    figures = {}
    for suffix, texts_of, vectors_of in (
        ("", subject.raw_texts, subject.raw),
        (", corrected", subject.texts, subject.vectors),
    ):
        names = class_vectors(texts_of, examples.kit)
        photos = unit(np.concatenate([vectors_of(part) for part in parts]))
        for top in (1, 5):
            figures[f"{name}{top}{suffix}"] = recall(photos, names, truth, top)
    return figures


def class_vectors(encode: Callable[[Sequence[str]], Vectors], kit: Path) -> Vectors:
    """ImageNet's 1,000 classes as a text tower puts their names: unit vectors [1000, d]."""
    classes = image_classes(labels(kit, "imagenet"))
    said = sorted({text for weighted in classes for text, _ in weighted})
    vectors = dict(zip(said, encode(said), strict=True))
    rows = [np.sum([w * vectors[text] for text, w in weighted], axis=0) for weighted in classes]
    return unit(np.stack(rows).astype(np.float32))


@torch.no_grad()
def top_classes(kit: Path, photos: Sequence[NDArray[np.uint8]]) -> NDArray[np.intp]:
    """What the network that the image tower began with says, 0 to 999, the background left out."""
    network = _original(kit)
    found = []
    for start in range(0, len(photos), AT_ONCE):
        pixels = torch.from_numpy(np.stack(photos[start : start + AT_ONCE])).permute(0, 3, 1, 2)
        logits = network(pixels.float().div_(127.5).sub_(1.0))
        found.append(logits[:, 1:].argmax(1).numpy())
    return np.concatenate(found)


@cache
def _original(kit: Path) -> torch.nn.Module:
    network: torch.nn.Module = timm.create_model("mobilenetv2_100", num_classes=1001)
    with reading(kit / IMAGE_NETWORK):
        state = load_file(kit / IMAGE_NETWORK)
        network.load_state_dict({name: tensor.float() for name, tensor in state.items()})
    return network.eval().to(memory_format=torch.channels_last)


def texts(subject: Subject, examples: Examples) -> dict[str, float]:
    """Likeness of 1,000 varied pairs of texts, against the original sentence model's.

    Once as the tower makes them, which says what training left, and once as the service ranks.
    """
    left, right = text_pairs(
        {text for part in (examples.groceries, examples.emoji) for c in part.captions for text in c}
    )
    original, tower, corrected = (
        (encode(left) * encode(right)).sum(1).astype(np.float64)
        for encode in (examples.begin.original_texts, subject.raw_texts, subject.texts)
    )
    return {
        "texts, Spearman with the start": spearman(tower, original),
        "texts, Spearman with the start, corrected": spearman(corrected, original),
    }


def text_pairs(captions: set[str]) -> tuple[list[str], list[str]]:
    """Pairs of texts, half of them near to each other: unrelated pairs alone are noise to rank."""
    source = random.Random(SEED)
    said = sorted(captions)
    said += [f"{source.choice(OPENINGS)} {text}" for text in source.sample(said, len(said) // 3)]
    number = min(PAIRS, len(said))
    left, right = source.sample(said, number), source.sample(said, number)
    near = number // 2
    right[:near] = [f"{source.choice(OPENINGS)} {text}" for text in left[:near]]
    return left, right
