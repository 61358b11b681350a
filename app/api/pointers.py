"""Paths into a request as JSON pointers (RFC 6901), and msgspec's messages as violations."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from app.errors import Path, Violation

if TYPE_CHECKING:
    import msgspec

_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")
_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)


def pointer(path: Path) -> str:
    """Write a path as a JSON pointer: `("items", 3, "a/b")` is `/items/3/a~1b`."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def violation(error: msgspec.ValidationError, path: Path = ()) -> Violation:
    """Read msgspec's message (``Expected `int`, got `str` - at `$.items[3].id` ``).

    `path` leads to what was decoded. msgspec does not name the keys of plain objects; the path
    then ends at the object.
    """
    message, _, place = str(error).rpartition(" - at `$")
    if not message:
        message, place = str(error), ""
    steps = tuple(
        name or int(index) for name, index in _STEP.findall(place.split("[...]", maxsplit=1)[0])
    )
    if found := _FIELD.match(message):
        kind, name = found.groups()
        code, message = (
            ("missing", f"{name} is required")
            if kind == "missing required"
            else ("unknown_field", f"there is no field named {name}")
        )
        return Violation((*path, *steps, name), message, code)
    return Violation((*path, *steps), message)
