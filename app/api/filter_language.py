"""The filter language of the wire and the engine's filters, both ways.

Vectorize's metadata filter (`$eq $ne $in $nin $lt $lte $gt $gte`; a bare value is `$eq`; several
keys hold together; a dot in a key steps into a nested object) with `$and $or $not $exists` added.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from app.domain.filters import And, Equals, Exists, Filter, Not, OneOf, Or, Range, Scalar
from app.errors import InvalidInput, Path, Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from app.domain.filters import Path as FieldPath

T = TypeVar("T")

MAX_DEPTH = 16
MAX_CONDITIONS = 256
MAX_CHOICES = 1000
MAX_KEY_CHARS = 512

BOUNDS = {"$gt": "gt", "$gte": "gte", "$lt": "lt", "$lte": "lte"}
JUNCTIONS: dict[str, Callable[[tuple[Filter, ...]], Filter]] = {"$and": And, "$or": Or}
OPERATORS = ("$eq", "$ne", "$in", "$nin", *BOUNDS, "$exists")


def parse_filter(document: Any, path: Path = ("filter",)) -> Filter:
    """Read a filter; `path` leads to it in the request.

    Raises InvalidInput that names every mistake.
    """
    tree = _whole(document, path, 1)
    if _size(tree) > MAX_CONDITIONS:
        raise InvalidInput.at(path, f"a filter has at most {MAX_CONDITIONS} conditions")
    return tree


def render_filter(tree: Filter) -> dict[str, Any]:
    """Write a filter as JSON that parse_filter reads back as the same tree."""
    match tree:
        case And(clauses):
            return {"$and": [render_filter(clause) for clause in clauses]}
        case Or(clauses):
            return {"$or": [render_filter(clause) for clause in clauses]}
        case Not(Equals() | OneOf() | Exists() as clause):
            return {".".join(clause.path): _negated_condition(clause)}
        case Not(clause):
            return {"$not": render_filter(clause)}
        case Equals() | OneOf() | Exists() | Range():
            return {".".join(tree.path): _condition(tree)}
        case _:
            raise TypeError(f"the filter language has no word for {type(tree).__name__}")


def _condition(leaf: Equals | OneOf | Exists | Range) -> dict[str, Any]:
    match leaf:
        case Equals(value=value):
            return {"$eq": value}
        case OneOf(values=values):
            return {"$in": list(values)}
        case Exists():
            return {"$exists": True}
        case Range():
            bounds = {word: getattr(leaf, name) for word, name in BOUNDS.items()}
            return {word: bound for word, bound in bounds.items() if bound is not None}


def _negated_condition(leaf: Equals | OneOf | Exists) -> dict[str, Any]:
    match leaf:
        case Equals(value=value):
            return {"$ne": value}
        case OneOf(values=values):
            return {"$nin": list(values)}
        case Exists():
            return {"$exists": False}


def _whole(document: Any, path: Path, depth: int) -> Filter:
    if not isinstance(document, dict) or not document:
        raise InvalidInput.at(path, "a filter is an object with at least one key")
    if depth > MAX_DEPTH:
        raise InvalidInput.at(path, f"a filter is at most {MAX_DEPTH} levels deep")
    entries = (partial(_entry, k, v, (*path, k), depth) for k, v in document.items())
    return _all_of(_gather(entries))


def _entry(key: str, value: Any, path: Path, depth: int) -> Filter:
    if key in JUNCTIONS:
        if not isinstance(value, list) or not value:
            raise InvalidInput.at(path, f"{key} takes an array of at least one filter")
        clauses = (partial(_whole, v, (*path, i), depth + 1) for i, v in enumerate(value))
        return JUNCTIONS[key](tuple(_gather(clauses)))
    if key == "$not":
        return Not(_whole(value, path, depth + 1))
    steps = read_path(key, path)
    if not isinstance(value, dict):
        return Equals(steps, _scalar(value, path))
    if not value:
        raise InvalidInput.at(path, "a condition has at least one operator")
    return _operators(steps, value, path)


def read_path(key: str, path: Path) -> FieldPath:
    if key in OPERATORS:
        raise InvalidInput.at(path, f"{key} must stand inside a key: {{key: {{{key}: …}}}}")
    if key.startswith("$"):
        raise InvalidInput.at(path, f"there is no operator {key}; keys do not start with $")
    if len(key) > MAX_KEY_CHARS:
        raise InvalidInput.at(path, f"a key has at most {MAX_KEY_CHARS} characters")
    if "\0" in key:
        raise InvalidInput.at(path, "a key holds no NUL character")
    steps = tuple(key.split("."))
    if not all(steps):
        raise InvalidInput.at(path, "a key, and each part of it between dots, has a character")
    return steps


def _operators(steps: FieldPath, operands: Mapping[str, Any], path: Path) -> Filter:
    readers: list[Callable[[], Filter]] = [
        partial(_operator, steps, name, operand, (*path, name))
        for name, operand in operands.items()
        if name not in BOUNDS
    ]
    if bounds := {name: bound for name, bound in operands.items() if name in BOUNDS}:
        readers.append(partial(_range, steps, bounds, path))
    return _all_of(_gather(readers))


def _operator(steps: FieldPath, name: str, operand: Any, path: Path) -> Filter:
    match name:
        case "$eq":
            return Equals(steps, _scalar(operand, path))
        case "$ne":
            return Not(Equals(steps, _scalar(operand, path)))
        case "$in":
            return OneOf(steps, _scalars(operand, path))
        case "$nin":
            return Not(OneOf(steps, _scalars(operand, path)))
        case "$exists" if isinstance(operand, bool):
            return Exists(steps) if operand else Not(Exists(steps))
        case "$exists":
            message = "$exists takes true or false"
        case _ if name.startswith("$"):
            message = f"there is no operator {name}; there are {', '.join(OPERATORS)}"
        case _:
            message = f"expected an operator; to reach {name} inside the object, use a dot"
    raise InvalidInput.at(path, message)


def _range(steps: FieldPath, bounds: Mapping[str, Any], path: Path) -> Filter:
    violations = [
        Violation((*path, name), f"{name} takes a number or a string")
        for name, bound in bounds.items()
        if isinstance(bound, bool) or not isinstance(bound, int | float | str)
    ]
    if {"$gt", "$gte"} <= bounds.keys() or {"$lt", "$lte"} <= bounds.keys():
        violations.append(Violation(path, "a range has one lower and one upper bound at most"))
    if len({isinstance(bound, str) for bound in bounds.values()}) > 1:
        violations.append(Violation(path, "a range is between two numbers or two strings"))
    if violations:
        raise InvalidInput(violations)
    return Range(
        steps, **{BOUNDS[name]: _scalar(bound, (*path, name)) for name, bound in bounds.items()}
    )


def _scalars(values: Any, path: Path) -> tuple[Scalar, ...]:
    if not isinstance(values, list) or not 0 < len(values) <= MAX_CHOICES:
        raise InvalidInput.at(path, f"{path[-1]} takes an array of 1 to {MAX_CHOICES} values")
    return tuple(_gather(partial(_scalar, value, (*path, i)) for i, value in enumerate(values)))


def _scalar(value: Any, path: Path) -> Any:
    if isinstance(value, dict | list):
        hint = "; to match one of several, use $in" if isinstance(value, list) else ""
        raise InvalidInput.at(path, f"expected a string, a number, a boolean or null{hint}")
    if isinstance(value, str) and "\0" in value:
        raise InvalidInput.at(path, "a string holds no NUL character")
    return value


def _gather(readers: Iterable[Callable[[], T]]) -> list[T]:
    """Read on after a mistake, so that all of them are told at once."""
    values: list[T] = []
    violations: list[Violation] = []
    for read in readers:
        try:
            values.append(read())
        except InvalidInput as error:
            violations += error.violations
    if violations:
        raise InvalidInput(violations)
    return values


def _all_of(clauses: list[Filter]) -> Filter:
    return clauses[0] if len(clauses) == 1 else And(tuple(clauses))


def _size(tree: Filter) -> int:
    """Count the conditions of a tree."""
    match tree:
        case And(clauses) | Or(clauses):
            return sum(map(_size, clauses))
        case Not(clause):
            return _size(clause)
    return 1
