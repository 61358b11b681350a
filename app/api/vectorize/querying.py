"""From a query on the wire to the engine's, under each version's limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from app.api.inputs import check_input, given_inputs, read_input
from app.api.vectorize.codes import Code, VectorizeError
from app.api.vectorize.filters import parse_conditions
from app.api.vectorize.names import check_id, check_namespace
from app.domain.vector_indexes import VectorQuery

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from app.api.vectorize.schemas import Query
    from app.domain.collections import Collection
    from app.domain.requests import Input
    from app.settings import MediaSettings

MetadataLevel = Literal["none", "indexed", "all"]

LEVELS: dict[object, MetadataLevel] = {
    None: "none",
    False: "none",
    True: "all",
    "none": "none",
    "indexed": "indexed",
    "all": "all",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """How many matches a version gives: if not told, at most, and at most in full."""

    default: int = 5
    most: int = 100
    most_in_full: int = 50


REST = Limits()
LEGACY_REST = Limits(most=20, most_in_full=20)
LEGACY_BINDING = Limits(default=3, most=20, most_in_full=20)


async def read_query(
    body: Query, index: Collection, limits: Limits, media: MediaSettings
) -> tuple[VectorQuery, MetadataLevel]:
    """Check and decode a query. Raises VectorizeError."""
    level = LEVELS.get(body.return_metadata)
    if level is None:
        raise _unreadable("returnMetadata is none, indexed or all")
    check_namespace(body.namespace or "")
    source, vector = await _aim(body, index, media)
    with_vectors = bool(body.return_values)
    query = VectorQuery(
        vector=vector,
        item_id=body.vector_id,
        input=source,
        top_k=_top_k(body.top_k, limits, in_full=with_vectors or level == "all"),
        namespace=body.namespace or None,
        conditions=() if body.filter is None else parse_conditions(body.filter),
        with_vectors=with_vectors,
        with_indexed=level == "indexed",
    )
    return query, level


async def _aim(
    body: Query, index: Collection, media: MediaSettings
) -> tuple[Input | None, NDArray[np.float32] | None]:
    names = [name for name in ("vector", "vector_id") if getattr(body, name) is not None]
    names += given_inputs(body)
    if len(names) != 1:
        raise _unreadable("exactly one of vector, vectorId, text, image, image_base64 and audio")
    if body.vector is not None:
        return None, _vector(body.vector, index)
    if body.vector_id is not None:
        check_id(body.vector_id)
        return None, None
    if index.space.spec.model_id is None:
        raise _unreadable(f"{names[0]} needs an index with a model that embeds it")
    field, faults = check_input(body, ())
    if faults:
        raise _unreadable(faults[0].message)
    return await read_input(body, field, (), media), None


def _vector(values: list[float], index: Collection) -> NDArray[np.float32]:
    dimensions = index.space.spec.dimensions
    if len(values) != dimensions:
        raise VectorizeError(
            Code.QUERY_DIMENSIONS,
            f"invalid query vector, expected {dimensions} dimensions, and got {len(values)} "
            "dimensions",
        )
    with np.errstate(over="ignore"):
        vector = np.array(values, np.float32)
    if not np.isfinite(vector).all():
        raise _unreadable("a number of the vector is no float32")
    return vector


def _top_k(wanted: float | None, limits: Limits, *, in_full: bool) -> int:
    if wanted is None:
        return limits.default
    most = limits.most_in_full if in_full else limits.most
    if wanted != int(wanted) or not 1 <= wanted <= most:
        suffix = " with values or all metadata" if in_full else ""
        raise VectorizeError(Code.TOP_K, f"invalid topK; it is 1 to {most}{suffix}, got {wanted:g}")
    return int(wanted)


def _unreadable(reason: str) -> VectorizeError:
    return VectorizeError(Code.UNPARSABLE_QUERY, reason)
