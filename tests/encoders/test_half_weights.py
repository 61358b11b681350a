"""Linear layers whose weights are kept in half precision."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from app.encoders.bundled import load_bundled, load_modules, load_tokenizer
from app.encoders.half_weights import HalfWeightLinear, halve_weights
from app.encoders.minilm import pad_tokens

MODEL = Path(__file__).parents[2] / "models" / "multimodal-embedding-v1"
TEXTS = ["dog", "a red bicycle leaning on a wall", "guitars " * 30, ""]

pytestmark = pytest.mark.skipif(
    torch.backends.quantized.engine not in {"fbgemm", "x86"}, reason="this processor has no kernel"
)


def linear(inputs: int, outputs: int, *, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=bias).requires_grad_(requires_grad=False)
    layer.weight.copy_(layer.weight.half().float())
    return layer


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 7, 130])
def test_the_result_is_that_of_single_precision(rows: int, bias: bool) -> None:
    torch.manual_seed(1)
    layer = linear(96, 200, bias=bias)
    halved = nn.Sequential(layer)
    halve_weights(halved)
    assert isinstance(halved[0], HalfWeightLinear)
    x = torch.randn(2, rows, 96)
    torch.testing.assert_close(halved(x), layer(x), atol=2e-6, rtol=0)


def test_weights_that_would_be_rounded_stay() -> None:
    rounded, kept = linear(8, 8), linear(8, 8)
    kept.weight[0, 0] += 2.0**-20
    beyond = linear(8, 8)
    beyond.weight[0, 0] = 1e6  # infinite in half precision
    module = nn.Sequential(rounded, nn.Sequential(kept, beyond))
    halve_weights(module)
    assert isinstance(module[0], HalfWeightLinear)
    assert list(module[1]) == [kept, beyond]


def test_bundled_texts_have_the_vectors_of_single_precision() -> None:
    towers, modules = load_bundled(MODEL), load_modules(MODEL)
    tokenizer = load_tokenizer(MODEL, modules.text.context_length)
    rows = [torch.tensor(encoding.ids) for encoding in tokenizer.encode_batch(TEXTS)]
    with torch.inference_mode():
        plain = functional.normalize(modules.text(pad_tokens(rows)), dim=1)
        alone = functional.normalize(modules.text(rows[1][None]), dim=1)
    encoded = torch.from_numpy(towers.encode_texts(towers.tokenize(TEXTS)))
    torch.testing.assert_close(encoded, plain, atol=5e-7, rtol=0)
    encoded = torch.from_numpy(towers.encode_texts(towers.tokenize(TEXTS[1:2])))
    torch.testing.assert_close(encoded, alone, atol=2e-7, rtol=0)


def test_layers_that_are_trained_are_left_alone() -> None:
    modules = load_modules(MODEL)
    load_bundled(MODEL)
    assert all(not isinstance(module, HalfWeightLinear) for module in modules.text.modules())
    modules.text.requires_grad_(requires_grad=True)
    modules.text(torch.tensor([[101, 3899, 102]])).sum().backward()
    assert all(parameter.grad is not None for parameter in modules.text.proj.parameters())
