"""MobileNet V1 and V2 trunks with batch normalisation folded into the convolutions.

Parameters are named as timm names them in `mobilenetv1_100` and `mobilenetv2_100`. Sandler et al.
2018 (V2), Howard et al. 2017 (V1).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal, cast

from torch import Tensor, nn
from torch.nn import functional

from app.encoders.architecture import (
    STEM_CHANNELS,
    V1_FEATURES,
    V1_STAGES,
    V2_FEATURES,
    V2_LATE,
    V2_STAGES,
)

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


class MobileNetV2Early(nn.Module):
    """The stem and the first stages of V2: RGB [n, 3, h, w] → [n, 96, h / 16, w / 16]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = Convolution(3, STEM_CHANNELS, 3, 2, padding=1, activation="relu6")
        self.blocks = _v2_stages(range(V2_LATE))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.blocks(self.conv_stem(x))
        return out


class MobileNetV2Late(nn.Module):
    """The last stages of V2: what the first ones give → pooled features [n, 1280]."""

    features = V2_FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.blocks = _v2_stages(range(V2_LATE, len(V2_STAGES)))
        self.conv_head = Convolution(V2_STAGES[-1].channels, self.features, 1, activation="relu6")

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.conv_head(self.blocks(x)).mean((2, 3))
        return out


def _v2_stages(numbers: range) -> nn.Sequential:
    """Some stages of V2, under the names that they have in the whole."""
    stages: dict[str, nn.Module] = {}
    for number in numbers:
        stage = V2_STAGES[number]
        inputs = V2_STAGES[number - 1].channels if number else STEM_CHANNELS
        blocks: list[nn.Module] = []
        for index in range(stage.blocks):
            stride = stage.stride if index == 0 else 1
            blocks.append(
                _Separable(inputs, stage.channels, stride, "relu6", same=False, last=False)
                if stage.expansion == 1
                else _InvertedResidual(inputs, stage.channels, stride, stage.expansion)
            )
            inputs = stage.channels
        stages[str(number)] = nn.Sequential(*blocks)
    return nn.Sequential(OrderedDict(stages))


class MobileNetV1(nn.Module):
    """One-channel patches, float [n, 1, h, w] → pooled features [n, 1024]; stride 32.

    Strided convolutions pad as TensorFlow's "same" does for even sizes: one row and column at the
    end, none at the start.
    """

    features = V1_FEATURES

    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = Convolution(1, STEM_CHANNELS, 3, 2, activation="relu")
        inputs = STEM_CHANNELS
        stages: list[nn.Module] = []
        for stage in V1_STAGES:
            blocks: list[nn.Module] = []
            for index in range(stage.blocks):
                stride = stage.stride if index == 0 else 1
                blocks.append(
                    _Separable(inputs, stage.channels, stride, "relu", same=True, last=True)
                )
                inputs = stage.channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.conv_stem(functional.pad(x, (0, 1, 0, 1))))
        return x.mean((2, 3))
