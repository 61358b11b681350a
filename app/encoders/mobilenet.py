"""MobileNet V1 and V2 trunks with batch normalisation folded into the convolutions.

Parameters are named as timm names them in `mobilenetv1_100` and `mobilenetv2_100`, so that a
checkpoint in OpenCLIP's layout maps onto these modules name by name; `fold_norms` removes the
normalisation layers on the way. Sandler et al. 2018 (V2), Howard et al. 2017 (V1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Mapping

NORM_EPS = 1e-5

# Stages of V2: (expansion, channels, blocks, stride); of V1: (channels, blocks, stride).
_V2_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_V1_STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))
_STEM_CHANNELS = 32


Activation = Literal["none", "relu", "relu6"]


class Convolution(nn.Conv2d):
    """A convolution and its activation or, in place of that, what is added: a step of a trunk."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        size: int,
        stride: int = 1,
        *,
        padding: int = 0,
        groups: int = 1,
        activation: Activation = "none",
    ) -> None:
        super().__init__(inputs, outputs, size, stride, padding, groups=groups)
        self.activation = activation

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        y = super().forward(x)
        if shortcut is not None:
            return y + shortcut
        match self.activation:
            case "relu":
                return functional.relu(y, inplace=True)
            case "relu6":
                return functional.relu6(y, inplace=True)
        return y


def _depthwise(channels: int, stride: int, padding: int, activation: Activation) -> Convolution:
    return Convolution(
        channels, channels, 3, stride, padding=padding, groups=channels, activation=activation
    )


class _Separable(nn.Module):
    """Depthwise then pointwise convolution, the latter followed by the activation if asked."""

    norms = (("conv_dw", "bn1"), ("conv_pw", "bn2"))

    def __init__(
        self,
        inputs: int,
        outputs: int,
        stride: int,
        activation: Activation,
        *,
        same: bool,
        last: bool,
    ) -> None:
        super().__init__()
        self.pad_end = same and stride == 2
        self.conv_dw = _depthwise(inputs, stride, 0 if self.pad_end else 1, activation)
        self.conv_pw = Convolution(inputs, outputs, 1, activation=activation if last else "none")

    def forward(self, x: Tensor) -> Tensor:
        if self.pad_end:
            x = functional.pad(x, (0, 1, 0, 1))
        return cast("Tensor", self.conv_pw(self.conv_dw(x)))


class _InvertedResidual(nn.Module):
    norms = (("conv_pw", "bn1"), ("conv_dw", "bn2"), ("conv_pwl", "bn3"))

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.conv_pw = Convolution(inputs, wide, 1, activation="relu6")
        self.conv_dw = _depthwise(wide, stride, 1, "relu6")
        self.conv_pwl = Convolution(wide, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.residual else None
        return cast("Tensor", self.conv_pwl(self.conv_dw(self.conv_pw(x)), shortcut))


class MobileNetV2(nn.Module):
    """RGB in [-1, 1], float [n, 3, h, w] → pooled features [n, 1280]; stride 32."""

    features = 1280
    norms = (("conv_stem", "bn1"), ("conv_head", "bn2"))

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = Convolution(3, _STEM_CHANNELS, 3, 2, padding=1, activation="relu6")
        inputs = _STEM_CHANNELS
        stages: list[nn.Module] = []
        for expansion, channels, count, stride in _V2_STAGES:
            blocks: list[nn.Module] = []
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(
                    _Separable(inputs, channels, step, "relu6", same=False, last=False)
                    if expansion == 1
                    else _InvertedResidual(inputs, channels, step, expansion)
                )
                inputs = channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        self.conv_head = Convolution(inputs, self.features, 1, activation="relu6")

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_head(self.blocks(self.conv_stem(x)))
        return x.mean((2, 3))


class MobileNetV1(nn.Module):
    """One-channel patches, float [n, 1, h, w] → pooled features [n, 1024]; stride 32.

    Strided convolutions pad as TensorFlow's "same" does for even sizes: one row and column at the
    end, none at the start.
    """

    features = 1024
    norms = (("conv_stem", "bn1"),)

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = Convolution(1, _STEM_CHANNELS, 3, 2, activation="relu")
        inputs = _STEM_CHANNELS
        stages: list[nn.Module] = []
        for channels, count, stride in _V1_STAGES:
            blocks: list[nn.Module] = []
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(_Separable(inputs, channels, step, "relu", same=True, last=True))
                inputs = channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.conv_stem(functional.pad(x, (0, 1, 0, 1))))
        return x.mean((2, 3))


def conv_norm_pairs(trunk: nn.Module) -> list[tuple[str, str]]:
    """Name each convolution of a trunk and the normalisation that follows it in timm's layout."""
    pairs = []
    for prefix, module in trunk.named_modules():
        dot = f"{prefix}." if prefix else ""
        pairs += [(dot + conv, dot + norm) for conv, norm in getattr(module, "norms", ())]
    return pairs


def fold_norms(trunk: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Turn a state dict in timm's names into one for `trunk`, float32. Missing names: KeyError."""
    folded = {}
    for conv, norm in conv_norm_pairs(trunk):
        scale = state[f"{norm}.weight"].float()
        scale = scale * torch.rsqrt(state[f"{norm}.running_var"].float() + NORM_EPS)
        mean = state[f"{norm}.running_mean"].float()
        folded[f"{conv}.weight"] = state[f"{conv}.weight"].float() * scale[:, None, None, None]
        folded[f"{conv}.bias"] = state[f"{norm}.bias"].float() - mean * scale
    return folded


def unfold_norms(trunk: nn.Module) -> dict[str, Tensor]:
    """Write a trunk as timm would hold it: each bias becomes that of a neutral normalisation."""
    state = {}
    parameters = dict(trunk.named_parameters())
    for conv, norm in conv_norm_pairs(trunk):
        weight = parameters[f"{conv}.weight"].detach().contiguous()
        ones = torch.ones(weight.shape[0])
        state[f"{conv}.weight"] = weight
        state[f"{norm}.weight"] = ones
        state[f"{norm}.bias"] = parameters[f"{conv}.bias"].detach()
        state[f"{norm}.running_mean"] = torch.zeros_like(ones)
        state[f"{norm}.running_var"] = ones.clone()
    return state
