"""The bundled model: a MobileNetV2 for images, MiniLM for text, a MobileNetV1 for audio.

On a CPU ONNX Runtime runs the towers, without PyTorch, which takes seconds to import and half a
gigabyte of memory; on other devices, and in other arithmetic, PyTorch does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from app.encoders.audio import log_mel_windows
from app.encoders.model_files import (
    AUDIO_FILE,
    IMAGE_FILE,
    TEXT_FILE,
    Weights,
    load_tokenizer,
    read_configuration,
)
from app.encoders.onnx_towers import audio_tower, image_tower, text_tower
from app.encoders.threads import TowerRunner
from app.settings import Precision

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from app.encoders.model_files import Configuration
    from app.encoders.onnx_graph import Encode

# What a tower takes in one piece: on a CPU little, for the sake of a core's cache.
_IMAGES_AT_ONCE: Final = {"cpu": 4, "cuda": 16}
_TEXTS_AT_ONCE: Final = {"cpu": 16, "cuda": 32}
_WINDOWS_AT_ONCE: Final = {"cpu": 16, "cuda": 64}
# Threads that share a layer of the text tower; each is some tens of microseconds of work.
_THREADS_OF_A_TEXT: Final = 4


@dataclass(frozen=True, slots=True)
class Encoders:
    """What runs each tower: uint8 pixels, int64 token ids, float32 windows → float32 [n, d]."""

    image: Encode
    text: Encode
    audio: Encode


class BundledTowers:
    """The three towers of the bundled model on one device; see `Towers` for the contract."""

    def __init__(
        self, encoders: Encoders, tokenizer: Tokenizer, dimensions: int, runner: TowerRunner
    ) -> None:
        self._encoders = encoders
        self._tokenizer = tokenizer
        self._runner = runner
        self.dimensions = dimensions

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts))
        return [np.array(encoding.ids, dtype=np.int64) for encoding in encodings]

    def encode_texts(self, tokens: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        # Texts of like length run together, so that little of the work is padding.
        order = sorted(range(len(tokens)), key=lambda index: len(tokens[index]))

        def encode(piece: slice) -> NDArray[np.float32]:
            return self._encoders.text(_pad([tokens[index] for index in order[piece]]))

        encoded = self._runner.run(encode, len(tokens), self.dimensions, _TEXTS_AT_ONCE)
        out = np.empty_like(encoded)
        out[order] = encoded
        return out

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        def encode(piece: slice) -> NDArray[np.float32]:
            return self._encoders.image(pixels[piece])

        return self._runner.run(encode, len(pixels), self.dimensions, _IMAGES_AT_ONCE)

    def audio_windows(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return log_mel_windows(samples)

    def encode_audio(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        return encode_windows(self._encoders.audio, windows, self.dimensions, self._runner)


def encode_windows(
    tower: Encode, windows: NDArray[np.float32], dimensions: int, runner: TowerRunner
) -> NDArray[np.float32]:
    """Run log-mel windows [n, 96, 64] through a tower: unit vectors [n, d]."""

    def encode(piece: slice) -> NDArray[np.float32]:
        return tower(windows[piece])

    return runner.run(encode, len(windows), dimensions, _WINDOWS_AT_ONCE)


def load_bundled(
    directory: Path,
    *,
    device: str = "cpu",
    precision: Precision = Precision.AUTO,
    threads: int = 0,
) -> BundledTowers:
    """Load the model in `directory`. A file missing or of the wrong content: ModelFilesError.

    `device` is what torch calls it ("cpu", "cuda:0"); `threads` of a CPU, 0 for one per core.
    """
    configuration = read_configuration(directory)
    tokenizer = load_tokenizer(directory, configuration.context_length)
    if device == "cpu" and precision in {Precision.AUTO, Precision.FLOAT32}:
        runner = TowerRunner(device, threads)
        int8 = precision is Precision.AUTO
        encoders = _in_onnx_runtime(directory, configuration, runner.threads, int8=int8)
    else:
        runner = TowerRunner(device, 1)  # PyTorch has threads of its own
        encoders = _in_pytorch(directory, device, precision, threads)
    return BundledTowers(encoders, tokenizer, configuration.dimensions, runner)


def load_audio_tower(path: Path, device: str = "cpu") -> tuple[Encode, int]:
    """Load an audio tower by itself, in single precision: what runs it and its dimensions."""
    weights = Weights(path)
    dimensions = weights.shape("head.fc2.weight")[0]
    if device == "cpu":
        return audio_tower(weights, dimensions), dimensions
    import torch  # noqa: PLC0415

    from app.encoders.modules import add_channel, encoder, load_audio_module  # noqa: PLC0415

    tower = load_audio_module(path, dimensions)
    return encoder(tower, device, torch.float32, add_channel), dimensions


def _in_onnx_runtime(
    directory: Path, configuration: Configuration, threads: int, *, int8: bool
) -> Encoders:
    dimensions, shape = configuration.dimensions, configuration.text
    image, text, audio = (Weights(directory / name) for name in (IMAGE_FILE, TEXT_FILE, AUDIO_FILE))
    return Encoders(
        image_tower(image, shape.hidden_size, dimensions),
        text_tower(text, shape, dimensions, min(threads, _THREADS_OF_A_TEXT), int8=int8),
        audio_tower(audio, dimensions),
    )


def _in_pytorch(directory: Path, device: str, precision: Precision, threads: int) -> Encoders:
    import torch  # noqa: PLC0415

    from app.encoders.modules import (  # noqa: PLC0415
        add_channel,
        encoder,
        load_modules,
        scale_pixels,
    )

    if threads:
        torch.set_num_threads(threads)
    dtype = torch.float32 if precision is Precision.AUTO else getattr(torch, precision)
    modules = load_modules(directory)
    return Encoders(
        encoder(modules.image, device, dtype, scale_pixels),
        encoder(modules.text, device, dtype),
        encoder(modules.audio, device, dtype, add_channel),
    )


def _pad(rows: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Stack rows of token ids of any lengths into [n, longest], padded with zeros."""
    padded = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for row, ids in zip(padded, rows, strict=True):
        row[: len(ids)] = ids
    return padded
