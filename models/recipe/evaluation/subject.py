"""A model as it is measured: through the towers and the correction that the service uses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from app.domain.modality import Modality
from app.encoders.cards import pair_of
from app.encoders.checkpoints import WEIGHTS_FILES
from app.encoders.registry import places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from app.encoders.calibration import Gap
    from app.encoders.cards import Logistic
    from app.encoders.registry import Registry
    from app.encoders.towers import Towers
    from models.recipe.corpus import Part

    Vectors = NDArray[np.float32]
    Curves = Mapping[tuple[Modality, Modality], Logistic]

EVERY_KIND = frozenset(Modality)

_IMAGES_AT_ONCE = 32
_TEXTS_AT_ONCE = 64
_WINDOWS_AT_ONCE = 64


def embed(towers: Towers, part: Part, size: int | None = None) -> Vectors:
    """Vectors [n, d] of a part's pictures or sounds as the service corrects them afterwards.

    A picture's is of unit length; a sound's is the mean of its windows' unit vectors. Pictures are
    scaled to `size` pixels a side where the corpus drew them in another size.
    """
    if part.content[0].dtype == np.uint8:
        return _joined(
            towers.encode_images(np.stack([_scaled(one, size) for one in batch]))
            for batch in _batches(part.content, _IMAGES_AT_ONCE)
        )
    counts = [len(windows) for windows in part.content]
    windows = np.concatenate(part.content)
    vectors = _joined(
        towers.encode_audio(batch.astype(np.float32))
        for batch in _batches(windows, _WINDOWS_AT_ONCE)
    )
    return np.stack([one.mean(0) for one in np.split(vectors, np.cumsum(counts)[:-1])])


def embed_texts(towers: Towers, texts: Sequence[str]) -> Vectors:
    """Unit vectors [n, d] of texts, before any correction."""
    return _joined(
        towers.encode_texts(towers.tokenize(batch)) for batch in _batches(texts, _TEXTS_AT_ONCE)
    )


def _batches(rows: Any, size: int) -> list[Any]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _joined(batches: Any) -> Vectors:
    return np.concatenate(list(batches))


def _scaled(pixels: NDArray[np.uint8], size: int | None) -> NDArray[np.uint8]:
    if size is None or pixels.shape[0] == size:
        return pixels
    picture = Image.fromarray(pixels).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(picture)


@dataclass(eq=False)
class Subject:
    """A loaded model; `curves` turn cosines into scores, and are none where nothing is fitted.

    Vectors of a part are made once and kept for as long as the subject.
    """

    name: str
    towers: Towers
    gap: Gap
    kinds: frozenset[Modality] = EVERY_KIND
    curves: Curves | None = None
    image_size: int | None = None
    weights: tuple[Path, ...] = ()
    _seen: dict[int, tuple[Part, Vectors]] = field(default_factory=dict)

    def raw(self, part: Part) -> Vectors:
        """Vectors of pictures or sounds before the correction, [n, d]."""
        if id(part) not in self._seen:
            self._seen[id(part)] = part, embed(self.towers, part, self.image_size)
        return self._seen[id(part)][1]

    def vectors(self, part: Part) -> Vectors:
        """Unit vectors of pictures or sounds as the service stores and compares them, [n, d]."""
        kind = Modality.IMAGE if part.content[0].dtype == np.uint8 else Modality.AUDIO
        return self.gap.close(kind, self.raw(part))

    def raw_texts(self, texts: Sequence[str]) -> Vectors:
        return embed_texts(self.towers, texts)

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors of texts as the service stores and compares them, [n, d]."""
        return self.gap.close(Modality.TEXT, self.raw_texts(texts))


def load_subject(registry: Registry, model_id: str) -> Subject:
    """Load a model of the registry; NotFound, or Unavailable that says what to fetch."""
    entry, calibration = registry.entry(model_id), registry.calibration(model_id)
    model = registry.load(model_id)
    card = model.card
    kinds = frozenset(card.types)
    return Subject(
        name=card.id,
        towers=model.towers,
        gap=model.gap,
        kinds=kinds,
        curves={
            pair_of(one, other): calibration.curve(one, other) for one in kinds for other in kinds
        },
        image_size=card.image.size if card.image else None,
        weights=weights_of(places(entry)),
    )


def weights_of(directories: Sequence[Path]) -> tuple[Path, ...]:
    """The weights files of a model, whichever of its directories they lie in; each name once."""
    found: dict[str, Path] = {}
    for directory in directories:
        for path in sorted(directory.glob("*.safetensors")):
            found.setdefault(path.name, path)
        pickled = directory / WEIGHTS_FILES[1]
        if pickled.is_file() and WEIGHTS_FILES[0] not in found:
            found.setdefault(pickled.name, pickled)
    return tuple(found.values())
