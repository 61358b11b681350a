"""Convolutions, activations and shortcuts in one step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from app.encoders.bundled import load_bundled, load_modules
from app.encoders.fused_convolutions import FusedConvolution, fuse_convolutions
from app.encoders.mobilenet import Activation, Convolution

MODEL = Path(__file__).parents[2] / "models" / "multimodal-embedding-v1"

pytestmark = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch was built without oneDNN"
)


def fused(convolution: Convolution) -> nn.Module:
    module = nn.Sequential(convolution)
    fuse_convolutions(module)
    assert isinstance(module[0], FusedConvolution)
    return module[0]


@pytest.mark.parametrize("rows", [1, 2, 5])
@pytest.mark.parametrize(
    ("outputs", "size", "stride", "padding", "groups"),
    [(24, 1, 1, 0, 1), (16, 3, 1, 1, 16), (16, 3, 2, 0, 16), (32, 3, 2, 1, 1)],
)
@pytest.mark.parametrize("activation", ["none", "relu", "relu6"])
@torch.inference_mode()
def test_the_result_is_that_of_each_step_by_itself(
    activation: Activation,
    outputs: int,
    size: int,
    stride: int,
    padding: int,
    groups: int,
    rows: int,
) -> None:
    torch.manual_seed(1)
    plain = Convolution(
        16, outputs, size, stride, padding=padding, groups=groups, activation=activation
    )
    x = 8 * torch.randn(rows, 16, 15, 12).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fused(plain)(x), plain(x), atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_a_shortcut_is_added_and_left_as_it_is() -> None:
    torch.manual_seed(2)
    plain = Convolution(16, 24, 1)
    x, shortcut = torch.randn(3, 16, 9, 9), torch.randn(3, 24, 9, 9)
    before = shortcut.clone()
    torch.testing.assert_close(fused(plain)(x, shortcut), plain(x, shortcut), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shortcut, before, atol=0, rtol=0)


@torch.inference_mode()
def test_bundled_towers_have_the_vectors_of_the_networks_that_were_trained() -> None:
    towers, modules = load_bundled(MODEL), load_modules(MODEL)
    assert any(isinstance(module, FusedConvolution) for module in towers._image.modules())
    for tower, plain, shape in (
        (towers._image, modules.image, (3, 225, 225)),
        (towers._audio, modules.audio, (1, 96, 64)),
    ):
        assert not any(isinstance(module, FusedConvolution) for module in plain.modules())
        for rows in (1, 3):
            x = torch.randn(rows, *shape, generator=torch.Generator().manual_seed(rows))
            x = x.contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(tower(x), plain(x), atol=5e-5, rtol=1e-4)
