"""The bundled model's towers as PyTorch modules: for training, and for devices other than CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from app.encoders.minilm import TextTower
from app.encoders.model_files import (
    AUDIO_FILE,
    IMAGE_FILE,
    TEXT_FILE,
    ModelFilesError,
    read_configuration,
)
from app.encoders.networks import AudioTower, ImageTower

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from app.encoders.model_files import Configuration
    from app.encoders.onnx_graph import Encode


@dataclass(frozen=True, slots=True)
class TowerModules:
    """The networks themselves."""

    image: ImageTower
    text: TextTower
    audio: AudioTower


def load_modules(directory: Path) -> TowerModules:
    """Load the networks of a model directory, float32 on the CPU."""
    modules = build_modules(read_configuration(directory))
    for tower, name in (
        (modules.image, IMAGE_FILE),
        (modules.text, TEXT_FILE),
        (modules.audio, AUDIO_FILE),
    ):
        assign(tower, read_tensors(directory / name), directory / name)
    return modules


def build_modules(configuration: Configuration) -> TowerModules:
    """Build the networks that a configuration describes, untrained."""
    shape, dimensions = configuration.text, configuration.dimensions
    return TowerModules(
        image=ImageTower(shape.hidden_size, dimensions),
        text=TextTower(shape, dimensions, configuration.context_length),
        audio=AudioTower(dimensions),
    )


def load_audio_module(path: Path, dimensions: int) -> AudioTower:
    """Load an audio tower by itself, float32 on the CPU."""
    tower = AudioTower(dimensions)
    assign(tower, read_tensors(path), path)
    return tower


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


def encoder(
    module: nn.Module,
    device: str,
    dtype: torch.dtype,
    prepare: Callable[[Tensor, torch.dtype], Tensor] = lambda inputs, _: inputs,
) -> Encode:
    """Return what runs a module on a device, from arrays to arrays.

    `prepare` makes a module's inputs of the arrays', on the device.
    """
    layout = torch.channels_last  # several times faster than channels first on a CPU
    module = module.to(device, dtype).to(memory_format=layout).eval()

    @torch.inference_mode()
    def encode(inputs: NDArray[Any]) -> NDArray[np.float32]:
        # A copy, for decoders hand out read-only pixels, which torch does not take.
        vectors = module(prepare(torch.tensor(inputs, device=device), dtype))
        return cast("NDArray[np.float32]", vectors.float().cpu().numpy())

    return encode


def scale_pixels(pixels: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes [n, size, size, 3] → [-1, 1], [n, 3, size, size]."""
    return pixels.permute(0, 3, 1, 2).to(dtype).div_(127.5).sub_(1.0)


def add_channel(windows: Tensor, dtype: torch.dtype) -> Tensor:
    """[n, 96, 64] → [n, 1, 96, 64]."""
    return windows.to(dtype).unsqueeze(1).contiguous(memory_format=torch.channels_last)
