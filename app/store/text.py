"""What Postgres can hold of a string."""

from __future__ import annotations

from typing import Any


def storable(value: Any) -> bool:
    """Tell whether text and jsonb can hold the value: no NUL and no lone surrogates in strings."""
    if not isinstance(value, str):
        return True
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
