"""Convolutions of the trunks in one step each, as oneDNN computes them best.

PyTorch convolves, adds and activates in three operations, each of which reads and writes all
pixels and takes the interpreter's lock, for which a tower's threads and the event loop queue.
oneDNN does all three while the pixels are in a core's registers. The operators are those that
PyTorch's own compiler emits for a CPU. It lays the weights out beforehand as well, for one shape:
with another number of inputs or threads that is up to four times as slow, and is not done here.
"""

from __future__ import annotations

from typing import Final, cast

import torch
from torch import Tensor, nn

from app.encoders.layers import replace_layers
from app.encoders.mobilenet import Convolution

# PyTorch's activations as the operator calls them, each with its limits.
_UNARY: Final = {"none": ("none", []), "relu": ("relu", []), "relu6": ("hardtanh", [0.0, 6.0])}


class FusedConvolution(nn.Module):
    """A `Convolution` on the CPU, for inference: float32 [n, channels, height, width]."""

    def __init__(self, convolution: Convolution) -> None:
        super().__init__()
        self._parts = (
            convolution.weight,
            convolution.bias,
            list(convolution.padding),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        self._activation, self._limits = _UNARY[convolution.activation]

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        convolve = torch.ops.mkldnn._convolution_pointwise  # noqa: SLF001
        if shortcut is None:
            y = convolve(x, *self._parts, self._activation, self._limits, "")
        else:
            y = convolve.binary(x, shortcut, *self._parts, "add", None, None, [], None)
        return cast("Tensor", y)


def fuse_convolutions(module: nn.Module) -> None:
    """Replace the convolutions below a module, where PyTorch was built with oneDNN."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return
    replace_layers(
        module, lambda layer: FusedConvolution(layer) if isinstance(layer, Convolution) else None
    )
