"""The syntax tree of a filter on metadata.

A condition names a path into the metadata object. It holds for an item when the value there, or
any element of the array there, satisfies it; where the path leads nowhere it does not hold.
Values of different JSON types never compare: `"5"` is not 5, and `true` is not 1.
"""

from __future__ import annotations

from dataclasses import dataclass

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
class Range:
    """Numbers by value, strings by code point; the bounds given are all of one type."""

    path: Path
    gt: float | str | None = None
    gte: float | str | None = None
    lt: float | str | None = None
    lte: float | str | None = None


@dataclass(frozen=True, slots=True)
class Exists:
    """The path leads to a value, null included."""

    path: Path


@dataclass(frozen=True, slots=True)
class Not:
    clause: Filter


@dataclass(frozen=True, slots=True)
class And:
    clauses: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    clauses: tuple[Filter, ...]


Filter = Equals | OneOf | Range | Exists | Not | And | Or
