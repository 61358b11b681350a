"""Distances as SQL, and the expressions that HNSW indexes are over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.domain.collections import IndexKind, Metric, SpaceKind

if TYPE_CHECKING:
    from app.domain.collections import SpaceSpec

# pgvector's limits on what an index is over.
MAX_HALFVEC_DIMENSIONS = 4000
MAX_BIT_DIMENSIONS = 64_000

_OPERATORS = {
    Metric.COSINE: "<=>",
    Metric.DOT: "<#>",
    Metric.EUCLIDEAN: "<->",
    Metric.MANHATTAN: "<+>",
}
_OPERATOR_CLASSES = {
    "<=>": "halfvec_cosine_ops",
    "<#>": "halfvec_ip_ops",
    "<->": "halfvec_l2_ops",
    "<+>": "halfvec_l1_ops",
}


def distance_operator(spec: SpaceSpec) -> str:
    """Vectors of a model have unit length: their cosine is the cheaper dot product."""
    return "<#>" if spec.model_id is not None else _OPERATORS[spec.metric]


def similarity_of(operator: str, embedding: str, query: str) -> str:
    """Higher is nearer: see Metric."""
    distance = f"({embedding} {operator} {query})"
    if operator == "<=>":  # not a number for a vector of zeros
        return f"coalesce(nullif(1 - {distance}, 'NaN'), 0)"
    return f"-{distance}"


def indexable_as(spec: SpaceSpec, kind: IndexKind) -> bool:
    """Tell whether an index of the kind can be made. Signs say nothing about lengths."""
    if spec.kind is not SpaceKind.DENSE:
        return False
    if kind is IndexKind.BINARY:
        return spec.metric is Metric.COSINE and spec.dimensions <= MAX_BIT_DIMENSIONS
    return spec.dimensions <= MAX_HALFVEC_DIMENSIONS


def indexed_expression(spec: SpaceSpec, kind: IndexKind) -> tuple[str, str]:
    """What an index is over, and its operator class. Queries order by the same expression.

    Half precision, or signs, in either kind of space: the distances of what the index finds are
    taken in full.
    """
    if kind is IndexKind.BINARY:
        return f"(binary_quantize(embedding)::bit({int(spec.dimensions)}))", "bit_hamming_ops"
    return (
        f"(embedding::halfvec({int(spec.dimensions)}))",
        _OPERATOR_CLASSES[distance_operator(spec)],
    )


def index_order(spec: SpaceSpec, query: str, kind: IndexKind) -> str:
    """What an index of the kind can sort rows `v` by, next to `query` first."""
    dimensions = int(spec.dimensions)
    if kind is IndexKind.BINARY:
        bits = f"::bit({dimensions})"
        return f"binary_quantize(v.embedding){bits} <~> binary_quantize({query}){bits}"
    half = f"::halfvec({dimensions})"
    return f"v.embedding{half} {distance_operator(spec)} {query}{half}"
