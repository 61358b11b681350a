"""The text tower's shapes of the same computation."""

from __future__ import annotations

import copy

import torch

from app.encoders.minilm import BertShape, TextTower, merge_projections

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
