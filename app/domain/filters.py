"""The syntax tree of a filter.

A condition names a path into the metadata object. It holds for an item when the value there, or
any element of the array there, satisfies it; where the path leads nowhere it does not hold.
Values of different JSON types never compare: `"5"` is not 5, and `true` is not 1.
Conditions that look at the value as a whole (null, empty, count) say so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from app.domain.modality import Modality

Path = tuple[str, ...]
Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Equals:
    path: Path
    value: Scalar


@dataclass(frozen=True, slots=True)
class OneOf:
    path: Path
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class OtherThan:
    """The value, or an element, is not null and none of `values` (Qdrant's `except`)."""

    path: Path
    values: tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers by value, strings by code point; the bounds given are all of one type."""

    path: Path
    gt: float | str | None = None
    gte: float | str | None = None
    lt: float | str | None = None
    lte: float | str | None = None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Strings that are RFC 3339 times, compared as instants; bounds have a time zone.

    Without an offset they are in UTC; a date alone is its midnight; the seconds may be missing.
    """

    path: Path
    gt: datetime | None = None
    gte: datetime | None = None
    lt: datetime | None = None
    lte: datetime | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The path leads to a value, null included."""

    path: Path


@dataclass(frozen=True, slots=True)
class IsNull:
    """The path leads to null itself."""

    path: Path


@dataclass(frozen=True, slots=True)
class IsEmpty:
    """The path leads nowhere, to null or to an empty array."""

    path: Path


@dataclass(frozen=True, slots=True)
class ValuesCount:
    """How many elements: 1 for what is no array, 0 for null and where the path leads nowhere."""

    path: Path
    gt: int | None = None
    gte: int | None = None
    lt: int | None = None
    lte: int | None = None


class TextMode(StrEnum):
    """How the words of a condition must be found in a string.

    Words are what stands between spaces and punctuation, compared in lower case. A condition
    without any word never holds.
    """

    ALL = "all"
    ANY = "any"
    PHRASE = "phrase"  # one after the other
    PREFIX = "prefix"  # each begins a word


@dataclass(frozen=True, slots=True)
class Text:
    path: Path
    text: str
    mode: TextMode = TextMode.ALL


@dataclass(frozen=True, slots=True)
class Substring:
    """The string contains `text`, character by character; with `start`, it begins with it."""

    path: Path
    text: str
    start: bool = False


@dataclass(frozen=True, slots=True)
class GeoPoint:
    """Degrees. In metadata: an object with the numbers `lon` (±180) and `lat` (±90)."""

    lon: float
    lat: float


@dataclass(frozen=True, slots=True)
class GeoBox:
    """Borders included; a box whose west is greater than its east crosses the 180th meridian."""

    path: Path
    north_west: GeoPoint
    south_east: GeoPoint


@dataclass(frozen=True, slots=True)
class GeoRadius:
    """Within `metres` of the centre on a sphere of radius 6,371,008.8 m, border included."""

    path: Path
    centre: GeoPoint
    metres: float


@dataclass(frozen=True, slots=True)
class GeoPolygon:
    """Inside or on `exterior`, and not strictly inside any of `interiors`.

    Rings of at least three points, closed by themselves, in the plane of longitude and latitude.
    """

    path: Path
    exterior: tuple[GeoPoint, ...]
    interiors: tuple[tuple[GeoPoint, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Nested:
    """One element of the array there is an object that satisfies `clause` all by itself.

    The paths in `clause` start at the element; what it says of the item, it says of the item.
    """

    path: Path
    clause: Filter


@dataclass(frozen=True, slots=True)
class HasId:
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HasVector:
    """The item has a vector in the collection's space of that name (`""`: the unnamed one)."""

    space: str = ""


@dataclass(frozen=True, slots=True)
class InNamespace:
    namespace: str


@dataclass(frozen=True, slots=True)
class OfModality:
    """The item's content is of one of the kinds; None is the kind of vectors without content."""

    modalities: frozenset[Modality | None]


class MetadataKind(StrEnum):
    STRING = "string"
    NUMBER = "number"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class MetadataIndex:
    """A declared index of what values had when they were written, as Vectorize has it.

    It holds the field's value of each item that was written since: the longest prefix of whole
    characters in 64 bytes of a string, a float64, or a boolean.
    """

    key: int
    path: Path
    kind: MetadataKind

    @property
    def name(self) -> str:
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Indexed:
    """A condition on what a metadata index holds; the path in `clause` is the index's own.

    Values of another type than the index's match nothing. A negation holds where the index holds
    a value and that value is another. Null stands for: indexed, and without a value of the kind.
    """

    index: MetadataIndex
    clause: Equals | OneOf | Range | Not


@dataclass(frozen=True, slots=True)
class Not:
    clause: Filter


@dataclass(frozen=True, slots=True)
class And:
    clauses: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    clauses: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AtLeast:
    """At least `count` of the clauses hold."""

    count: int
    clauses: tuple[Filter, ...]


Condition = (
    Equals
    | OneOf
    | OtherThan
    | Range
    | TimeRange
    | Exists
    | IsNull
    | IsEmpty
    | ValuesCount
    | Text
    | Substring
    | GeoBox
    | GeoRadius
    | GeoPolygon
)
"""What a filter says of the value at one path."""

Filter = (
    Condition
    | Nested
    | HasId
    | HasVector
    | InNamespace
    | OfModality
    | Indexed
    | Not
    | And
    | Or
    | AtLeast
)
