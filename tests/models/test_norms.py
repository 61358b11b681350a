"""The trunks compute what the networks compute whose weights they are given."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from app.encoders.mobilenet import MobileNetV1, MobileNetV2Early, MobileNetV2Late
from models.recipe.norms import fold_norms


def network(name: str, **options: object) -> nn.Module:
    """An untrained network without its classifier, every normalisation of which does something."""
    torch.manual_seed(3)
    made: nn.Module = timm.create_model(name, num_classes=0, **options)
    for module in made.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.3)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, std=0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return made.eval()


@torch.no_grad()
def test_early_and_late_stages_are_timm_s_v2() -> None:
    theirs = network("mobilenetv2_100")
    state = theirs.state_dict()
    early, late = MobileNetV2Early(), MobileNetV2Late()
    for ours in (early, late):
        ours.load_state_dict(fold_norms(ours, state))
    x = torch.randn(2, 3, 225, 225)
    torch.testing.assert_close(late(early(x)), theirs(x), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_the_audio_trunk_is_timm_s_v1_with_tensorflow_s_padding() -> None:
    theirs = network("mobilenetv1_100", in_chans=1, pad_type="same", act_layer=nn.ReLU)
    ours = MobileNetV1()
    ours.load_state_dict(fold_norms(ours, theirs.state_dict()))
    x = torch.randn(3, 1, 96, 64)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)


def test_a_network_that_lacks_a_layer_is_refused() -> None:
    state = network("mobilenetv2_100").state_dict()
    del state["blocks.6.0.bn3.running_mean"]
    with pytest.raises(KeyError, match=r"blocks\.6\.0\.bn3\.running_mean"):
        fold_norms(MobileNetV2Late(), state)
