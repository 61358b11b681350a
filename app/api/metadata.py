"""Metadata objects of requests: checked as a whole, and passed on as the text they came in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from app.api.pointers import violation
from app.errors import Violation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.errors import Path

MAX_BYTES = 10 * 1024
MAX_DEPTH = 32

_decoder = msgspec.json.Decoder(dict[str, Any])


def check_metadata(raw: msgspec.Raw, path: Path) -> tuple[str, list[Violation]]:
    """Return the object's text and what is wrong with it; `path` leads to it in the request.

    Beyond being an object of at most 10 KiB, it holds nothing that Postgres' jsonb refuses: no
    NUL character, no lone surrogate, no number out of range.
    """
    data = bytes(raw)
    if data == b"null":
        return "{}", []
    try:
        value = _decoder.decode(data)
    except msgspec.ValidationError as error:
        return "", [violation(error, path)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "", [Violation(path, "a string holds what is no Unicode character")]
    except RecursionError:
        return "", [Violation(path, f"metadata is at most {MAX_DEPTH} levels deep")]
    return data.decode(), list(_faults(data, value, path))


def _faults(data: bytes, value: dict[str, Any], path: Path) -> Iterator[Violation]:
    """Look closer only where the text alone does not show that all is well."""
    if len(data) > MAX_BYTES and (size := len(msgspec.json.encode(value))) > MAX_BYTES:
        yield Violation(path, f"metadata has {size} bytes; at most {MAX_BYTES} are taken")
    if data.count(b"{") + data.count(b"[") > MAX_DEPTH and _depth(value) > MAX_DEPTH:
        yield Violation(path, f"metadata is at most {MAX_DEPTH} levels deep")
    elif rb"\u0000" in data and _has_nul(value):
        yield Violation(path, "metadata holds no NUL character")


def _depth(value: Any) -> int:
    children = _children(value)
    return 1 + max(map(_depth, children), default=0) if children is not None else 0


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    keys = value if isinstance(value, dict) else ()
    return any("\0" in key for key in keys) or any(map(_has_nul, _children(value) or ()))


def _children(value: Any) -> list[Any] | None:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
    return None
