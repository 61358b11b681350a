"""Towers, cards and checkpoints that are small enough for a test."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from app.encoders.cards import Loader
from app.encoders.registry import Registry
from app.encoders.service import EncoderService
from app.settings import ModelSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from app.encoders.registry import Entry, Load

DIMENSIONS = 8
SIZE = 4
RATE = 100
WINDOW, HOP = 20, 10  # samples

CARD: dict[str, Any] = {
    "id": "tiny",
    "name": "Tiny",
    "types": ["image", "text", "audio"],
    "dimensions": DIMENSIONS,
    "loader": "bundled",
    "license": "Apache-2.0",
    "image": {"size": SIZE, "tokens": 4},
    "text": {"context_length": 16},
    "audio": {
        "sample_rate": RATE,
        "window_seconds": WINDOW / RATE,
        "hop_seconds": HOP / RATE,
        "tokens_per_window": 3,
    },
}

OPENCLIP_CONFIG: dict[str, Any] = {
    "model_cfg": {
        "embed_dim": 24,
        "vision_cfg": {
            "image_size": 32,
            "layers": 1,
            "width": 32,
            "head_width": 16,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": 16,
            "vocab_size": 49408,
            "width": 16,
            "heads": 2,
            "layers": 2,
        },
    },
    "preprocess_cfg": {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.3, 0.2, 0.1],
        "interpolation": "bilinear",
        "resize_mode": "squash",
    },
}


class TinyTowers:
    """Towers that compute by hand what a test can check, and that a test can hold up.

    A text's vector comes from its characters, a picture's from its pixels, a window's from its
    samples; batches are kept in `batches` as (modality, rows), in the order they were run.
    """

    dimensions = DIMENSIONS

    def __init__(self) -> None:
        self.batches: list[tuple[str, int]] = []
        self.threads: set[int] = set()
        self.tokens: list[list[int]] = []
        self.seconds = 0.0  # that a batch takes
        self.gate = threading.Event()
        self.gate.set()
        self.gated = {"text", "image", "audio"}
        self.entered = threading.Event()

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        return [np.array([1, *map(ord, text), 2], dtype=np.int64)[:16] for text in texts]

    def encode_texts(self, tokens: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        self.tokens.append([len(ids) for ids in tokens])
        if any(ord("\N{BOMB}") in ids for ids in tokens):
            self._enter("text", len(tokens))
            raise RuntimeError("the tower fell")
        return self._vectors("text", [ids.sum() for ids in tokens])

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._vectors("image", [int(each.sum()) for each in pixels])

    def audio_windows(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        count = 1 + max(0, -(-(len(samples) - WINDOW) // HOP))
        padded = np.zeros((count - 1) * HOP + WINDOW, dtype=np.float32)
        padded[: len(samples)] = samples[: len(padded)]
        return np.stack([padded[n * HOP : n * HOP + WINDOW] for n in range(count)])

    def encode_audio(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return self._vectors("audio", [float(each.sum()) for each in windows])

    def _vectors(self, modality: str, seeds: Sequence[float]) -> NDArray[np.float32]:
        self._enter(modality, len(seeds))
        return np.stack([vector(seed) for seed in seeds])

    def _enter(self, modality: str, rows: int) -> None:
        self.batches.append((modality, rows))
        self.threads.add(threading.get_ident())
        self.entered.set()
        assert modality not in self.gated or self.gate.wait(10)
        time.sleep(self.seconds)


def vector(seed: float) -> NDArray[np.float32]:
    """Return the unit vector, float32 [DIMENSIONS], that belongs to a number."""
    angles = np.sin(np.arange(1, DIMENSIONS + 1) * (1.0 + float(seed) % 997))
    return (angles / np.linalg.norm(angles)).astype(np.float32)


def text_vector(text: str) -> NDArray[np.float32]:
    """Return what TinyTowers make of a text."""
    return vector(int(TinyTowers().tokenize([text])[0].sum()))


def image(value: int) -> NDArray[np.uint8]:
    return np.full((SIZE, SIZE, 3), value, dtype=np.uint8)


def write_card(models: Path, card: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a card below a models directory; returns the model's directory."""
    card = {**(CARD if card is None else card), **changes}
    directory = models / card["id"]
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "card.json").write_text(json.dumps(card), encoding="utf-8")
    return directory


def tiny_settings(models: Path, **changes: Any) -> ModelSettings:
    settings = ModelSettings(directory=models, default="tiny", preload=("tiny",), batch_size=4)
    return replace(settings, **changes)


def tiny_registry(settings: ModelSettings, load: Callable[[], TinyTowers] = TinyTowers) -> Registry:
    def loader(entry: Entry, device: str, settings: ModelSettings) -> TinyTowers:
        return load()

    loaders: dict[Loader, Load] = {Loader.BUNDLED: loader}
    return Registry(settings, loaders)


def tiny_service(models: Path, towers: TinyTowers, **changes: Any) -> EncoderService:
    """Make a service, not yet started, whose only loadable model is `tiny`."""
    write_card(models)
    settings = tiny_settings(models, **changes)
    return EncoderService(settings, tiny_registry(settings, lambda: towers))


def write_checkpoint(directory: Path, config: dict[str, Any] | None = None, seed: int = 0) -> Path:
    """Write a small random checkpoint in OpenCLIP's layout, with OpenCLIP itself."""
    import open_clip  # noqa: PLC0415 (slow, and only some tests need it)
    import torch  # noqa: PLC0415
    from safetensors.torch import save_model  # noqa: PLC0415

    config = OPENCLIP_CONFIG if config is None else config
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(seed)
    model = open_clip.create_model(f"local-dir:{directory}", pretrained_text=False)
    save_model(model, str(directory / "open_clip_model.safetensors"))
    return directory
