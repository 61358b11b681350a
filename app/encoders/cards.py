"""Model cards: what `models/<id>/card.json` says about a model, and what it may say.

A key that means nothing here is refused: it is a typo.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from app.domain.media import AudioInput, ImageInput, Interpolation, Resize
from app.domain.modality import Modality
from app.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

CARD_FILE = "card.json"

Count = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0)]
ModelId = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


class Metric(StrEnum):
    COSINE = "COSINE"


class Loader(StrEnum):
    BUNDLED = "bundled"
    OPENCLIP = "openclip"


class ImageTower(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the image tower takes; `tokens` is what one image counts: its patches or cells."""

    size: Count
    tokens: Count
    resize: Resize = Resize.CROP
    interpolation: Interpolation = Interpolation.BICUBIC
    fill: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0

    def input(self) -> ImageInput:
        return ImageInput(self.size, self.resize, self.interpolation, self.fill)


class TextTower(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`context_length` counts tokens, the special ones included."""

    context_length: Count


class AudioTower(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Windows of `window_seconds` start every `hop_seconds`; each counts `tokens_per_window`."""

    sample_rate: Count
    window_seconds: Seconds
    hop_seconds: Seconds
    tokens_per_window: Count

    def input(self) -> AudioInput:
        return AudioInput(self.sample_rate)

    def windows(self, samples: int) -> int:
        """Count the windows that a waveform of that many samples has, give or take one."""
        beyond = samples / self.sample_rate - self.window_seconds
        return 1 + max(0, math.ceil(beyond / self.hop_seconds))


class Logistic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """score = 1 / (1 + exp(-(slope * cosine + intercept))); a positive slope keeps it monotonic."""

    slope: Annotated[float, msgspec.Meta(gt=0)]
    intercept: float


class OpenClip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where OpenCLIP finds the checkpoint when no local directory holds it.

    Either `hub`, a repository of the Hugging Face hub in OpenCLIP's layout, or `model` and
    `pretrained` as `open_clip.list_pretrained()` names them. `base` is another model whose local
    directory holds the checkpoint: that of a model that only adds an audio tower to it.
    """

    hub: str | None = None
    model: str | None = None
    pretrained: str | None = None
    base: ModelId | None = None


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A model as `GET /v1/vectors/models` shows it and as the loader needs it."""

    id: ModelId
    name: str
    types: Annotated[tuple[Modality, ...], msgspec.Meta(min_length=1)]
    dimensions: Count
    loader: Loader
    license: str
    description: str = ""
    metric: Metric = Metric.COSINE
    default: bool = False
    image: ImageTower | None = None
    text: TextTower | None = None
    audio: AudioTower | None = None
    calibration: dict[str, Logistic] = {}
    openclip: OpenClip | None = None
    files: dict[str, Any] = {}
    cost: dict[str, float] = {}
    sources: list[Any] = []
    limitations: str | list[str] = ""
    evaluation: dict[str, Any] = {}

    def __post_init__(self) -> None:
        for modality in Modality:
            if (modality in self.types) != (getattr(self, modality) is not None):
                raise ValueError(f"`types` and the part `{modality}` contradict each other")
        if len(set(self.types)) != len(self.types):
            raise ValueError("`types` names a modality twice")
        pairs = [parse_pair(name) for name in self.calibration]
        if len(set(pairs)) != len(pairs):
            raise ValueError("`calibration` names a pair of modalities twice")
        if self.loader is Loader.OPENCLIP and self.openclip is None:
            raise ValueError('a card with `"loader": "openclip"` needs the part `openclip`')
        if self.openclip is not None and self.openclip.base == self.id:
            raise ValueError("`openclip.base` names the model itself")


def pair_of(one: Modality, other: Modality) -> tuple[Modality, Modality]:
    """Order two modalities, so that text-image and image-text are one pair."""
    return (one, other) if one <= other else (other, one)


def parse_pair(name: str) -> tuple[Modality, Modality]:
    """Read "image-text", in either order; ValueError says what it should have been."""
    try:
        one, other = map(Modality, name.split("-"))
    except ValueError:
        raise ValueError(
            f"`calibration` has {name!r}, which is no pair of modalities as `image-text` is one"
        ) from None
    return pair_of(one, other)


def read_card(directory: Path) -> Card:
    """Read `card.json` of a model's directory; InvalidInput names the file and what is wrong."""
    path = directory / CARD_FILE
    try:
        card = msgspec.json.decode(path.read_bytes(), type=Card)
    except (OSError, msgspec.DecodeError) as error:
        raise InvalidInput.at((str(path),), f"{path}: {error}") from error
    if card.id != directory.name:
        raise InvalidInput.at(
            (str(path),), f"{path}: `id` is {card.id!r}, but the directory is {directory.name!r}"
        )
    return card
