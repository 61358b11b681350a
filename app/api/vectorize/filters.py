"""Vectorize's metadata filter: the shared language's conditions, under its stricter rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from app.api.filter_language import BOUNDS, parse_filter
from app.api.vectorize.codes import Code, VectorizeError
from app.domain.filters import Equals, Not, OneOf, Range
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.domain.vector_indexes import Clause

MAX_BYTES = 2048
ALONE = ("$eq", "$ne", "$in", "$nin")
OPERATORS = {*ALONE, *BOUNDS}


def parse_conditions(document: Mapping[str, Any]) -> list[Clause]:
    """Read the filter of a query: all its conditions must hold.

    Raises VectorizeError. Vectorize: compact JSON below 2,048 bytes; keys of at most 512
    characters without `"` and `|`; one operator for a key, or one lower and one upper bound.
    """
    if not document:
        raise _invalid("a filter has at least one key")
    if (size := len(msgspec.json.encode(document))) >= MAX_BYTES:
        raise _invalid(f"a filter has less than {MAX_BYTES} bytes of compact JSON, got {size}")
    return [_condition(key, value) for key, value in document.items()]


def _condition(key: str, value: Any) -> Clause:
    if forbidden := [character for character in '"|' if character in key]:
        raise _invalid(f"the key {key!r} holds {forbidden[0]}")
    if isinstance(value, dict):
        _check_operators(key, value)
    try:
        clause = parse_filter({key: value})
    except InvalidInput as error:
        raise _invalid(error.message) from None
    if isinstance(clause, Equals | OneOf | Range | Not):
        return clause
    raise _invalid(f"the condition on {key!r} is none that Vectorize knows")


def _check_operators(key: str, operands: Mapping[str, Any]) -> None:
    if unknown := [name for name in operands if name not in OPERATORS]:
        known = ", ".join([*ALONE, *BOUNDS])
        raise _invalid(f"{key!r}: there is no operator {unknown[0]!r}; there are {known}")
    if len(operands) > 1 and any(name in ALONE for name in operands):
        raise _invalid(f"{key!r}: only a lower and an upper bound can stand together")


def _invalid(detail: str) -> VectorizeError:
    return VectorizeError(Code.INVALID_FILTER, f"invalid filter: {detail}")
