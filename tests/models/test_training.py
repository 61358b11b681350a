"""The losses, the analytic start and the pooling that training shares with the service."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch.nn import functional

from app.encoders.bundled import ConvTower, MlpHead
from app.encoders.mobilenet import MobileNetV1
from models.recipe.corpus import Part
from models.recipe.start import install_head, tensor_of
from models.recipe.train import contrast, gather, keep_classes, pool, pool_all

if TYPE_CHECKING:
    from pathlib import Path


def unit(rows: int, dimensions: int, seed: int = 1) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, dimensions, generator=source), dim=1)


def test_contrast_is_lower_for_matched_than_for_shuffled() -> None:
    vectors, fits = unit(16, 32), torch.eye(16, dtype=torch.bool)
    matched = contrast(vectors, vectors, fits)
    shuffled = contrast(vectors, vectors.roll(1, 0), fits)
    assert matched < 0.1
    assert shuffled > matched + 1


def test_contrast_does_not_push_away_what_also_fits() -> None:
    vectors = unit(4, 32)[[0, 0, 1, 2]]
    alone = torch.eye(4, dtype=torch.bool)
    both = alone.clone()
    both[0, 1] = both[1, 0] = True
    apart = vectors.clone().requires_grad_()
    torch.autograd.backward(contrast(apart, vectors, both))
    assert apart.grad is not None
    # The two that are the same are matched as well as they can be: little is left to pull.
    assert apart.grad[:2].norm() < 0.05
    assert contrast(vectors, vectors, both) == pytest.approx(np.log(2) / 2, abs=0.05)


def test_keep_classes_is_zero_at_the_start_and_grows_with_what_is_lost() -> None:
    start, classes, weights = unit(8, 32), unit(20, 32, seed=2), torch.ones(8)
    assert keep_classes(start, start, classes, weights) == pytest.approx(0, abs=1e-6)
    near = functional.normalize(start + 0.1 * unit(8, 32, seed=3), dim=1)
    far = unit(8, 32, seed=4)
    little, much = (keep_classes(v, start, classes, weights) for v in (near, far))
    assert 0 < little < much


def test_keep_classes_leaves_sources_without_a_weight_free() -> None:
    start, classes = unit(2, 32), unit(20, 32, seed=2)
    assert keep_classes(unit(2, 32, seed=4), start, classes, torch.zeros(2)) == 0
    moved = torch.stack([start[0], unit(1, 32, seed=4)[0]])
    assert keep_classes(moved, start, classes, torch.tensor([1.0, 0.0])) == pytest.approx(
        0, abs=1e-6
    )


def test_analytic_head_embeds_near_the_names_of_likely_classes() -> None:
    features, dimensions, classes = 12, 32, 6
    torch.manual_seed(5)
    head = MlpHead(features, dimensions)
    weight, bias = 3 * torch.eye(classes, features), torch.zeros(classes)
    names = unit(classes, dimensions, seed=6)
    install_head(head, (weight, bias), names, scale=2.0, threshold=7.0)
    # Logits 9 and 6 for two classes and none for the others: ConSE's order is that of the logits.
    example = torch.zeros(1, features)
    example[0, 2], example[0, 4] = 3.0, 2.0
    with torch.no_grad():
        cosines = (functional.normalize(head(example), dim=1) @ names.T)[0]
    logits = (example @ weight.T + bias)[0]
    conse = functional.normalize(logits.softmax(0) @ names, dim=0) @ names.T
    assert cosines.argsort(descending=True)[:2].tolist() == [2, 4]
    assert conse.argmax() == 2
    assert cosines[2] > 0.85


def test_hidden_units_that_the_start_leaves_over_say_nothing() -> None:
    head = MlpHead(12, 32)
    install_head(head, (torch.ones(6, 12), torch.zeros(6)), unit(6, 32), 2.0, 7.0)
    assert torch.count_nonzero(head.fc2.weight[:, 6:]) == 0
    assert torch.count_nonzero(head.fc1.weight[6:]) > 0


def test_inputs_are_stacked_as_the_trunks_take_them() -> None:
    pictures = [np.full((4, 4, 3), value, dtype=np.uint8) for value in (0, 255)]
    batch = tensor_of(pictures)
    assert batch.shape == (2, 3, 4, 4)
    assert (batch.min(), batch.max()) == (-1, 1)
    sounds = [np.zeros((count, 96, 64), dtype=np.float16) for count in (1, 3)]
    assert tensor_of(sounds).shape == (4, 1, 96, 64)


def test_sounds_of_several_windows_are_pooled_one_by_one() -> None:
    torch.manual_seed(7)
    tower = ConvTower(MobileNetV1(), 16)
    features = torch.randn(5, MobileNetV1.features)
    together = pool_all(tower, features, [1, 3, 1])
    alone = torch.stack([pool(tower, part) for part in features.split([1, 3, 1])])
    torch.testing.assert_close(together, alone)


def test_gathering_joins_captions_groups_and_weights(tmp_path: Path) -> None:
    torch.manual_seed(8)
    tower = ConvTower(MobileNetV1(), 16).requires_grad_(requires_grad=False)
    digits, sounds = Part("digits"), Part("sounds")
    patches = np.zeros((1, 96, 64), dtype=np.float16)
    digits.add(patches, ("one", "a voice"), "said one")
    digits.add(patches, ("one",), "said one")
    sounds.add(patches, ("rain",), "rain")
    captions: dict[str, int] = {}
    examples = gather([digits, sounds], tower, captions, tmp_path / "heard.pt")
    assert list(captions) == ["one", "a voice", "rain"]
    assert examples.caption_ids == [[0, 1], [0], [2]]
    assert examples.groups == [0, 0, 1]
    # Digits are drawn 1.5 times for every 2 sounds, whatever their number.
    np.testing.assert_allclose(examples.weights, [1.5 / 7, 1.5 / 7, 4 / 7])
    assert examples.start.shape == (3, 16)
    again = gather([digits, sounds], tower, captions, tmp_path / "heard.pt")
    torch.testing.assert_close(again.features, examples.features)
