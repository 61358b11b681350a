"""How a setting is declared, read from the environment and listed for the documentation."""

from __future__ import annotations

import difflib
import math
import types
import typing
from dataclasses import dataclass, field, fields
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from app.errors import InvalidInput, Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

PREFIX = "OMNIVEC_"

Tree = TypeVar("Tree")


@dataclass(frozen=True, slots=True)
class Knob:
    """One setting: its variable, its default and its meaning."""

    env: str
    default: Any
    doc: str


def knob(
    env: str,
    default: Any,
    doc: str,
    *,
    least: float = 0,
    most: float = math.inf,
    secret: bool = False,
) -> Any:
    """Declare one setting: its variable (without the prefix), its default and its meaning.

    A number lies between `least` and `most`, both included. A secret stays out of the `repr`.
    """
    metadata = {"env": PREFIX + env, "doc": doc, "least": least, "most": most}
    return field(default=default, repr=not secret, metadata=metadata)


def knobs(tree: type[Any]) -> Iterator[Knob]:
    """Every setting below `tree` in the order of declaration."""
    hints = typing.get_type_hints(tree)
    for spec in fields(tree):
        if "env" in spec.metadata:
            yield Knob(spec.metadata["env"], spec.default, spec.metadata["doc"])
        else:
            yield from knobs(hints[spec.name])


def read(tree: type[Tree], env: Mapping[str, str]) -> Tree:
    """Build `tree`, a dataclass of knobs and of such dataclasses, from the environment.

    An empty variable counts as unset. Raises InvalidInput that names every variable that is wrong,
    and every one with our prefix that is unknown.
    """
    violations: list[Violation] = []
    values = _read_fields(tree, env, violations)
    known = {knob.env for knob in knobs(tree)}
    violations.extend(
        Violation((name,), f"{name}: unknown setting{_nearest(name, known)}")
        for name in sorted(env)
        if name.startswith(PREFIX) and name not in known
    )
    if violations:
        raise InvalidInput(violations)
    return tree(**values)


def _read_fields(
    tree: type[Any], env: Mapping[str, str], violations: list[Violation]
) -> dict[str, Any]:
    hints = typing.get_type_hints(tree)
    values: dict[str, Any] = {}
    for spec in fields(tree):
        kind = hints[spec.name]
        if "env" not in spec.metadata:
            values[spec.name] = kind(**_read_fields(kind, env, violations))
            continue
        name = spec.metadata["env"]
        if text := env.get(name, "").strip():
            try:
                value = _parse(kind, text)
                _check_range(value, spec.metadata["least"], spec.metadata["most"])
                values[spec.name] = value
            except ValueError as error:
                violations.append(Violation((name,), f"{name}: {error}"))
    return values


def _parse(kind: Any, text: str) -> Any:
    """Turn a variable's text into `kind`; ValueError says what is wrong with it."""
    if typing.get_origin(kind) is tuple:
        return _parse_tuple(typing.get_args(kind)[0], text)
    if isinstance(kind, types.UnionType):  # IPv4Network | IPv6Network
        return ip_network(text)
    if issubclass(kind, StrEnum):
        return _parse_choice(kind, text)
    parsers: dict[type, Callable[[str], Any]] = {
        bool: _parse_bool,
        int: lambda text: _parse_number(int, text),
        float: lambda text: _parse_number(float, text),
        Path: lambda text: Path(text).expanduser().resolve(),
        str: str,
    }
    return parsers[kind](text)


def _parse_tuple(element: Any, text: str) -> tuple[Any, ...]:
    if text.lower() == "none":
        return ()
    return tuple(_parse(element, part.strip()) for part in text.split(",") if part.strip())


def _parse_choice(kind: type[StrEnum], text: str) -> StrEnum:
    for choice in kind:
        if choice.lower() == text.lower():
            return choice
    raise ValueError(f"{text!r} is not one of {', '.join(kind)}")


def _parse_number(kind: type[int | float], text: str) -> int | float:
    try:
        number = kind(text)
    except ValueError:
        noun = "a whole number" if kind is int else "a number"
        raise ValueError(f"{text!r} is not {noun}") from None
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number")
    return number


def _parse_bool(text: str) -> bool:
    match text.lower():
        case "1" | "true" | "yes" | "on":
            return True
        case "0" | "false" | "no" | "off":
            return False
    raise ValueError(f"{text!r} is neither true nor false")


def _check_range(value: Any, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if value < least:
        raise ValueError(f"{value} is less than {least:g}")
    if value > most:
        raise ValueError(f"{value} is more than {most:.0f}")


def _nearest(name: str, known: set[str]) -> str:
    bare = {env.removeprefix(PREFIX) for env in known}
    match difflib.get_close_matches(name.removeprefix(PREFIX), bare, n=1):
        case [near]:
            return f"; did you mean {PREFIX}{near}?"
    return ""
