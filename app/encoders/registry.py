"""Which models there are, which could be loaded, and the loading itself."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.domain.modality import Modality
from app.encoders.calibration import Calibration, Gap
from app.encoders.cards import CARD_FILE, Card, Loader, read_card
from app.encoders.checkpoints import (
    CONFIG_FILE,
    PROJECTOR_FILE,
    card_of_checkpoint,
    find_checkpoint,
)
from app.encoders.memory import give_memory_back, keep_memory
from app.errors import InvalidInput, NotFound, Unavailable, Violation
from app.settings import ROOT, Device

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    from numpy.typing import NDArray

    from app.encoders.towers import Towers
    from app.settings import ModelSettings

    Load = Callable[["Entry", str, ModelSettings], Towers]

SHIPPED = ROOT / "models"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """A model that may be loaded: its card, where that lies, and where its weights may lie."""

    card: Card
    home: Path
    directories: tuple[Path, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A loaded model."""

    card: Card
    towers: Towers
    gap: Gap

    def finish(self, modality: Modality, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn what a tower made, float32 [n, d], into what is stored and compared."""
        return self.gap.close(modality, vectors)


class Registry:
    """The models below the models directories: the operator's, then those that are shipped.

    A card in the operator's directory replaces the shipped one of that id; weights for a shipped
    card may lie in either. A checkpoint in OpenCLIP's layout needs no card.
    """

    def __init__(
        self, settings: ModelSettings, loaders: Mapping[Loader, Load] | None = None
    ) -> None:
        """Read every card; InvalidInput names all that are wrong."""
        self._settings = settings
        self._loaders = LOADERS if loaders is None else loaders
        self._roots = tuple(dict.fromkeys((settings.directory, SHIPPED)))
        self._entries: dict[str, Entry] = {}
        self._calibrations: dict[str, Calibration] = {}
        self.refresh()

    def refresh(self) -> None:
        """Read the directories again, so that a model dropped in is known without a restart."""
        homes: dict[str, Path] = {}
        for marker in (CARD_FILE, CONFIG_FILE):
            for root in self._roots:
                for path in sorted(root.glob(f"*/{marker}")):
                    homes.setdefault(path.parent.name, path.parent)
        entries: dict[str, Entry] = {}
        violations: list[Violation] = []
        for name, home in homes.items():
            try:
                entries[name] = self._entry(name, home)
            except InvalidInput as error:
                violations.extend(error.violations)
        if violations:
            raise InvalidInput(violations)
        self._entries = entries
        self._calibrations = {name: Calibration(entry.card) for name, entry in entries.items()}

    def cards(self) -> list[Card]:
        """Every card, the default model's first, the others by name."""
        default = self._settings.default
        return sorted(
            (e.card for e in self._entries.values()), key=lambda c: (c.id != default, c.id)
        )

    def entry(self, model_id: str) -> Entry:
        """Raise NotFound if there is no such model."""
        try:
            return self._entries[model_id]
        except KeyError:
            raise NotFound("model", model_id) from None

    def calibration(self, model_id: str) -> Calibration:
        self.entry(model_id)
        return self._calibrations[model_id]

    def available(self, model_id: str) -> bool:
        """Tell whether the weights are on this machine, without loading them."""
        entry = self.entry(model_id)
        match entry.card.loader:
            case Loader.BUNDLED:
                return all((entry.home / f"{m}.safetensors").is_file() for m in entry.card.types)
            case Loader.OPENCLIP:
                return find_checkpoint(places(entry)) is not None and _hears(entry)

    def load(self, model_id: str) -> Model:
        """Load a model; blocks for seconds. Unavailable says what is missing and how to mend it."""
        entry = self.entry(model_id)
        card = entry.card
        started = time.perf_counter()
        device = self._device()
        towers = self._loaders[card.loader](entry, device, self._settings)
        if towers.dimensions != card.dimensions:
            raise Unavailable(
                "model",
                f"the model {card.id} has {towers.dimensions} dimensions, "
                f"but its card says {card.dimensions}",
            )
        gap = Gap.read(entry.home, card.dimensions)
        give_memory_back()  # loading takes a second copy of the weights for a while
        if device == "cpu":
            keep_memory()
        log.info("loaded the model %s in %.1f s", card.id, time.perf_counter() - started)
        return Model(card, towers, gap)

    def _entry(self, name: str, home: Path) -> Entry:
        has_card = (home / CARD_FILE).is_file()
        card = read_card(home) if has_card else card_of_checkpoint(home)
        base = card.openclip.base if card.openclip else None
        names = (name,) if base is None else (base, name)
        return Entry(card, home, tuple(root / each for each in names for root in self._roots))

    def _device(self) -> str:
        device = self._settings.device
        if device is Device.CPU or (device is Device.AUTO and not _may_have_cuda()):
            return "cpu"
        import torch  # noqa: PLC0415 (two seconds and 480 MB, which no model may need)

        if torch.cuda.is_available():
            return "cuda"
        if device is Device.CUDA:
            raise Unavailable(
                "model", "OMNIVEC_DEVICE is cuda, but PyTorch finds no CUDA device; use auto or cpu"
            )
        return "cpu"


def _may_have_cuda() -> bool:
    """Tell whether there is a driver at all, NVIDIA's or AMD's, without importing PyTorch."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return Path("/dev/kfd").exists()
    return True


def places(entry: Entry) -> tuple[Path, ...]:
    """Every directory that may hold weights of a model, the hub's cache last."""
    return (*dict.fromkeys((entry.home, *entry.directories)), *_hub_snapshots(entry.card))


def _hears(entry: Entry) -> bool:
    """Tell whether a checkpoint's audio tower is there, if its card has one."""
    return Modality.AUDIO not in entry.card.types or all(
        (entry.home / name).is_file() for name in (f"{Modality.AUDIO}.safetensors", PROJECTOR_FILE)
    )


def _hub_snapshots(card: Card) -> list[Path]:
    """Where the Hugging Face cache keeps the card's repository, if it was ever fetched."""
    if card.openclip is None or card.openclip.hub is None:
        return []
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    return sorted(cache.glob(f"models--{card.openclip.hub.replace('/', '--')}/snapshots/*"))


def _use_threads(settings: ModelSettings) -> None:
    import torch  # noqa: PLC0415

    if settings.threads:
        torch.set_num_threads(settings.threads)


def _load_bundled(entry: Entry, device: str, settings: ModelSettings) -> Towers:
    from app.encoders.bundled import load_bundled  # noqa: PLC0415

    return load_bundled(
        entry.home, device=device, precision=settings.precision, threads=settings.threads
    )


def _load_openclip(entry: Entry, device: str, settings: ModelSettings) -> Towers:
    from app.encoders.openclip import load_openclip  # noqa: PLC0415 (imports two seconds' worth)

    _use_threads(settings)
    towers = load_openclip(
        entry.card, entry.directories, device=device, precision=settings.precision
    )
    if Modality.AUDIO not in entry.card.types:
        return towers
    from app.encoders.aligned import with_ears  # noqa: PLC0415

    return with_ears(towers, entry.home, device, settings.threads)


LOADERS: Mapping[Loader, Load] = {
    Loader.BUNDLED: _load_bundled,
    Loader.OPENCLIP: _load_openclip,
}
