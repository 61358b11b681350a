"""The bundled model: a MobileNetV2 for images, MiniLM for text, a MobileNetV1 for audio.

A directory holds `config.json` (`dimensions` and `context_length`), the text tower's configuration
and tokenizer below `text`, and one safetensors file per tower.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn

from app.encoders.audio import log_mel_windows
from app.encoders.fused_convolutions import fuse_convolutions
from app.encoders.half_weights import halve_weights
from app.encoders.minilm import BertShape, TextTower, merge_projections, pad_tokens, record
from app.encoders.networks import AudioTower, ImageTower
from app.encoders.threads import TowerRunner
from app.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

CONFIG_FILE: Final = "config.json"
TEXT_CONFIG_DIRECTORY: Final = "text"
TOKENIZER_FILE: Final = "tokenizer.json"
IMAGE_FILE: Final = "image.safetensors"
TEXT_FILE: Final = "text.safetensors"
AUDIO_FILE: Final = "audio.safetensors"

_DTYPES: Final = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
# What a tower takes in one piece: on the CPU little, for the sake of a core's cache.
_IMAGES_AT_ONCE = {"cpu": 4, "cuda": 16}
_TEXTS_AT_ONCE = {"cpu": 16, "cuda": 32}
_WINDOWS_AT_ONCE = {"cpu": 16, "cuda": 64}
# A single text of more tokens is worth several threads that wait for each other.
_SHORT_TEXT = 32


class ModelFilesError(Unavailable):
    """A model's directory lacks a file, or a file does not hold what the model needs."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__("model", f"{path}: {reason}")
        self.path = path
        self.reason = reason


@dataclass(frozen=True, slots=True)
class TowerModules:
    """The networks themselves, as inference and training share them."""

    image: ImageTower
    text: TextTower
    audio: AudioTower


