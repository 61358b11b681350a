"""The text tower's shapes of the same computation."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch

from app.encoders.half_weights import halve_weights
from app.encoders.minilm import BertShape, TextTower, merge_projections, record

SHAPE = BertShape(
    vocab_size=50,
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=32,
    max_position_embeddings=16,
)


def test_merged_projections_give_the_same_vectors() -> None:
    torch.manual_seed(1)
    tower = TextTower(SHAPE, 16, 16).requires_grad_(requires_grad=False)
    merged = copy.deepcopy(tower)
    merge_projections(merged)
    names = {name.split(".")[-2] for name, _ in merged.named_parameters()}
    assert "projections" in names
    assert not names & {"query", "key", "value"}
    for tokens in ([[3, 7, 9, 4]], [[3, 7, 9, 4], [5, 8, 0, 0]]):  # without and with padding
        ids = torch.tensor(tokens)
        torch.testing.assert_close(merged(ids), tower(ids), atol=1e-6, rtol=0)


@pytest.mark.parametrize("halved", [False, True])
def test_a_recorded_tower_gives_the_same_vectors_at_every_shape(halved: bool) -> None:
    torch.manual_seed(1)
    tower = TextTower(SHAPE, 16, 16).half().float().requires_grad_(requires_grad=False).eval()
    merge_projections(tower)
    if halved:
        halve_weights(tower)
    run = record(tower)
    assert run is not tower
    for texts, length in itertools.product((1, 2, 5), (1, 2, 7, 16)):
        ids = torch.randint(1, SHAPE.vocab_size, (texts, length))
        padded = ids.clone()
        padded[0, 1:] = 0
        for each in (ids, padded) * 3:  # the interpreter changes its program after the first runs
            torch.testing.assert_close(run(each), tower(each), atol=1e-6, rtol=0)


def test_without_an_interpreter_the_tower_itself_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.jit, "trace_module")
    tower = TextTower(SHAPE, 16, 16)
    assert record(tower) is tower
