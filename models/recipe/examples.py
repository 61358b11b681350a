"""What one tower trains on: its examples, their captions, and what the start made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.networks import AudioTower, ImageTower
from models.recipe.concepts import concepts
from models.recipe.start import tensor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from models.recipe.corpus import Part
    from models.recipe.files import Classifier

Tower = AudioTower | ImageTower

AT_ONCE = 16  # larger batches of pictures leave the processor's cache
EARLY_STAGES = 3  # of the audio trunk; they see edges and textures, and stay as they are

# How often each source is drawn, and how strongly its likeness to the start's classes is kept.
SHARES = {
    "clothing": 2.0,
    "grocery": 2.0,
    "emoji": 3.0,
    "scenes": 2.8,
    "words": 0.4,
    "digits": 2.4,
    "speech": 4.0,
    "sounds": 1.2,
}
KEPT = {"clothing": 1.0, "grocery": 1.0, "sounds": 1.0}
KEPT_ELSEWHERE = 0.05


@dataclass
class Examples:
    """Examples of one tower. A picture is one row, a sound a row for each of its windows.

    `rows` holds what the early stages made of them, float16: [rows, 15, 15, 96] for pictures,
    [rows, 12, 8, 256] for sounds. `starts[i]` is example i's first row, `logits` float16
    [rows, classes] what the starting classifier said, `caption_ids[i]` rows of the texts that fit,
    `concepts[i]` what example i is of, and `kept` and `weights` float [examples].
    """

    rows: NDArray[np.float16]
    starts: NDArray[np.intp]
    logits: NDArray[np.float16]
    caption_ids: list[list[int]]
    concepts: list[str]
    kept: NDArray[np.float32]
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.caption_ids)

    def draw(self, source: np.random.Generator, size: int) -> NDArray[np.intp]:
        return source.choice(len(self), min(size, len(self)), replace=False, p=self.weights)

    def of(self, chosen: NDArray[np.intp]) -> tuple[NDArray[np.intp], list[int]]:
        """The rows of some examples, one after the other, and how many each has."""
        parts = [np.arange(self.starts[one], self.starts[one + 1]) for one in chosen]
        return np.concatenate(parts), [len(part) for part in parts]


def gather(
    parts: Sequence[Part],
    tower: Tower,
    classifier: Classifier,
    captions: dict[str, int],
    cache: Path,
    say: Callable[[str], None],
) -> Examples:
    """Put parts of one modality together and run the start over them.

    What the start makes of them is kept beside `cache`, a path without a suffix.
    """
    inputs = [content for part in parts for content in part.content]
    counts = window_counts(inputs)
    files = {name: cache.with_suffix(f".{name}.npy") for name in ("rows", "logits")}
    if not all(file.exists() for file in files.values()):
        _look(inputs, tower, classifier, files, say)
    kept = [KEPT.get(part.source, KEPT_ELSEWHERE) for part in parts for _ in range(len(part))]
    weights = np.concatenate([np.full(len(p), SHARES[p.source] / len(p)) for p in parts])
    return Examples(
        rows=np.load(files["rows"]),
        starts=np.concatenate([[0], np.cumsum(counts)]),
        logits=np.load(files["logits"]),
        caption_ids=[
            [captions.setdefault(text, len(captions)) for text in dict.fromkeys(texts)]
            for part in parts
            for texts in part.captions
        ],
        concepts=concepts(parts),
        kept=np.array(kept, dtype=np.float32),
        weights=weights / weights.sum(),
    )


@torch.no_grad()
def _look(
    inputs: Sequence[NDArray[Any]],
    tower: Tower,
    classifier: Classifier,
    files: dict[str, Path],
    say: Callable[[str], None],
) -> None:
    weight, bias = classifier
    rows: list[NDArray[np.float16]] = []
    logits: list[NDArray[np.float16]] = []
    for at in range(0, len(inputs), AT_ONCE):
        with half_precision():
            seen = early(tower, tensor_of(inputs[at : at + AT_ONCE])).float()
        features = late(tower, seen)
        rows.append(seen.permute(0, 2, 3, 1).half().contiguous().cpu().numpy())
        logits.append(functional.linear(features, weight, bias).half().cpu().numpy())
        if at % (100 * AT_ONCE) == 0:
            say(f"the start looks at {at} of {len(inputs)}")
    for name, parts in (("rows", rows), ("logits", logits)):
        draft = files[name].with_suffix(".draft")
        with draft.open("wb") as file:
            np.save(file, np.concatenate(parts))
        draft.rename(files[name])


@torch.no_grad()
def features(tower: Tower, rows: NDArray[np.float16]) -> Tensor:
    """What a trained tower makes of stored rows, as its head takes it: float32 [rows, f]."""
    parts = []
    for at in range(0, len(rows), AT_ONCE):
        with half_precision():
            parts.append(late(tower, taken(rows[at : at + AT_ONCE])).float())
    return torch.cat(parts)


def half_precision() -> torch.autocast:
    """Convolutions in bfloat16 where the device has instructions for it: twice as fast."""
    device = torch.get_default_device().type
    if device == "cpu":
        supported = torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001
    else:
        supported = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device, torch.bfloat16, enabled=supported)


def early(tower: Tower, x: Tensor) -> Tensor:
    """What the stages that stay as they are make of pictures or windows."""
    if isinstance(tower, ImageTower):
        return cast("Tensor", tower.early(x))
    x = tower.trunk.conv_stem(functional.pad(x, (0, 1, 0, 1)))
    return cast("Tensor", tower.trunk.blocks[:EARLY_STAGES](x))


def late(tower: Tower, x: Tensor) -> Tensor:
    """From what `early` gives to the features that the head takes, [rows, f]."""
    if isinstance(tower, ImageTower):
        return tower.late(x)
    return cast("Tensor", tower.trunk.blocks[EARLY_STAGES:](x).mean((2, 3)))


def learning(tower: Tower) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What of a tower learns: parameters of its late stages, and of its head."""
    if isinstance(tower, ImageTower):
        return list(tower.learnt.parameters()), list(tower.head.learnt.parameters())
    return list(tower.trunk.blocks[EARLY_STAGES:].parameters()), list(tower.head.parameters())


def taken(rows: NDArray[np.float16]) -> Tensor:
    """Stored rows as the late stages take them: float32 [n, channels, height, width]."""
    x = torch.as_tensor(rows).permute(0, 3, 1, 2)
    return x.float().contiguous(memory_format=torch.channels_last)


def window_counts(inputs: Sequence[NDArray[Any]]) -> list[int]:
    return [1 if one.dtype == np.uint8 else len(one) for one in inputs]
