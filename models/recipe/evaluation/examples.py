"""What models are measured with: none of it was trained on, each part is made once."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from app.errors import InvalidInput
from models.recipe import corpus
from models.recipe.kit import CLOTHING, DIGITS, EMOJI, GROCERY, missing_from, reading
from models.recipe.start import Start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.recipe.corpus import Part

SEED = 90_001  # of everything that is rendered or synthesised for measuring
SPACE_SEED = 1  # of the analytic start where no model's own is given

SCENES = 500
WORDS = 500
SOUNDS_EACH = 5
# As many of each source as the calibration is fitted on.
CALIBRATION_CLOTHES = 340
CALIBRATION_GROCERIES = 300
CALIBRATION_SCENES = 700
CALIBRATION_SOUNDS_EACH = 20


class Examples:
    """Parts of the corpus for measuring; `kit` is needed by whatever is read from it.

    `limit` bounds the examples of every source, for a quick look: figures of another limit do not
    compare.
    """

    def __init__(
        self, kit: Path | None = None, *, limit: int | None = None, begin: Start | None = None
    ) -> None:
        self._kit = kit
        self._limit = limit
        self._begin = begin

    @property
    def kit(self) -> Path:
        assert self._kit is not None, "suites that need the kit are left out without one"
        return self._kit

    def missing(self, files: tuple[str, ...]) -> list[str]:
        """Which of the kit's files are not there."""
        return list(files) if self._kit is None else missing_from(self._kit, files)

    @property
    def begin(self) -> Start:
        """The networks as they were before any training."""
        if self._begin is None:
            with reading(self.kit):
                self._begin = Start(self.kit, SPACE_SEED)
        return self._begin

    @cached_property
    def clothes(self) -> Part:
        return self._read(CLOTHING, lambda: corpus.clothing(self.kit, ("test",)))

    @cached_property
    def groceries(self) -> Part:
        return self._read(GROCERY, lambda: corpus.grocery(self.kit, ("test",)))

    @cached_property
    def emoji(self) -> Part:
        return self._read(EMOJI, lambda: corpus.emoji(self.kit, SEED, 1))

    @cached_property
    def known_speakers(self) -> Part:
        return self._digits(held_out=False)

    @cached_property
    def unseen_speaker(self) -> Part:
        return self._digits(held_out=True)

    @cached_property
    def words(self) -> Part:
        number = self._at_most(WORDS)
        return self._read(EMOJI, lambda: corpus.spoken_words(self.kit, corpus.TEST_VOICES, number))

    @cached_property
    def counted(self) -> Part:
        return corpus.counted_scenes(SEED, self._at_most(SCENES))

    @cached_property
    def sounds(self) -> Part:
        return self._sounds(SOUNDS_EACH)

    @cached_property
    def pictures_for_calibration(self) -> list[Part]:
        return [
            self.clothes.sample(SEED, CALIBRATION_CLOTHES),
            self.groceries.sample(SEED, CALIBRATION_GROCERIES),
            self.emoji,
            corpus.scenes(SEED, self._at_most(CALIBRATION_SCENES)),
        ]

    @cached_property
    def sounds_for_calibration(self) -> list[Part]:
        return [
            self.unseen_speaker,
            self.words,
            self._sounds(CALIBRATION_SOUNDS_EACH),
        ]

    def _digits(self, *, held_out: bool) -> Part:
        return self._read(DIGITS, lambda: corpus.digits(self.kit, ("test",), held_out=held_out))

    def _sounds(self, each: int) -> Part:
        return corpus.sounds(SEED, self._at_most(each))

    def _at_most(self, number: int) -> int:
        return number if self._limit is None else min(number, self._limit)

    def _read(self, file: str, make: Callable[[], Part]) -> Part:
        """Make a part that comes out of a file of the kit; InvalidInput if that is damaged."""
        with reading(self.kit / file):
            part = make()
        if not part:
            raise InvalidInput.at(("data",), f"{self.kit / file} holds nothing to measure with")
        return part if self._limit is None else part.sample(SEED, self._limit)
