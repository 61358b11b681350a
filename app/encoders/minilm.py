"""A BERT encoder of MiniLM's shape with mean pooling and a linear projection.

Parameters are named as in OpenCLIP's `HFTextEncoder` around a Hugging Face `BertModel`; the
forward pass does only what a sentence embedding needs. Wang et al. 2020, arXiv 2002.10957.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.layers import replace_layers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_RUNS_TO_OPTIMISE = 2  # the first tells the interpreter what the operations get


@dataclass(frozen=True, slots=True)
class BertShape:
    """The sizes of the encoder, named as in a Hugging Face BERT configuration."""

    vocab_size: int = 30522
    hidden_size: int = 384
    num_hidden_layers: int = 6
    num_attention_heads: int = 12
    intermediate_size: int = 1536
    max_position_embeddings: int = 512
    layer_norm_eps: float = 1e-12

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> BertShape:
        """Read the sizes out of a parsed `config.json`; absent ones keep MiniLM's value."""
        return cls(**{name: config[name] for name in cls.__slots__ if name in config})  # type: ignore[arg-type]


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


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """From [n, heads, length, width] each to [n, length, hidden]."""
    out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return out.transpose(1, 2).flatten(2)


class _SelfAttention(nn.Module):
    def __init__(self, shape: BertShape) -> None:
        super().__init__()
        self.query = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.key = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.value = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.heads = shape.num_attention_heads

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            projection(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        return _attend(query, key, value, mask)


class _MergedSelfAttention(nn.Module):
    """What `_SelfAttention` computes, with one multiplication for query, key and value."""

    def __init__(self, attention: _SelfAttention) -> None:
        super().__init__()
        parts = (attention.query, attention.key, attention.value)
        merged = nn.Linear(parts[0].in_features, 3 * parts[0].out_features, device="meta")
        weights = (
            torch.cat([part.weight for part in parts]),
            torch.cat([part.bias for part in parts]),
        )
        merged.weight, merged.bias = (nn.Parameter(w, requires_grad=False) for w in weights)
        self.projections = merged
        self.heads = attention.heads

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        each = self.projections(x).unflatten(2, (3, self.heads, -1))
        query, key, value = each.permute(2, 0, 3, 1, 4).unbind()
        return _attend(query, key, value, mask)


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

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
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

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
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

    def forward(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
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
        return self.of_whole(tokens) if _are_whole(tokens) else self.of_padded(tokens)

    def of_whole(self, tokens: Tensor) -> Tensor:
        """As `forward`, of texts of one length: nothing is masked."""
        return cast("Tensor", self.proj(self.transformer(tokens, None).mean(1)))

    def of_padded(self, tokens: Tensor) -> Tensor:
        """As `forward`, of texts of any lengths."""
        present = tokens != 0
        states = self.transformer(tokens, present[:, None, None, :])
        weights = present.to(states.dtype).unsqueeze(2)
        return cast("Tensor", self.proj((states * weights).sum(1) / weights.sum(1)))


def _are_whole(tokens: Tensor) -> bool:
    return bool((tokens != 0).all())


def merge_projections(tower: TextTower) -> None:
    """Let every layer of a tower multiply once for query, key and value, for inference alone.

    A short text is a hundred operations of some microseconds: it takes a seventh less so.
    """
    replace_layers(
        tower,
        lambda layer: _MergedSelfAttention(layer) if isinstance(layer, _SelfAttention) else None,
    )


def record(tower: TextTower) -> Callable[[Tensor], Tensor]:
    """Return what computes the same as a tower on the CPU, for inference, without its Python.

    A text is a hundred operations, a short one's of some microseconds each. Calling them from
    Python costs half as much again, of a lock that the event loop and other towers want as well.
    TorchScript is deprecated, but `torch.compile` wants a compiler on the machine, and what
    `torch.export` makes runs in Python. A PyTorch that has it no more runs the tower itself.
    """
    if not hasattr(torch.jit, "trace_module"):
        return tower
    ids = torch.ones(2, 3, dtype=torch.int64)
    methods = ["of_whole", "of_padded"]
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)
        trace = cast("Any", torch.jit.trace_module)
        traced = trace(tower, dict.fromkeys(methods, ids), check_trace=False)
        recorded = torch.jit.freeze(traced, preserved_attrs=methods)
    for _ in range(_RUNS_TO_OPTIMISE):
        for method in methods:
            getattr(recorded, method)(ids)

    def run(tokens: Tensor) -> Tensor:
        method = recorded.of_whole if _are_whole(tokens) else recorded.of_padded
        return cast("Tensor", method(tokens))

    return run


def pad_tokens(rows: list[Tensor]) -> Tensor:
    """Stack rows of token ids of any lengths into [n, longest], padded with zeros."""
    return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
