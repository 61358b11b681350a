"""Measuring a model on what it was not trained on, as the service would rank."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from app.encoders.calibration import Gap
from app.encoders.cards import Logistic, parse_pair
from app.errors import InvalidInput
from models.recipe.evaluation.examples import Examples
from models.recipe.evaluation.subject import EVERY_KIND, Subject, embed, embed_texts, weights_of
from models.recipe.evaluation.suites import SUITES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from app.encoders.towers import Towers
    from models.recipe.start import Start

__all__ = ["Measured", "embed", "embed_texts", "evaluate", "measure"]


@dataclass
class Measured:
    """A model's figures by name, and the suites that were left out, each with the reason."""

    model: str
    figures: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def measure(
    subject: Subject,
    examples: Examples,
    suites: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> Measured:
    """Measure a model by the named suites, or by all that it and this machine can do.

    What a model cannot do is left out. What a suite needs and this machine has not is left out,
    too, but InvalidInput if the suite was named.
    """
    measured = Measured(subject.name)
    for name in suites or SUITES:
        suite = SUITES[name]
        if reason := suite.unfit(subject):
            measured.left_out[name] = reason
        elif reason := suite.missing(subject, examples):
            if suites:
                raise InvalidInput.at(("suite",), f"the suite {name} {reason}")
            measured.left_out[name] = reason
        else:
            say(f"{subject.name}: {name}, {suite.about}")
            measured.figures |= suite.measure(subject, examples)
    return measured


def evaluate(
    towers: Towers,
    kit: Path,
    begin: Start,
    *,
    gap: Gap | None = None,
    curves: Mapping[str, Mapping[str, float]] | None = None,
    directory: Path | None = None,
) -> dict[str, float]:
    """Every figure that the bundled model's card shows.

    With `gap`, by the corrected vectors that the service ranks. With `curves` as
    `fit.calibrate` returns them, with what scores mean; with the model's `directory`, with its
    size. InvalidInput if the kit or the machine lacks something.
    """
    subject = Subject(
        name="the model",
        towers=towers,
        gap=gap or Gap({}),
        kinds=EVERY_KIND,
        curves=None
        if curves is None
        else {
            parse_pair(pair): Logistic(curve["slope"], curve["intercept"])
            for pair, curve in curves.items()
        },
        weights=weights_of([directory]) if directory else (),
    )
    fit = [name for name, suite in SUITES.items() if suite.unfit(subject) is None]
    return measure(subject, Examples(kit, begin=begin), fit).figures
