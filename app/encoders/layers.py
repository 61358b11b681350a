"""Putting other layers in the place of some of a network's."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def replace_layers(
    network: nn.Module, replacement: Callable[[nn.Module], nn.Module | None]
) -> None:
    """Put what `replacement` makes of each layer below a network in its place; None leaves it."""
    for parent in list(network.modules()):
        for name, layer in parent.named_children():
            if (other := replacement(layer)) is not None:
                setattr(parent, name, other)
