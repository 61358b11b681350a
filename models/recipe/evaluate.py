"""Measuring a model directory on what it was not trained on."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import numpy as np

from app.encoders.calibration import unit
from models.recipe import corpus
from models.recipe.names import article

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from app.encoders.bundled import BundledTowers
    from models.recipe.corpus import Part
    from models.recipe.start import Start

    Vectors = NDArray[np.float32]

SEED = 90_001  # of everything that is rendered or synthesised for measuring


def embed(towers: BundledTowers, part: Part) -> Vectors:
    """Unit vectors [n, d] of a part's pictures or sounds, before any correction."""
    if part.content[0].dtype == np.uint8:
        return towers.encode_images(np.stack(part.content))
    counts = [len(windows) for windows in part.content]
    vectors = towers.encode_audio(np.concatenate(part.content).astype(np.float32))
    ends = np.cumsum(counts)[:-1]
    return unit(np.stack([one.mean(0) for one in np.split(vectors, ends)]))


def embed_texts(towers: BundledTowers, texts: Sequence[str]) -> Vectors:
    """Unit vectors [n, d] of texts, before any correction."""
    return towers.encode_texts(towers.tokenize(texts))


def recall(found: Vectors, names: Vectors, truth: Sequence[int], top: int) -> float:
    """The share of examples whose true name is among the `top` nearest names."""
    scores = found @ names.T
    own = scores[np.arange(len(truth)), list(truth)]
    return float(((scores > own[:, None]).sum(1) < top).mean())


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Rank correlation; ties do not occur among cosines."""
    first, second = (np.argsort(np.argsort(values)).astype(np.float64) for values in (one, other))
    return float(np.corrcoef(first, second)[0, 1])


def evaluate(towers: BundledTowers, kit: Path, begin: Start) -> dict[str, float]:
    """Every figure that the card shows."""
    figures: dict[str, float] = {}
    clothes = corpus.clothing(kit, ("test",))
    figures["clothing, zero-shot over 10 names"] = _zero_shot(towers, clothes, "a photo of {}")
    figures["grocery, zero-shot over coarse names"] = _grocery(towers, kit)
    unseen = corpus.emoji(kit, SEED, 1)
    names = sorted(set(unseen.groups))
    vectors = embed_texts(towers, names)
    truth = [names.index(group) for group in unseen.groups]
    figures["emoji in an unseen rendering, R@5"] = recall(embed(towers, unseen), vectors, truth, 5)
    rendered = corpus.counted_scenes(SEED, 500)
    said = embed_texts(towers, [captions[0] for captions in rendered.captions])
    places = list(range(len(rendered)))
    figures["colour, count and shape, R@1 of 500"] = recall(
        embed(towers, rendered), said, places, 1
    )
    for held_out, speakers in ((False, "known speakers"), (True, "an unseen speaker")):
        digits = corpus.digits(kit, ("test",), held_out=held_out)
        figures[f"human digits of {speakers}, R@1 of 10"] = _spoken(towers, digits, 1)
    figures["spoken words in unseen voices, R@5 of 500"] = _spoken(
        towers, corpus.spoken_words(kit, corpus.TEST_VOICES, 500), 5
    )
    sounds = corpus.sounds(SEED, 5)
    kinds = sorted(set(sounds.groups))
    truth = [kinds.index(group) for group in sounds.groups]
    heard = embed(towers, sounds)
    figures["synthesised sounds to text, R@3 of 32"] = recall(
        heard, embed_texts(towers, kinds), truth, 3
    )
    figures["synthesised sounds, same kind among the nearest 3"] = _same_kind(heard, truth)
    figures["photos, top ImageNet class as at the start"] = _agreement(towers, begin, clothes)
    figures["texts, Spearman with the start"] = _texts(towers, begin, kit)
    return figures | speed(towers)


def _zero_shot(towers: BundledTowers, part: Part, template: str) -> float:
    names = sorted(set(part.groups))
    said = embed_texts(towers, [template.format(article(name)) for name in names])
    return recall(embed(towers, part), said, [names.index(group) for group in part.groups], 1)


def _grocery(towers: BundledTowers, kit: Path) -> float:
    part = corpus.grocery(kit, ("test",))
    coarse = [captions[1] for captions in part.captions]
    names = sorted(set(coarse))
    said = embed_texts(towers, [f"a photo of {article(name)}" for name in names])
    return recall(embed(towers, part), said, [names.index(name) for name in coarse], 1)


def _spoken(towers: BundledTowers, part: Part, top: int) -> float:
    words = sorted({captions[0] for captions in part.captions})
    said = embed_texts(towers, words)
    truth = [words.index(captions[0]) for captions in part.captions]
    return recall(embed(towers, part), said, truth, top)


def _same_kind(vectors: Vectors, kinds: Sequence[int]) -> float:
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -2)
    nearest = np.argsort(-scores, axis=1)[:, :3]
    return float((np.asarray(kinds)[nearest] == np.asarray(kinds)[:, None]).mean())


def _agreement(towers: BundledTowers, begin: Start, part: Part) -> float:
    """Of photos, how many are nearest to the same class name as under the analytic start."""
    names = begin.image_names.numpy()
    now = embed(towers, part) @ names.T
    then = begin.image_vectors(part.content).numpy() @ names.T
    return float((now.argmax(1) == then.argmax(1)).mean())


def _texts(towers: BundledTowers, begin: Start, kit: Path) -> float:
    """Likeness of 1,000 varied pairs of texts, against the original sentence model's."""
    source = random.Random(SEED)
    texts = sorted(
        {
            text
            for part in (corpus.grocery(kit, ("test",)), corpus.emoji(kit, SEED, 1))
            for captions in part.captions
            for text in captions
        }
    )
    texts += [f"{source.choice(OPENINGS)} {text}" for text in source.sample(texts, 500)]
    left, right = source.sample(texts, 1000), source.sample(texts, 1000)
    # Half of the pairs are near to each other: unrelated pairs alone would be noise to rank.
    right[:500] = [f"{source.choice(OPENINGS)} {text}" for text in left[:500]]
    cosines = []
    for encode in (lambda t: embed_texts(towers, t), begin.original_texts):
        one, other = encode(left), encode(right)
        cosines.append((one * other).sum(1).astype(np.float64))
    return spearman(cosines[0], cosines[1])


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


def speed(towers: BundledTowers) -> dict[str, float]:
    """Images a second, milliseconds a short query, seconds of audio a second."""
    pixels = np.random.default_rng(0).integers(0, 256, (16, 225, 225, 3), dtype=np.uint8)
    wave = np.random.default_rng(0).normal(0, 0.1, 60 * 16_000).astype(np.float32)
    return {
        "images a second": 16 / _seconds(lambda: towers.encode_images(pixels)),
        "milliseconds a short query": 1000
        * _seconds(lambda: embed_texts(towers, ["a red guitar on a sofa"])),
        "times real time, audio": 60
        / _seconds(lambda: towers.encode_audio(towers.audio_windows(wave))),
    }


def _seconds(work: Callable[[], object]) -> float:
    """The best of some runs: what else the machine does only ever adds."""
    times = []
    for _ in range(7):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)
