"""The files of the bundled model's directory.

A directory holds `config.json` (`dimensions` and `context_length`), the text tower's configuration
and tokenizer below `text`, and one safetensors file per tower.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from app.encoders.architecture import BertShape
from app.errors import Unavailable

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

CONFIG_FILE: Final = "config.json"
TEXT_CONFIG_DIRECTORY: Final = "text"
TOKENIZER_FILE: Final = "tokenizer.json"
IMAGE_FILE: Final = "image.safetensors"
TEXT_FILE: Final = "text.safetensors"
AUDIO_FILE: Final = "audio.safetensors"


class ModelFilesError(Unavailable):
    """A model's directory lacks a file, or a file does not hold what the model needs."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__("model", f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a model directory's configurations say; `context_length` counts tokens."""

    dimensions: int
    context_length: int
    text: BertShape


class Weights:
    """The arrays of a safetensors file, each to be taken once by the network that it fits."""

    def __init__(self, path: Path) -> None:
        """Missing or damaged: ModelFilesError."""
        if not path.is_file():
            raise ModelFilesError(path, "is missing")
        try:
            self._arrays = load_file(path)
        except SafetensorError as error:
            raise ModelFilesError(path, f"is not a safetensors file: {error}") from error
        self.path = path

    def take(self, name: str, *shape: int) -> NDArray[np.float32]:
        """Return an array of that shape in single precision; ModelFilesError if there is none."""
        try:
            array = self._arrays.pop(name)
        except KeyError:
            raise self._misfit(f"lacks {name}") from None
        if array.shape != shape:
            raise self._misfit(f"{name} is {list(array.shape)}, not {list(shape)}")
        return array.astype(np.float32, copy=False)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return an array's shape; ModelFilesError if there is none."""
        if name not in self._arrays:
            raise self._misfit(f"lacks {name}")
        return self._arrays[name].shape

    def expect_none_left(self) -> None:
        """Raise ModelFilesError if there are arrays that nobody took."""
        if self._arrays:
            raise self._misfit(f"has {', '.join(sorted(self._arrays)[:3])} besides")

    def _misfit(self, what: str) -> ModelFilesError:
        return ModelFilesError(self.path, f"does not fit the model: {what}")


def read_configuration(directory: Path) -> Configuration:
    """Read a model directory's configurations. Missing or of other content: ModelFilesError."""
    match _read_json(directory / CONFIG_FILE):
        case {"dimensions": int(dimensions), "context_length": int(context_length)}:
            pass
        case _:
            reason = "does not say the model's dimensions and context_length"
            raise ModelFilesError(directory / CONFIG_FILE, reason)
    shape = BertShape.from_config(_read_json(directory / TEXT_CONFIG_DIRECTORY / CONFIG_FILE))
    return Configuration(dimensions, context_length, shape)


def load_tokenizer(directory: Path, context_length: int) -> Tokenizer:
    """Load the tokenizer so that it cuts to the context length and leaves padding to the tower."""
    path = directory / TEXT_CONFIG_DIRECTORY / TOKENIZER_FILE
    if not path.is_file():
        raise ModelFilesError(path, "is missing")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(context_length)
    return tokenizer


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise ModelFilesError(path, "is missing")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFilesError(path, f"is not JSON: {error}") from error
