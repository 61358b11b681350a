"""How a model ranks across kinds: each direction, a mixed collection, and what scores mean."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from app.domain.modality import Modality
from app.encoders.calibration import unit
from app.encoders.cards import pair_of
from models.recipe.concepts import concepts
from models.recipe.evaluation.measures import concept_recall, share_of_texts
from models.recipe.fit import expected_calibration_error, pairs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from models.recipe.corpus import Part
    from models.recipe.evaluation.examples import Examples
    from models.recipe.evaluation.subject import Subject, Vectors

    Named = tuple[Vectors, list[str]]

TOPS = (1, 5, 10)
MIXED_TOP = 10
WORDS_HEARD = 50  # of the spoken words: more would drown the other sounds


def directions(subject: Subject, examples: Examples) -> dict[str, float]:
    """Recall at 1, 5 and 10 from each kind to each other kind that the model takes."""
    figures: dict[str, float] = {}
    if Modality.IMAGE in subject.kinds:
        shown, said = _shown(subject, examples)
        figures |= _both_ways("image", shown, "text", said)
    if Modality.AUDIO in subject.kinds:
        heard, called = _heard(subject, examples)
        figures |= _both_ways("audio", heard, "text", called)
    if {Modality.IMAGE, Modality.AUDIO} <= subject.kinds:
        sounds, pictures = _of_one_thing(subject, examples)
        figures |= _both_ways("audio", sounds, "image", pictures)
    return figures


def _both_ways(one: str, first: Named, other: str, second: Named) -> dict[str, float]:
    figures = {}
    for source, asked, target, held in ((one, first, other, second), (other, second, one, first)):
        for top, value in zip(TOPS, concept_recall(*asked, *held, TOPS), strict=True):
            figures[f"{source} to {target}, R@{top} of {len(held[1])}"] = value
    return figures


def _shown(subject: Subject, examples: Examples) -> tuple[Named, Named]:
    """A photo or emoji of each concept, and its first caption."""
    parts = [examples.clothes, examples.groceries, examples.emoji]
    names = concepts(parts)
    rows = _first(names)
    vectors = np.concatenate([subject.vectors(part) for part in parts])
    captions = [captions[0] for part in parts for captions in part.captions]
    chosen = [names[row] for row in rows]
    return (vectors[rows], chosen), (subject.texts([captions[row] for row in rows]), chosen)


def _heard(subject: Subject, examples: Examples) -> tuple[Named, Named]:
    """Synthesised sounds, human digits and spoken words, and each thing that they are called."""
    known = dict.fromkeys(captions[0] for captions in examples.words.captions)
    some = set(list(known)[:WORDS_HEARD])
    parts = [examples.sounds, examples.known_speakers, examples.unseen_speaker, examples.words]
    names = concepts(parts)
    vectors = np.concatenate([subject.vectors(part) for part in parts])
    captions = [captions[0] for part in parts for captions in part.captions]
    rows = [
        row
        for row, (caption, part) in enumerate(
            zip(captions, (part for part in parts for _ in part.captions), strict=True)
        )
        if part is not examples.words or caption in some
    ]
    called = {captions[row]: names[row] for row in rows}
    return (
        (vectors[rows], [names[row] for row in rows]),
        (subject.texts(list(called)), list(called.values())),
    )


def _of_one_thing(subject: Subject, examples: Examples) -> tuple[Named, Named]:
    """Sounds and emoji of the same things."""
    sounds, emoji = examples.sounds, examples.emoji
    heard, seen = concepts([sounds]), concepts([emoji])
    both = set(heard) & set(seen)
    rows = [row for row, name in enumerate(heard) if name in both]
    pictures = [row for row in _first(seen) if seen[row] in both]
    return (
        (subject.vectors(sounds)[rows], [heard[row] for row in rows]),
        (subject.vectors(emoji)[pictures], [seen[row] for row in pictures]),
    )


def _first(names: Sequence[str]) -> list[int]:
    """The place of each name's first example."""
    places: dict[str, int] = {}
    for place, name in enumerate(names):
        places.setdefault(name, place)
    return list(places.values())


def mixed(subject: Subject, examples: Examples) -> dict[str, float]:
    """Among matched images and texts, how many texts a text query finds first.

    Near 1 where texts crowd out images whatever they show; below a half where the model is surer
    of which texts do not match than of which images do not.
    """
    assert subject.curves is not None
    parts = [examples.clothes, examples.groceries, examples.emoji]
    rows = _first(concepts(parts))
    captions = [captions for part in parts for captions in part.captions]
    raw_images = np.concatenate([subject.raw(part) for part in parts])[rows]
    raw_texts = subject.raw_texts([captions[row][0] for row in rows])
    raw_queries = subject.raw_texts([captions[row][-1] for row in rows])
    uncorrected = share_of_texts(
        raw_queries @ raw_texts.T, raw_queries @ unit(raw_images).T, MIXED_TOP
    )
    queries, texts = (subject.gap.close(Modality.TEXT, each) for each in (raw_queries, raw_texts))
    images = subject.gap.close(Modality.IMAGE, raw_images)
    to_text = subject.curves[pair_of(Modality.TEXT, Modality.TEXT)]
    to_image = subject.curves[pair_of(Modality.TEXT, Modality.IMAGE)]
    corrected = share_of_texts(
        to_text.slope * (queries @ texts.T) + to_text.intercept,
        to_image.slope * (queries @ images.T) + to_image.intercept,
        MIXED_TOP,
    )
    return {
        f"texts among the {MIXED_TOP} nearest to a text, corrected": corrected,
        f"texts among the {MIXED_TOP} nearest to a text, not corrected": uncorrected,
    }


def calibration(subject: Subject, examples: Examples) -> dict[str, float]:
    """Expected calibration error of each pair of kinds that the model takes."""
    assert subject.curves is not None
    parts: dict[Modality, list[Part]] = {}
    if Modality.IMAGE in subject.kinds:
        parts[Modality.IMAGE] = examples.pictures_for_calibration
    if Modality.AUDIO in subject.kinds:
        parts[Modality.AUDIO] = examples.sounds_for_calibration
    names = {kind: concepts(each) for kind, each in parts.items()}
    vectors = {
        kind: np.concatenate([subject.vectors(part) for part in each])
        for kind, each in parts.items()
    }
    said = [
        captions[number % len(captions)]
        for each in parts.values()
        for part in each
        for number, captions in enumerate(part.captions)
    ]
    names[Modality.TEXT] = [name for each in names.values() for name in each]
    vectors[Modality.TEXT] = subject.texts(said)
    known: dict[str, int] = {}
    groups: dict[Modality, NDArray[np.intp]] = {
        kind: np.array([known.setdefault(name, len(known)) for name in each])
        for kind, each in names.items()
    }
    figures = {}
    for one, other in combinations_with_replacement(sorted(vectors), 2):
        cosines, matches = pairs(
            vectors[one], groups[one], vectors[other], groups[other], same_set=one == other
        )
        curve = subject.curves[pair_of(one, other)]
        scores = 1 / (1 + np.exp(-(curve.slope * cosines + curve.intercept)))
        error = expected_calibration_error(scores, matches)
        figures[f"expected calibration error, {one}-{other}"] = error
    return figures
