"""Conditions on metadata indexes as SQL over a jsonb column that holds their values by key.

The expressions are those of the indexes (see app/store/metadata_indexes.py), so that they are used.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from app.domain.filters import Equals, MetadataKind, Not, OneOf, Range
from app.domain.vector_indexes import PREFIX_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.domain.filters import Indexed, MetadataIndex, Scalar

    Bind = Callable[[Any], str]

_TYPES = {
    MetadataKind.STRING: "text",
    MetadataKind.NUMBER: "float8",
    MetadataKind.BOOLEAN: "boolean",
}
_BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def indexed_expression(field: MetadataIndex, column: str) -> str:
    """The value that the index holds, typed; NULL where it holds none."""
    text = f"({column} ->> '{int(field.key)}')"
    return f'{text} COLLATE "C"' if field.kind is MetadataKind.STRING else f"{text}::{_type(field)}"


def compile_indexed(condition: Indexed, bind: Bind, column: str) -> str:
    """Return an SQL condition on `column`; it may be NULL where it does not hold."""
    field, clause = condition.index, condition.clause
    match clause:
        case Equals(value=value):
            return _any_of(field, (value,), bind, column)
        case OneOf(values=values):
            return _any_of(field, values, bind, column)
        case Not(clause=Equals(value=value)):
            return _none_of(field, (value,), bind, column)
        case Not(clause=OneOf(values=values)):
            return _none_of(field, values, bind, column)
        case Range():
            return _range(field, clause, bind, column)
    raise AssertionError(clause)


def _any_of(field: MetadataIndex, values: Sequence[Scalar], bind: Bind, column: str) -> str:
    choices = _operands(field, values)
    parts = [f"{indexed_expression(field, column)} = ANY ({bind(choices)}::{_type(field)}[])"]
    if None in values:
        parts.append(f"{column} -> '{int(field.key)}' = 'null'")
    return f"({' OR '.join(parts)})"


def _none_of(field: MetadataIndex, values: Sequence[Scalar], bind: Bind, column: str) -> str:
    value = indexed_expression(field, column)
    choices = f"{bind(_operands(field, values))}::{_type(field)}[]"
    return f"({value} IS NOT NULL AND {value} <> ALL ({choices}))"


def _range(field: MetadataIndex, clause: Range, bind: Bind, column: str) -> str:
    bounds = {name: bound for name in _BOUNDS if (bound := getattr(clause, name)) is not None}
    operands = {name: _operands(field, (bound,)) for name, bound in bounds.items()}
    if field.kind is MetadataKind.BOOLEAN or not all(operands.values()):
        return "false"
    value = indexed_expression(field, column)
    parts = (
        f"{value} {_BOUNDS[name]} {bind(operand)}::{_type(field)}"
        for name, [operand] in operands.items()
    )
    return f"({' AND '.join(parts)})"


def _type(field: MetadataIndex) -> str:
    return _TYPES[field.kind]


def _operands(field: MetadataIndex, values: Sequence[Scalar]) -> list[Any]:
    """Those of the index's type, as it would hold them."""
    match field.kind:
        case MetadataKind.STRING:
            return [prefix(value) for value in values if isinstance(value, str)]
        case MetadataKind.BOOLEAN:
            return [value for value in values if isinstance(value, bool)]
        case MetadataKind.NUMBER:
            return [
                _float(value)
                for value in values
                if isinstance(value, int | float) and not isinstance(value, bool)
            ]


def prefix(text: str) -> str:
    """The longest prefix of whole characters within 64 bytes of UTF-8."""
    return text.encode()[:PREFIX_BYTES].decode(errors="ignore")


def _float(number: float) -> float:
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf
