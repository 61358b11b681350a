"""Names of indexes, vectors, namespaces and properties, under Vectorize's limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.vectorize.codes import Code, VectorizeError, index_named

if TYPE_CHECKING:
    from app.domain.filters import Path

MAX_BYTES = 64
MAX_INDEX_BYTES_LEGACY = 63
MAX_PROPERTY_CHARS = 512


def check_id(name: str) -> None:
    _check_size(name, Code.ID_TOO_LONG, "id")


def check_namespace(name: str) -> None:
    _check_size(name, Code.NAMESPACE_TOO_LONG, "namespace")


def check_index_name(name: str, most: int = MAX_BYTES) -> None:
    """Refuse names that no path can hold. Raises VectorizeError."""
    size = len(name.encode())
    if not 1 <= size <= most:
        raise _invalid_index(name, f"a name has 1 to {most} bytes, got {size}")
    if name in {".", ".."} or "/" in name or not name.isprintable():
        raise _invalid_index(name, "a name is printable, holds no slash and is no dot")


def read_property(name: str) -> Path:
    """The path of a metadata property; dots step into objects. Raises VectorizeError."""
    steps = tuple(name.split("."))
    if not all(steps) or len(name) > MAX_PROPERTY_CHARS:
        reason = f"it has 1 to {MAX_PROPERTY_CHARS} characters, and one between dots"
    elif any(character in name for character in '"|\0') or any(s[0] == "$" for s in steps):
        reason = 'it holds no ", no | and no NUL, and no part of it starts with $'
    else:
        return steps
    raise VectorizeError(Code.INVALID_BODY, f"invalid propertyName {name!r}: {reason}")


def _check_size(name: str, code: Code, what: str) -> None:
    if len(name) * 4 > MAX_BYTES and (size := len(name.encode())) > MAX_BYTES:
        raise VectorizeError(code, f"{what} too long; max is {MAX_BYTES} bytes, got {size} bytes")


def _invalid_index(name: str, reason: str) -> VectorizeError:
    return VectorizeError(Code.INVALID_NAME, f"{index_named(name)}: {reason}")
