"""What finding recordings by their segments finds, and what it should not, for each discount.

    python -m tests.bench.bench_segment_recall [--recordings 60] [--json FILE]

Short synthesised sounds of every kind, and recordings of many sounds of one to three kinds with two
sounds of yet another among them. Queries are the kinds' names. The baseline is a recording's own
vector; "false" counts those without the sound that score above 0.5, as do short sounds of other
kinds. Last, how often the segment that is told lies within the sound that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.domain.modality import Modality
from app.encoders.recordings import Recording
from app.encoders.registry import Registry
from app.settings import ModelSettings
from models.recipe.sounds import KINDS, synthesise
from tests.bench.reporting import Report, arguments

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.domain.segments import Segment
    from app.encoders.registry import Model

    Floats = NDArray[np.float32]

SHORT_EACH = 4
DISCOUNTS = (0.0, 0.25, 0.5, 1.0)
NAMES = [kind.captions[0] for kind in KINDS]


@dataclass(frozen=True)
class Sound:
    """`kinds` are what is heard in it, `rare` what is heard from `start` to `end` alone."""

    whole: Floats
    parts: Floats
    spans: tuple[Segment, ...]
    kinds: frozenset[int]
    rare: int = -1
    start: float = 0.0
    end: float = 0.0


def heard(model: Model, samples: Floats) -> tuple[Floats, Floats, tuple[Segment, ...]]:
    tower = model.card.audio
    assert tower is not None
    recording = Recording(samples, tower, 16)
    while not recording.finished:
        recording.add(model.towers.encode_audio(recording.cut(model.towers, 16)))
    means, _ = recording.pooled()
    vectors = model.finish(Modality.AUDIO, means)
    return vectors[0], vectors[1:] if len(vectors) > 1 else vectors, recording.spans()


def short(model: Model, kind: int, random: np.random.Generator) -> Sound:
    return Sound(*heard(model, synthesise(KINDS[kind], random)), frozenset({kind}))


def long(model: Model, random: np.random.Generator) -> Sound:
    *common, rare = random.choice(len(KINDS), random.integers(2, 5), replace=False).tolist()
    clips = [
        synthesise(KINDS[random.choice(common)], random) for _ in range(random.integers(15, 60))
    ]
    place = int(random.integers(len(clips)))
    rest = [synthesise(KINDS[rare], random) for _ in range(2)]
    samples = np.concatenate([*clips[:place], *rest, *clips[place:]])
    tower = model.card.audio
    assert tower is not None
    start = sum(map(len, clips[:place])) / tower.sample_rate
    end = start + sum(map(len, rest)) / tower.sample_rate
    return Sound(*heard(model, samples), frozenset({*common, rare}), rare, start, end)


def mean_average_precision(scores: NDArray[np.float64], related: NDArray[np.bool_]) -> float:
    """Return the mean over the queries, which are columns."""
    precisions = []
    for column, hits in zip(scores.T, related.T, strict=True):
        ranked = hits[np.argsort(-column, kind="stable")]
        precisions.append((np.cumsum(ranked) / np.arange(1, len(ranked) + 1))[ranked].mean())
    return float(np.mean(precisions))


def told(sound: Sound, queries: Floats) -> bool:
    best = sound.spans[int((sound.parts @ queries[sound.rare]).argmax())]
    return sound.start <= (best.start + best.end) / 2 <= sound.end


def measure(report: Report, recordings: int) -> None:
    model = Registry(ModelSettings()).load(ModelSettings().default)
    curve = (
        Registry(ModelSettings()).calibration(model.card.id).curve(Modality.TEXT, Modality.AUDIO)
    )
    queries = model.finish(Modality.TEXT, model.towers.encode_texts(model.towers.tokenize(NAMES)))
    random = np.random.default_rng(5)
    sounds = [short(model, kind, random) for kind in range(len(KINDS)) for _ in range(SHORT_EACH)]
    sounds += [long(model, random) for _ in range(recordings)]
    related = np.array([[kind in sound.kinds for kind in range(len(KINDS))] for sound in sounds])
    wholes = np.stack([sound.whole for sound in sounds])
    base = (curve.slope * (wholes @ queries.T) + curve.intercept).astype(np.float64)
    best = np.stack([(sound.parts @ queries.T).max(axis=0) for sound in sounds])
    counts = np.array([len(sound.parts) for sound in sounds])[:, None]
    few, many = slice(None, -recordings), slice(-recordings, None)

    def note(name: str, logits: NDArray[np.float64]) -> None:
        precision, alone = (mean_average_precision(each, related) for each in (logits, base))
        report.ratio(f"{name}, mean average precision", precision, alone, "")
        above, matching = logits[many] > 0, related[many]
        report.note(f"{name}, recordings with the sound above 0.5", above[matching].mean(), "")
        report.note(f"{name}, recordings without it above 0.5", above[~matching].mean(), "")

    note("own vector alone", base)
    for discount in DISCOUNTS:
        logits = curve.slope * best + curve.intercept - discount * np.log(counts)
        note(f"discount {discount}", np.maximum(base, logits))
    above = base[few] > 0
    report.note("short sounds of the kind above 0.5", above[related[few]].mean(), "")
    report.note("short sounds of other kinds above 0.5", above[~related[few]].mean(), "")
    places = [told(sound, queries) for sound in sounds[many]]
    report.note("segments told that lie within the sound", float(np.mean(places)), "")


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--recordings", type=int, default=60)
    options = parser.parse_args()
    report = Report("segment_recall")
    measure(report, options.recordings)
    report.write(options.json)


if __name__ == "__main__":
    main()
