"""Giving an image and text checkpoint ears: a projector from the bundled space into its own.

Text is the pivot (C-MCR, arXiv 2305.14381; Ex-MCR, arXiv 2310.08884): sounds and texts lie beside
each other in the bundled space, texts and images in the checkpoint's. The projector learns to take
a sound's vector, and that of its caption, to where the checkpoint puts the caption. Each space's
means are subtracted first, so that it learns directions and not the gap between kinds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.domain.modality import Modality
from app.encoders.aligned import PROBE, Projector
from app.encoders.calibration import unit
from app.errors import InvalidInput
from models.recipe.evaluation.measures import concept_recall
from models.recipe.evaluation.subject import embed_texts
from models.recipe.fit import balanced_mean, calibrate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.encoders.registry import Model
    from app.encoders.towers import Towers
    from models.recipe.corpus import Part
    from models.recipe.evaluation.subject import Vectors

LEAST_PAIRS = 10
HELD_OUT = 5  # every fifth recording is kept for fitting and measuring
BATCH = 256
TEMPERATURE = 0.05
NOISE = 0.02  # of an input's length; so that near inputs go to the same place
TOPS = (1, 5)


@dataclass(frozen=True)
class Aligned:
    """A projector and what was fitted and measured on recordings that it did not learn from."""

    projector: Projector
    mean: Vectors
    curves: dict[str, dict[str, float]]
    figures: dict[str, float]


def align(
    base: Model,
    bundled: Model,
    part: Part,
    *,
    steps: int,
    seed: int,
    say: Callable[[str], None],
) -> Aligned:
    """Train a projector on recordings with captions; InvalidInput if they are too few."""
    captions = sorted({text for texts in part.captions for text in texts})
    if len(part) < LEAST_PAIRS or len(captions) < 2:
        message = (
            f"{len(part)} recordings with {len(captions)} captions are too few to learn from: "
            f"at least {LEAST_PAIRS} with two captions are needed"
        )
        raise InvalidInput.at(("pairs",), message)
    say(f"listening to {len(part)} recordings with {len(captions)} captions")
    torch.manual_seed(seed)
    lesson = _lesson(base, bundled, part, captions)
    held = held_out(part, seed)
    trained = sorted(set(range(len(part))) - set(held))
    projector = Projector(bundled.towers.dimensions, base.towers.dimensions)
    _install(projector, base.towers, bundled)
    _train(projector, lesson, trained, steps, np.random.default_rng(seed), say)
    return _finish(projector, base, lesson, part, held)


@dataclass(frozen=True)
class Lesson:
    """`heard[i]` [windows, f] and `read` [captions, f]: inputs, gap closed; `goals`: [captions, d].

    `fits[i]` are the rows of recording i's captions.
    """

    heard: list[Tensor]
    read: Tensor
    goals: Tensor
    captions: list[str]
    fits: list[list[int]]


def _lesson(base: Model, bundled: Model, part: Part, captions: list[str]) -> Lesson:
    heard = []
    for windows in part.content:
        vectors = bundled.towers.encode_audio(windows.astype(np.float32))
        heard.append(torch.from_numpy(bundled.finish(Modality.AUDIO, vectors)))
    read = bundled.finish(Modality.TEXT, embed_texts(bundled.towers, captions))
    written = embed_texts(base.towers, captions)
    closed = base.finish(Modality.TEXT, written)
    rows = {text: row for row, text in enumerate(captions)}
    return Lesson(
        heard,
        torch.from_numpy(read),
        # Where the checkpoint has no mean of texts, that of the captions stands in for it.
        torch.from_numpy(unit(closed - closed.mean(0))),
        captions,
        [[rows[text] for text in texts] for texts in part.captions],
    )


def _install(projector: Projector, base: Towers, bundled: Model) -> None:
    """Keep with the projector what it needs to know of both spaces."""
    mean = bundled.gap.mean(Modality.AUDIO)
    if mean is not None:
        projector.mean.copy_(torch.from_numpy(mean))
    projector.probe.copy_(torch.from_numpy(base.encode_texts(base.tokenize([PROBE]))[0]))


def held_out(part: Part, seed: int) -> list[int]:
    """Every fifth recording, of each group as far as it has so many."""
    order = list(range(len(part)))
    random.Random(seed).shuffle(order)
    order.sort(key=lambda row: part.groups[row])
    return sorted(order[HELD_OUT - 1 :: HELD_OUT])


def _train(
    projector: Projector,
    lesson: Lesson,
    rows: Sequence[int],
    steps: int,
    source: np.random.Generator,
    say: Callable[[str], None],
) -> None:
    optimiser = torch.optim.AdamW(projector.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 2e-3, max(2, steps))
    taught = sorted({row for each in rows for row in lesson.fits[each]})
    for step in range(steps):
        chosen = source.choice(rows, min(BATCH, len(rows)), replace=False)
        texts = [int(source.choice(lesson.fits[row])) for row in chosen]
        said = source.choice(taught, min(BATCH, len(taught)), replace=False)
        owned = [set(lesson.fits[row]) for row in chosen]
        fits = torch.tensor([[text in known for text in texts] for known in owned])
        heard = project(projector, [_noisy(lesson.heard[row]) for row in chosen])
        read = functional.normalize(projector(_noisy(lesson.read[said])), dim=1)
        loss = _loss(heard, lesson.goals[texts], fits)
        loss = loss + _loss(read, lesson.goals[said], torch.eye(len(said), dtype=torch.bool))
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            say(f"step {step + 1} of {steps}: loss {loss.item():.3f}")
    projector.requires_grad_(requires_grad=False)


def project(projector: Projector, heard: Sequence[Tensor]) -> Tensor:
    """Unit vectors [n, d] of recordings' windows [windows, f], pooled as the service pools them."""
    vectors = functional.normalize(projector(torch.cat(list(heard))), dim=1)
    means = [part.mean(0) for part in torch.split(vectors, [len(each) for each in heard])]
    return functional.normalize(torch.stack(means), dim=1)


