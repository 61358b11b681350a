"""Ears for an image and text checkpoint: the bundled audio tower and a projector into its space.

The projector was trained with text as the pivot (C-MCR, arXiv 2305.14381): it takes the bundled
space, where sounds lie beside what they are called, to the checkpoint's, where texts lie beside
pictures. `omnivec models align-audio` makes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.audio import log_mel_windows
from app.encoders.bundled import encode_windows, load_audio_tower
from app.encoders.checkpoints import PROJECTOR_FILE
from app.encoders.model_files import AUDIO_FILE, ModelFilesError
from app.encoders.modules import assign, read_tensors
from app.encoders.threads import TowerRunner, unit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from app.encoders.onnx_graph import Encode
    from app.encoders.towers import Towers

# What the checkpoint makes of this text is kept with the projector: a checkpoint that makes
# something else of it is not the one that the projector leads to. Half precision is near enough.
PROBE = "A dog barks while rain falls on a tin roof."
LEAST_LIKENESS = 0.97
HIDDEN = 1024


class Projector(nn.Module):
    """Unit vectors [n, f] of the bundled space → [n, d] of another.

    `mean` [f] is that of the bundled space's sounds, which lie beside the texts without it.
    `probe` [d] is the other space's vector of `PROBE`.
    """

    mean: Tensor
    probe: Tensor

    def __init__(self, features: int, dimensions: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, dimensions, bias=False)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("probe", torch.zeros(dimensions))

    def forward(self, vectors: Tensor) -> Tensor:
        """Project vectors whose gap is closed."""
        return cast("Tensor", self.fc2(functional.gelu(self.fc1(vectors))))

    def hear(self, vectors: Tensor) -> Tensor:
        """Project sounds' vectors as the bundled tower makes them."""
        return self(functional.normalize(vectors - self.mean, dim=1))  # type: ignore[no-any-return]


class AlignedTowers:
    """A checkpoint's towers for images and text, and ears; see `Towers` for the contract."""

    def __init__(
        self, base: Towers, hears: Encode, projector: Projector, runner: TowerRunner
    ) -> None:
        """`hears` runs the bundled audio tower, to as many dimensions as the projector takes."""
        self._base = base
        self._hears = hears
        self._runner = runner
        # On the CPU, in single precision: next to a checkpoint's towers it costs nothing.
        self._projector = projector.eval()
        self.dimensions = base.dimensions

    def tokenize(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        return self._base.tokenize(texts)

    def encode_texts(self, tokens: Sequence[NDArray[np.int64]]) -> NDArray[np.float32]:
        return self._base.encode_texts(tokens)

    def encode_images(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        return self._base.encode_images(pixels)

    def audio_windows(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        return log_mel_windows(samples)

    @torch.inference_mode()
    def encode_audio(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        taken = self._projector.fc1.in_features
        heard = encode_windows(self._hears, windows, taken, self._runner)
        return unit(self._projector.hear(torch.from_numpy(heard)).numpy())


def with_ears(
    base: Towers, directory: Path, device: str = "cpu", threads: int = 0
) -> AlignedTowers:
    """Add the audio tower and the projector of `directory` to a checkpoint's towers.

    ModelFilesError if a file is missing or damaged, or leads into another checkpoint's space.
    """
    for name in (AUDIO_FILE, PROJECTOR_FILE):
        if not (directory / name).is_file():
            raise ModelFilesError(directory / name, f"is missing: {AGAIN}")
    projector = load_projector(directory / PROJECTOR_FILE)
    hears, made = load_audio_tower(directory / AUDIO_FILE, device)
    taken = projector.fc1.in_features
    if made != taken:
        raise ModelFilesError(
            directory / PROJECTOR_FILE, f"takes {taken} dimensions, {AUDIO_FILE} makes {made}"
        )
    _check(base, projector, directory / PROJECTOR_FILE)
    return AlignedTowers(base, hears, projector, TowerRunner(device, threads))


AGAIN = "make it with `omnivec models align-audio`"


def load_projector(path: Path) -> Projector:
    """Load a projector, float32 on the CPU; its weights tell its sizes."""
    state = read_tensors(path)
    try:
        (hidden, features), (dimensions, _) = (state[f"{n}.weight"].shape for n in ("fc1", "fc2"))
    except (KeyError, ValueError):
        raise ModelFilesError(path, f"holds no projector: {AGAIN}") from None
    projector = Projector(features, dimensions, hidden)
    assign(projector, state, path)
    return projector


def _check(base: Towers, projector: Projector, path: Path) -> None:
    probe = projector.probe.numpy()
    if len(probe) != base.dimensions:
        raise ModelFilesError(
            path, f"leads into {len(probe)} dimensions, the checkpoint has {base.dimensions}"
        )
    (now,) = base.encode_texts(base.tokenize([PROBE]))
    if float(now @ probe) < LEAST_LIKENESS:
        raise ModelFilesError(path, f"was aligned to another checkpoint: {AGAIN}")
