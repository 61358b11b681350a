"""Declared fields: paths into the metadata that an index makes fast to filter by."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from app.domain.filters import Path


class FieldType(StrEnum):
    """What a field is asked for. Values of other types are stored all the same; none match.

    keyword, uuid, bool: equality; keyword also ranges and prefixes. integer, float: equality and
    ranges. datetime: equality and ranges in time. text: words. geo: areas.
    """

    KEYWORD = "keyword"
    INTEGER = "integer"
    FLOAT = "float"
    BOOL = "bool"
    DATETIME = "datetime"
    UUID = "uuid"
    TEXT = "text"
    GEO = "geo"


class FieldState(StrEnum):
    """An index that is being built, or could not be, changes no answer: only how fast it comes."""

    BUILDING = "building"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class FieldIndex:
    """`options`, a JSON object as text, is what a face wants to remember about it."""

    key: int
    path: Path
    type: FieldType
    state: FieldState
    options: str
    created_at: datetime
