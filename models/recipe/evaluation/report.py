"""Figures of one model, or of two side by side, for people and for programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.recipe.evaluate import Measured

NONE = "-"


def table(measured: Sequence[Measured]) -> str:
    """A line for each figure; with two models, their difference in the last column."""
    names = list(dict.fromkeys(name for each in measured for name in each.figures))
    rows = [["figure", *(each.model for each in measured)]]
    for name in names:
        values = [each.figures.get(name) for each in measured]
        rows.append([name, *map(_number, values)])
    if len(measured) == 2:
        rows[0].append("difference")
        for row, name in zip(rows[1:], names, strict=True):
            one, other = (each.figures.get(name) for each in measured)
            both = one is not None and other is not None
            row.append(f"{one - other:+.4g}" if both else NONE)  # type: ignore[operator]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    lines += [
        f"{each.model}: left out {name}: {reason}"
        for each in measured
        for name, reason in each.left_out.items()
    ]
    return "\n".join(lines)


def as_json(measured: Sequence[Measured]) -> bytes:
    """`[{"model", "figures": {name: value}, "left_out": {suite: reason}}]`."""
    return msgspec.json.format(msgspec.json.encode(measured), indent=2) + b"\n"


def _number(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"
