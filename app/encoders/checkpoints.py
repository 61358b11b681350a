"""Checkpoints in OpenCLIP's layout: what a directory holds, read without loading anything.

The layout is `open_clip_config.json` beside the weights, as OpenCLIP pushes models to the hub.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from app.domain.media import Interpolation, Resize
from app.domain.modality import Modality
from app.encoders.cards import Card, ImageTower, Loader, OpenClip, TextTower
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

CONFIG_FILE = "open_clip_config.json"
WEIGHTS_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
# Beside the audio tower in the directory of a checkpoint that was given ears: see `aligned`.
PROJECTOR_FILE = "projector.safetensors"

# OpenCLIP's names for what is done to a picture that is no square.
RESIZES = {"shortest": Resize.CROP, "longest": Resize.PAD, "squash": Resize.SQUASH}

_CONVOLUTIONAL_STRIDE = 32
_PATCH = re.compile(r"patch(\d+)")


class _Vision(msgspec.Struct, frozen=True):
    image_size: int | list[int] = 224
    patch_size: int | None = None
    timm_model_name: str | None = None


class _Text(msgspec.Struct, frozen=True):
    context_length: int = 77


class _Model(msgspec.Struct, frozen=True):
    embed_dim: int
    vision_cfg: _Vision
    text_cfg: _Text


class _Preprocess(msgspec.Struct, frozen=True):
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0


class _Config(msgspec.Struct, frozen=True):
    model_cfg: _Model
    preprocess_cfg: _Preprocess = _Preprocess()


def find_checkpoint(directories: Iterable[Path]) -> Path | None:
    """Return the first directory that holds both a configuration and weights."""
    for directory in directories:
        weights = (directory / name for name in WEIGHTS_FILES)
        if (directory / CONFIG_FILE).is_file() and any(path.is_file() for path in weights):
            return directory
    return None


def card_of_checkpoint(directory: Path) -> Card:
    """Write the card of a checkpoint that came without one: its name is the directory's.

    InvalidInput names the file and what is wrong with it.
    """
    path = directory / CONFIG_FILE
    try:
        config = msgspec.json.decode(path.read_bytes(), type=_Config)
        return _card(directory.name, config)
    except (OSError, ValueError) as error:  # msgspec's errors are ValueErrors
        raise InvalidInput.at((str(path),), f"{path}: {error}") from error


def _card(name: str, config: _Config) -> Card:
    vision, preprocess = config.model_cfg.vision_cfg, config.preprocess_cfg
    size = image_size(vision.image_size)
    fields: dict[str, Any] = {
        "id": name,
        "name": name,
        "description": "An OpenCLIP checkpoint without a card; scores are not calibrated.",
        "types": [Modality.IMAGE, Modality.TEXT],
        "dimensions": config.model_cfg.embed_dim,
        "loader": Loader.OPENCLIP,
        "license": "unknown",
        "image": ImageTower(
            size=size,
            tokens=(size // _stride(vision)) ** 2,
            resize=RESIZES.get(preprocess.resize_mode, Resize.CROP),
            interpolation=interpolation(preprocess.interpolation),
            fill=preprocess.fill_color,
        ),
        "text": TextTower(config.model_cfg.text_cfg.context_length),
        "openclip": OpenClip(),
    }
    return msgspec.convert(fields, Card)


def image_size(size: int | Iterable[int]) -> int:
    """Return the side of the square that a tower takes; ValueError if it takes no square."""
    if isinstance(size, int):
        return size
    sides = set(size)
    if len(sides) != 1:
        raise ValueError(f"only square images are supported, not {sorted(sides)}")
    return sides.pop()


def interpolation(name: str) -> Interpolation:
    """Read OpenCLIP's name; whatever is not bilinear ("random", …) is bicubic at inference."""
    return Interpolation.BILINEAR if name == "bilinear" else Interpolation.BICUBIC


def _stride(vision: _Vision) -> int:
    """Pixels a side of one patch of a transformer, or of one cell of a convolutional network."""
    if vision.timm_model_name is None:
        return vision.patch_size or 16
    patch = _PATCH.search(vision.timm_model_name)
    return int(patch[1]) if patch else _CONVOLUTIONAL_STRIDE
