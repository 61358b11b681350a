"""A BERT encoder of MiniLM's shape with mean pooling and a linear projection.

Parameters are named as in OpenCLIP's `HFTextEncoder` around a Hugging Face `BertModel`; the
forward pass does only what a sentence embedding needs. Wang et al. 2020, arXiv 2002.10957.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    from app.encoders.architecture import BertShape


class _Embeddings(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(shape.vocab_size, shape.hidden_size)
        self.position_embeddings = nn.Embedding(shape.max_position_embeddings, shape.hidden_size)
        self.token_type_embeddings = nn.Embedding(2, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, shape.layer_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.word_embeddings(tokens) + self.token_type_embeddings.weight[0]
        x = x + self.position_embeddings.weight[: tokens.shape[1]]
        return cast("Tensor", self.LayerNorm(x))


class _SelfAttention(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.key = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.value = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.heads = shape.num_attention_heads

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return out.transpose(1, 2).flatten(2)


class _Residual(nn.Module):
    def __init__(self, inputs: int, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(inputs, shape.hidden_size)
        self.LayerNorm = nn.LayerNorm(shape.hidden_size, shape.layer_norm_eps)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return cast("Tensor", self.LayerNorm(self.dense(x) + skip))


class _Attention(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.self = _SelfAttention(shape)
        self.output = _Residual(shape.hidden_size, shape)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return cast("Tensor", self.output(self.self(x, mask), x))


class _Intermediate(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.dense = nn.Linear(shape.hidden_size, shape.intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(self.dense(x))


class _Layer(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.attention = _Attention(shape)
        self.intermediate = _Intermediate(shape)
        self.output = _Residual(shape.intermediate_size, shape)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention(x, mask)
        return cast("Tensor", self.output(self.intermediate(x), x))


class _Encoder(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.layer = nn.ModuleList(_Layer(shape) for _ in range(shape.num_hidden_layers))


class _Transformer(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.embeddings = _Embeddings(shape)
        self.encoder = _Encoder(shape)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        x = self.embeddings(tokens)
        for layer in self.encoder.layer:
            x = layer(x, mask)
        return cast("Tensor", x)


class TextTower(nn.Module):
    """Token ids int64 [n, length], padded with zeros → projected mean of the states [n, d]."""

    def __init__(self, shape: BertShape, dimensions: int, context_length: int) -> None:
        super().__init__()
        self.context_length = context_length
        self.transformer = _Transformer(shape)
        self.proj = nn.Linear(shape.hidden_size, dimensions, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        present = tokens != 0
        states = self.transformer(tokens, present[:, None, None, :])
        weights = present.to(states.dtype).unsqueeze(2)
        return cast("Tensor", self.proj((states * weights).sum(1) / weights.sum(1)))


def pad_tokens(rows: list[Tensor]) -> Tensor:
    """Stack rows of token ids of any lengths into [n, longest], padded with zeros."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
