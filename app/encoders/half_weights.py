"""Linear layers with weights in half precision and arithmetic in single precision.

The time of a short text, or of a few pictures in a tower's head, is the time that reading the
weights takes. Those of the bundled model are half precision numbers: keeping them as such halves
it, and changes nothing.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from app.encoders.layers import replace_layers

_ENGINES = {"fbgemm", "x86"}  # those of PyTorch's that multiply so; where not, layers stay


class HalfWeightLinear(nn.Module):
    """`nn.Linear` on the CPU, for inference: float32 [..., inputs] → [..., outputs]."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._packed = torch.ops.quantized.linear_prepack_fp16(linear.weight, linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return cast("Tensor", torch.ops.quantized.linear_dynamic_fp16(x, self._packed))


def halve_weights(module: nn.Module) -> None:
    """Replace the float32 linear layers below a module that lose nothing by it."""
    if torch.backends.quantized.engine not in _ENGINES:
        return
    replace_layers(
        module,
        lambda layer: (
            HalfWeightLinear(layer)
            if isinstance(layer, nn.Linear) and _is_exact(layer.weight)
            else None
        ),
    )


def _is_exact(weight: Tensor) -> bool:
    return torch.equal(weight.half().float(), weight)
