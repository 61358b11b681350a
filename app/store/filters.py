"""Filters as SQL over a jsonb column. Every value and every key is a bound parameter."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from app.domain.filters import And, Equals, Exists, Filter, Not, OneOf, Or, Path, Range, Scalar
from app.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


def compile_filter(  # noqa: PLR0911 (one for each kind of clause)
    clause: Filter, bind: Callable[[Any], str], column: str
) -> str:
    """Return a condition on `column`, which names a jsonb column that holds an object.

    `bind` takes a value and returns its placeholder. The text depends on the shape of the tree
    alone, so that statements of one shape share a prepared plan. The condition may be NULL where
    it does not hold. Raises InvalidInput for numbers that JSON cannot write.
    """
    match clause:
        case Equals(path, value):
            return _contains_any(path, (value,), bind, column)
        case OneOf(path, values):
            return _contains_any(path, values, bind, column)
        case Range():
            return _range(clause, bind, column)
        case Exists(path):
            return f"({_value(path, bind, column)}) IS NOT NULL"
        case Not(inner):
            return f"({compile_filter(inner, bind, column)}) IS NOT TRUE"
        case And(clauses):
            return _joined("AND", clauses, bind, column) or "true"
        case Or(clauses):
            return _joined("OR", clauses, bind, column) or "false"


def _joined(
    operator: str, clauses: Sequence[Filter], bind: Callable[[Any], str], column: str
) -> str:
    parts = (f"({compile_filter(clause, bind, column)})" for clause in clauses)
    return f" {operator} ".join(parts)


def _value(path: Path, bind: Callable[[Any], str], column: str) -> str:
    """The value that the path leads to; NULL where it leads nowhere.

    `jsonb -> text` enters objects only, as the paths of filters do. A key that jsonb cannot hold
    is bound as NULL and leads nowhere.
    """
    keys = (bind(key if _storable(key) else None) for key in path)
    return "".join([column, *(f" -> {key}::text" for key in keys)])


def _contains_any(
    path: Path, values: Sequence[Scalar], bind: Callable[[Any], str], column: str
) -> str:
    """The value there, or an element of the array there, equals one of `values`.

    `@>` with a scalar on the right is just that: types must match, numbers compare by value.
    """
    documents = [_document(value) for value in values if _storable(value)]
    return f"({_value(path, bind, column)}) @> ANY ({bind(documents)}::jsonb[])"


def _range(clause: Range, bind: Callable[[Any], str], column: str) -> str:
    """One value, the one there or an element of the array there, lies within all bounds.

    SQL/JSON path compares strings by code point and numbers exactly, and no others.
    """
    bounds = {name: bound for name in _BOUNDS if (bound := getattr(clause, name)) is not None}
    value = _value(clause.path, bind, column)
    if not bounds:
        return f"{value} IS NULL AND false"
    inside = " && ".join(f"@ {_BOUNDS[name]} ${name}" for name in bounds)
    path = f"strict $ ? ({inside} || exists(@[*] ? ({inside})))"
    storable = all(_storable(bound) for bound in bounds.values())
    document = _document(bounds) if storable else None
    return f"jsonb_path_exists({value}, {bind(path)}::jsonpath, {bind(document)}::jsonb, true)"


def _document(value: Any) -> str:
    for number in value.values() if isinstance(value, dict) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise InvalidInput.at(("filter",), "a number is not finite")
    return json.dumps(value)


def _storable(value: Any) -> bool:
    """Tell whether jsonb can hold the value: no NUL and no lone surrogates in strings."""
    if not isinstance(value, str):
        return True
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
