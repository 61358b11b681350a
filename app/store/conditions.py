"""What a filter says of the value at one path, as SQL.

Conditions are exact by themselves. Where a declared index serves one, a second condition that is
written as the index is, and that holds wherever the first does, stands before it
(app/store/field_indexes.py): an index makes a search faster and changes no answer.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from app.domain.filters import (
    Condition,
    Equals,
    Exists,
    GeoBox,
    GeoPolygon,
    GeoRadius,
    IsEmpty,
    IsNull,
    OneOf,
    OtherThan,
    Path,
    Range,
    Scalar,
    Substring,
    Text,
    TextMode,
    TimeRange,
    ValuesCount,
)
from app.errors import InvalidInput
from app.store.field_indexes import indexable
from app.store.geometry import Area, area_condition
from app.store.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.domain.fields import FieldIndex

    Bind = Callable[[Any], str]

_BOUNDS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}

# In its lax mode a path's filter looks at the elements of an array, one level deep.
_STRINGS = """'$ ? (@.type() == "string")'"""
_VALUES = """'$ ? (@.type() != "null")'"""
_POINTS = (
    """'$ ? (@.type() == "object" && @.lon.type() == "number" && @.lat.type() == "number" """
    """&& @.lon >= -180 && @.lon <= 180 && @.lat >= -90 && @.lat <= 90)'"""
)


def value_at(path: Path, bind: Bind, document: str) -> str:
    """The value that the path leads to; NULL where it leads nowhere.

    `jsonb -> text` enters objects only, as the paths of filters do. A key that jsonb cannot hold
    is bound as NULL and leads nowhere.
    """
    keys = (bind(key if storable(key) else None) for key in path)
    return f"({''.join([document, *(f' -> {key}::text' for key in keys)])})"


def compile_condition(
    condition: Condition, bind: Bind, document: str, indexes: Sequence[FieldIndex] = ()
) -> str:
    """Return the condition on `document`, a jsonb expression; NULL may stand for false."""
    value = value_at(condition.path, bind, document)
    exact = _exact(condition, bind, value)
    if (hint := indexable(condition, bind, value, indexes)) is not None:
        return f"{hint} AND {exact}"
    return exact


def _exact(condition: Condition, bind: Bind, value: str) -> str:  # noqa: PLR0911 (one per kind)
    match condition:
        case Equals(value=scalar):
            document = _document(scalar) if storable(scalar) else None
            return f"{value} @> {bind(document)}::jsonb"
        case OneOf(values=values):
            return f"{value} @> ANY ({bind(_documents(values))}::jsonb[])"
        case Range():
            return _range(condition, bind, value)
        case Exists():
            return f"{value} IS NOT NULL"
        case IsNull():
            return f"{value} = 'null'"
        case IsEmpty():
            return f"coalesce({value} IN ('null', '[]'), true)"
        case ValuesCount():
            return _compared(condition, bind, _count(value), "bigint")
        case _:
            return _of_one(condition, bind, value)


def _of_one(
    condition: OtherThan | TimeRange | Text | Substring | Area, bind: Bind, value: str
) -> str:
    """The value, or an element of the array, passes a test."""
    match condition:
        case OtherThan(values=values):
            return _any(value, _VALUES, f"e <> ALL ({bind(_documents(values))}::jsonb[])")
        case TimeRange():
            tests = _compared(condition, bind, "time_of(e #>> '{}')", "timestamptz")
            return _any(value, _STRINGS, tests)
        case Text():
            return _text(condition, bind, value)
        case Substring(text=text, start=start):
            part = f"{bind(text if storable(text) else None)}::text"
            test = f"position({part} IN e #>> '{{}}') > 0"
            if start:
                test = f"starts_with(e #>> '{{}}', {part})"
            return _any(value, _STRINGS, test)
        case GeoBox() | GeoRadius() | GeoPolygon():
            return _any(value, _POINTS, area_condition(condition, bind))


def _any(value: str, kind: str, test: str) -> str:
    """The value, or an element of the array, is of the kind and passes the test, as `e`."""
    return f"EXISTS (SELECT FROM jsonb_path_query({value}, {kind}) AS e WHERE {test})"


def _range(clause: Range, bind: Bind, value: str) -> str:
    """One value, the one there or an element of the array there, lies within all bounds.

    SQL/JSON path compares strings by code point and numbers exactly, and no others.
    """
    bounds = {name: bound for name in _BOUNDS if (bound := getattr(clause, name)) is not None}
    if not bounds:
        return f"({value} IS NULL AND false)"
    inside = " && ".join(f"@ {_BOUNDS[name]} ${name}" for name in bounds)
    path = f"strict $ ? ({inside} || exists(@[*] ? ({inside})))"
    can_hold = all(storable(bound) for bound in bounds.values())
    document = _document(bounds) if can_hold else None
    return f"jsonb_path_exists({value}, {bind(path)}::jsonpath, {bind(document)}::jsonb, true)"


def _compared(clause: TimeRange | ValuesCount, bind: Bind, value: str, kind: str) -> str:
    """The SQL value lies within the clause's bounds."""
    tests = [
        f"{value} {sign} {bind(bound)}::{kind}"
        for name, sign in _BOUNDS.items()
        if (bound := getattr(clause, name)) is not None
    ]
    return f"({' AND '.join(tests) or f'{value} IS NULL AND false'})"


def _count(value: str) -> str:
    return (
        f"CASE coalesce(jsonb_typeof({value}), 'null') WHEN 'null' THEN 0 "
        f"WHEN 'array' THEN jsonb_array_length({value}) ELSE 1 END"
    )


def _text(clause: Text, bind: Bind, value: str) -> str:
    there, wanted = "words_of(e #>> '{}')", f"words_of({bind(_given(clause.text))}::text)"
    match clause.mode:
        case TextMode.ALL:
            test = f"{there} @> {wanted}"
        case TextMode.ANY:
            test = f"{there} && {wanted}"
        case TextMode.PHRASE:  # words hold none of the characters that LIKE reads otherwise
            test = (
                f"' ' || array_to_string({there}, ' ') || ' ' "
                f"LIKE '% ' || array_to_string({wanted}, ' ') || ' %'"
            )
        case TextMode.PREFIX:
            test = (
                f"NOT EXISTS (SELECT FROM unnest({wanted}) AS w WHERE NOT EXISTS "
                f"(SELECT FROM unnest({there}) AS t WHERE starts_with(t, w)))"
            )
    return f"cardinality({wanted}) > 0 AND {_any(value, _STRINGS, test)}"


def _given(text: str) -> str:
    return text if storable(text) else ""


def _documents(values: Sequence[Scalar]) -> list[str]:
    return [_document(value) for value in values if storable(value)]


def _document(value: Any) -> str:
    for number in value.values() if isinstance(value, dict) else (value,):
        if isinstance(number, float) and not math.isfinite(number):
            raise InvalidInput.at(("filter",), "a number is not finite")
    return json.dumps(value)