def _noisy(vectors: Tensor) -> Tensor:
    scale = NOISE / vectors.shape[1] ** 0.5
    return functional.normalize(vectors + scale * torch.randn_like(vectors), dim=1)


def _loss(vectors: Tensor, goals: Tensor, fits: Tensor) -> Tensor:
    """InfoNCE both ways, where all that fits is a match, and the distance to the goal."""
    logits = vectors @ goals.T / TEMPERATURE
    targets = fits.float()
    contrast = [
        -(t / t.sum(1, keepdim=True) * scores.log_softmax(1)).sum(1).mean()
        for t, scores in ((targets, logits), (targets.T, logits.T))
    ]
    return (contrast[0] + contrast[1]) / 2 + (1 - (vectors * goals).sum(1)).mean()


@torch.no_grad()
def _finish(
    projector: Projector, base: Model, lesson: Lesson, part: Part, held: Sequence[int]
) -> Aligned:
    """Fit the sounds' mean and curves without every second recording kept apart; measure on it."""
    heard = [functional.normalize(projector(each), dim=1).mean(0).numpy() for each in lesson.heard]
    vectors = np.stack(heard).astype(np.float32)
    measured = list(held[1::2])
    others = sorted(set(range(len(part))) - set(measured))
    mean = balanced_mean(vectors[others], [part.groups[row] for row in others])
    closed = unit(vectors - mean)
    known = {name: number for number, name in enumerate(dict.fromkeys(part.groups))}
    groups = np.array([known[part.groups[row]] for row in held])
    said = base.finish(
        Modality.TEXT, embed_texts(base.towers, [part.captions[row][0] for row in held])
    )
    curves = calibrate(
        {"audio": closed[list(held)], "text": said}, {"audio": groups, "text": groups}
    )
    names = {
        text: group
        for texts, group in zip(part.captions, part.groups, strict=True)
        for text in texts
    }
    gallery = base.finish(Modality.TEXT, embed_texts(base.towers, list(names)))
    asked = [part.groups[row] for row in measured]
    found = concept_recall(closed[measured], asked, gallery, list(names.values()), TOPS)
    return Aligned(
        projector,
        mean,
        {pair: curve for pair, curve in curves.items() if "audio" in pair.split("-")},
        {
            f"sounds that were kept apart to text, R@{top} of {len(names)}": value
            for top, value in zip(TOPS, found, strict=True)
        },
    )
