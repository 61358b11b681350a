"""Declared field indexes: what each kind is over, and the conditions that it serves.

An index is on an expression over an item's metadata that never fails, whatever is stored there.
A condition that it serves is written as the same expression, and holds for at least the items
that the filter's own condition holds for. Values that have no one place in an order (arrays) are
kept at a place of their own, which every range asks for as well.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from app.domain.fields import FieldState, FieldType
from app.domain.filters import (
    Condition,
    Equals,
    GeoBox,
    GeoPolygon,
    GeoRadius,
    OneOf,
    Range,
    Substring,
    Text,
    TextMode,
    TimeRange,
)
from app.store.geometry import Area, boxes_around
from app.store.text import storable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.domain.fields import FieldIndex

    Bind = Callable[[Any], str]

KEY_CHARS = 256  # of a string that are in the index: a key must fit in a third of a page
STEM_CHARS = 3  # of a word's beginning that are in the index
LAST = "\U0010ffff"  # no character sorts behind it


class Access(NamedTuple):
    """One index: its method, its expression over `VALUE`, what closes its definition.

    `kind` is the SQL type of an ordered expression and `arrays` the place of arrays in it.
    """

    method: str
    expression: str
    closing: str = ")"
    kind: str = ""
    arrays: str = ""

    def over(self, value: str) -> str:
        return self.expression.replace("VALUE", value)


# Equality is written as this index is without more ado (app/store/conditions.py).
VALUES = Access("gin", "VALUE", " jsonb_path_ops) WITH (fastupdate = off)")
STRINGS = Access(
    "btree",
    f"(CASE jsonb_typeof(VALUE) WHEN 'string' THEN left(VALUE #>> '{{}}', {KEY_CHARS}) "
    f"WHEN 'array' THEN '{LAST}' END COLLATE \"C\")",
    kind="text",
    arrays=LAST,
)
NUMBERS = Access(
    "btree",
    "(CASE jsonb_typeof(VALUE) WHEN 'number' THEN VALUE::numeric WHEN 'array' THEN 'NaN' END)",
    kind="numeric",
    arrays="NaN",
)
TIMES = Access(
    "btree",
    "(CASE jsonb_typeof(VALUE) WHEN 'string' THEN time_of(VALUE #>> '{}') "
    "WHEN 'array' THEN 'infinity' END)",
    kind="timestamptz",
    arrays="infinity",
)
WORDS = Access("gin", "word_keys(VALUE)", " array_ops) WITH (fastupdate = off)")
BOXES = Access("gist", "box_around(VALUE)")

ACCESSES: dict[FieldType, tuple[Access, ...]] = {
    FieldType.KEYWORD: (VALUES, STRINGS),
    FieldType.INTEGER: (VALUES, NUMBERS),
    FieldType.FLOAT: (VALUES, NUMBERS),
    FieldType.BOOL: (VALUES,),
    FieldType.UUID: (VALUES,),
    FieldType.DATETIME: (VALUES, TIMES),
    FieldType.TEXT: (WORDS,),
    FieldType.GEO: (BOXES,),
}


def indexable(
    condition: Condition, bind: Bind, value: str, indexes: Sequence[FieldIndex]
) -> str | None:
    """Return what a ready index on the condition's path can tell of it; None if there is none."""
    access = _access(condition)
    if access is None or access not in _ready(condition, indexes):
        return None
    match condition:
        case Range() | TimeRange():
            return _ordered(access, condition, bind, value)
        case Substring(path, text):
            first = text[: KEY_CHARS - 1]
            last = first + LAST * (KEY_CHARS - len(first))
            return _ordered(access, Range(path, gte=first, lte=last), bind, value)
        case Text():
            return _words(condition, bind, value)
        case GeoBox() | GeoRadius() | GeoPolygon():
            return _boxes(condition, bind, value)
    return None


def serves(condition: Condition, indexes: Sequence[FieldIndex]) -> bool:
    """Tell whether a ready index leads to the items for which the condition holds."""
    return _access(condition) in _ready(condition, indexes)


def _ready(condition: Condition, indexes: Sequence[FieldIndex]) -> set[Access]:
    return {
        access
        for index in indexes
        if index.path == condition.path and index.state is FieldState.READY
        for access in ACCESSES[index.type]
    }


def _access(condition: Condition) -> Access | None:  # noqa: PLR0911 (one for each kind)
    """The kind of index that serves a condition."""
    match condition:
        case Equals() | OneOf():
            return VALUES
        case Range(gt=gt, gte=gte, lt=lt, lte=lte):
            strings = any(isinstance(bound, str) for bound in (gt, gte, lt, lte))
            return STRINGS if strings else NUMBERS
        case TimeRange():
            return TIMES
        case Substring(text=text, start=True) if text:
            return STRINGS
        case Text(text=text, mode=mode):
            short = mode is TextMode.PREFIX and len(text) < STEM_CHARS
            return None if short else WORDS
        case GeoBox() | GeoRadius() | GeoPolygon():
            return BOXES
    return None


def _ordered(access: Access, clause: Range | TimeRange, bind: Bind, value: str) -> str | None:
    """The bounds themselves are within: what is in the index may be a shortened key."""
    key, tests = access.over(value), []
    bounds = ((">=", clause.gt), (">=", clause.gte), ("<=", clause.lt), ("<=", clause.lte))
    for sign, bound in bounds:
        if bound is not None:
            tests.append(f"{key} {sign} {bind(_key(bound))}::{access.kind}")
    if not tests:
        return None
    return f"({' AND '.join(tests)} OR {key} = '{access.arrays}')"


def _key(bound: float | str | datetime) -> Decimal | str | datetime | None:
    """A bound as a key of its index; None, which nothing compares to, for what is never stored."""
    match bound:
        case str():
            return bound[:KEY_CHARS] if storable(bound) else None
        case datetime():
            return bound
        case _:
            return Decimal(repr(bound))  # the number that JSON writes


def _words(clause: Text, bind: Bind, value: str) -> str:
    keys, words = WORDS.over(value), f"{bind(clause.text if storable(clause.text) else '')}::text"
    match clause.mode:
        case TextMode.ANY:
            return f"{keys} && word_keys(to_jsonb({words}))"
        case TextMode.PREFIX:
            return f"{keys} @> stems_of({words})"
        case _:
            return f"{keys} @> word_keys(to_jsonb({words}))"


def _boxes(area: Area, bind: Bind, value: str) -> str:
    tests = []
    for box in boxes_around(area):
        west, south, east, north = (f"{bind(side)}::float8" for side in box)
        corners = f"point({west}, {south}), point({east}, {north})"
        tests.append(f"{BOXES.over(value)} && box({corners})")
    return f"({' OR '.join(tests)})"