class BundledTowers:
    """The three towers of the bundled model on one device; see `Towers` for the contract."""

    def __init__(
        self, modules: TowerModules, tokenizer: Tokenizer, device: torch.device, dtype: torch.dtype
    ) -> None:
        layout = torch.channels_last  # several times faster than channels first on a CPU
        self._image = modules.image.to(device, dtype).to(memory_format=layout).eval()
        self._audio = modules.audio.to(device, dtype).to(memory_format=layout).eval()
        text = modules.text.to(device, dtype).eval()
        self._text = record(text) if device.type == "cpu" else text
        self._tokenizer = tokenizer
        self._device = device
        self._dtype = dtype
        self.dimensions = modules.text.proj.out_features
        self._runner = TowerRunner(device, self.dimensions)

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def encode_texts(self, tokens: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        # Texts of like length run together, so that little of the work is padding.
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))

        def encode(piece: slice) -> Tensor:
            batch = pad_tokens([torch.from_numpy(tokens[index]) for index in order[piece]])
            return self._text(batch.to(self._device))

        is_short = len(tokens) == 1 and len(tokens[0]) <= _SHORT_TEXT
        encoded = self._runner.run(encode, len(tokens), _TEXTS_AT_ONCE, one_thread=is_short)
        out = np.empty_like(encoded)
        out[order] = encoded
        return out

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        def encode(piece: slice) -> Tensor:
            # A copy, for decoders hand out read-only pixels, which torch does not take.
            part = torch.tensor(pixels[piece], device=self._device)
            batch = part.permute(0, 3, 1, 2).to(self._dtype).div_(127.5).sub_(1.0)
            return self._image(batch)  # type: ignore[no-any-return]

        # A single one, too: its operations are too short to share (on two cores 21 ms, not 14).
        return self._runner.run(encode, len(pixels), _IMAGES_AT_ONCE, one_thread=True)

    def audio_windows(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return log_mel_windows(samples)

    def encode_audio(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return encode_windows(self._audio, windows, self._runner, self._dtype)


def encode_windows(
    tower: nn.Module, windows: NDArray[np.float32], runner: TowerRunner, dtype: torch.dtype
) -> NDArray[np.float32]:
    """Run log-mel windows [n, 96, 64] through a tower: unit vectors [n, d]."""

    def encode(piece: slice) -> Tensor:
        part = torch.from_numpy(windows[piece])
        batch = part.to(runner.device, dtype).unsqueeze(1)
        return tower(batch.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]

    return runner.run(encode, len(windows), _WINDOWS_AT_ONCE, one_thread=True)


def load_bundled(directory: Path, *, device: str = "cpu", dtype: str = "float32") -> BundledTowers:
    """Load the model in `directory`. A file missing or of the wrong content: ModelFilesError.

    `device` is what torch calls it ("cpu", "cuda:0"); `dtype` is "float32", "bfloat16" or
    "float16".
    """
    modules = load_modules(directory)
    tokenizer = load_tokenizer(directory, modules.text.context_length)
    merge_projections(modules.text)
    if device == "cpu" and dtype == "float32":
        halve_weights(modules.text)
        quicken(modules.image)
        quicken(modules.audio)
    return BundledTowers(modules, tokenizer, torch.device(device), _DTYPES[dtype])


def quicken(tower: ImageTower | AudioTower) -> None:
    """Prepare a tower for the CPU, in single precision and for inference alone.

    What is fused no longer follows the module to another layout, device or type.
    """
    fuse_convolutions(tower.to(memory_format=torch.channels_last))
    halve_weights(tower)


def load_modules(directory: Path) -> TowerModules:
    """Load the networks of a model directory, float32 on the CPU."""
    modules = build_modules(directory)
    for tower, name in (
        (modules.image, IMAGE_FILE),
        (modules.text, TEXT_FILE),
        (modules.audio, AUDIO_FILE),
    ):
        assign(tower, read_tensors(directory / name), directory / name)
    return modules


def load_audio_tower(path: Path) -> AudioTower:
    """Load an audio tower by itself, float32 on the CPU; its file tells its dimensions."""
    state = read_tensors(path)
    last = state.get("head.fc2.weight")
    if last is None or last.dim() != 2:
        raise ModelFilesError(path, "lacks head.fc2.weight")
    tower = AudioTower(last.shape[0])
    assign(tower, state, path)
    return tower


def build_modules(directory: Path) -> TowerModules:
    """Build the networks that a directory's configuration describes, untrained."""
    match _read_json(directory / CONFIG_FILE):
        case {"dimensions": int(dimensions), "context_length": int(context_length)}:
            pass
        case _:
            reason = "does not say the model's dimensions and context_length"
            raise ModelFilesError(directory / CONFIG_FILE, reason)
    shape = BertShape.from_config(_read_json(directory / TEXT_CONFIG_DIRECTORY / CONFIG_FILE))
    return TowerModules(
        image=ImageTower(shape.hidden_size, dimensions),
        text=TextTower(shape, dimensions, context_length),
        audio=AudioTower(dimensions),
    )


def load_tokenizer(directory: Path, context_length: int) -> Tokenizer:
    """Load the tokenizer so that it cuts to the context length and leaves padding to the tower."""
    path = directory / TEXT_CONFIG_DIRECTORY / TOKENIZER_FILE
    if not path.is_file():
        raise ModelFilesError(path, "is missing")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.enable_truncation(context_length)
    return tokenizer


def assign(module: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Make tensors a module's parameters without a copy."""
    try:
        module.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelFilesError(path, f"does not fit the model: {error}") from error
    module.requires_grad_(requires_grad=False)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, float32 by name. Missing or damaged: ModelFilesError."""
    if not path.is_file():
        raise ModelFilesError(path, "is missing")
    try:
        return {name: tensor.float() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise ModelFilesError(path, f"is not a safetensors file: {error}") from error


def _read_json(path: Path) -> Any:
    if not path.is_file():
        raise ModelFilesError(path, "is missing")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelFilesError(path, f"is not JSON: {error}") from error
