"""Taking the batch normalisation out of timm's MobileNets: into the convolutions before it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from app.encoders.mobilenet import Convolution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

NORM_EPS = 1e-5

# The normalisation after a convolution, by timm's names; within a block they are numbered.
_NORMS = {"conv_stem": "bn1", "conv_head": "bn2"}


def fold_norms(network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Make a state dict for some stages out of one in timm's names, float32.

    What those stages have not is left out. Missing names: KeyError.
    """
    folded = {}
    for conv, norm in _pairs(network):
        scale = state[f"{norm}.weight"].float()
        scale = scale * torch.rsqrt(state[f"{norm}.running_var"].float() + NORM_EPS)
        mean = state[f"{norm}.running_mean"].float()
        folded[f"{conv}.weight"] = state[f"{conv}.weight"].float() * scale[:, None, None, None]
        folded[f"{conv}.bias"] = state[f"{norm}.bias"].float() - mean * scale
    return folded


def _pairs(network: nn.Module) -> list[tuple[str, str]]:
    """Name each convolution and the normalisation that follows it."""
    pairs = []
    for prefix, module in network.named_modules():
        dot = f"{prefix}." if prefix else ""
        convs = [name for name, layer in module.named_children() if isinstance(layer, Convolution)]
        pairs += [
            (dot + conv, dot + _NORMS.get(conv, f"bn{number}"))
            for number, conv in enumerate(convs, 1)
        ]
    return pairs
