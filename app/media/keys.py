"""Keys of stored media: who owns it, 160 random bits, and what it is."""

from __future__ import annotations

import re
import secrets
from typing import Final

from app.media.sniff import KINDS

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64}/[0-9a-f]{40}\.[a-z0-9]{2,4}")
_EXTENSIONS: Final = {kind.content_type: kind.extension for kind in KINDS}
_CONTENT_TYPES: Final = {kind.extension: kind.content_type for kind in KINDS}


def new_key(project_id: str, collection_id: str, content_type: str) -> str:
    """Return a key that nobody can guess and that was never used: `project/collection/….jpg`.

    `content_type` is one that `sniff` returns. ValueError when it, or an id, is none.
    """
    extension = _EXTENSIONS.get(content_type)
    if extension is None:
        raise ValueError(f"{content_type!r} is no content type that is stored")
    return checked(f"{project_id}/{collection_id}/{secrets.token_hex(20)}.{extension}")


def is_key(text: str) -> bool:
    """Tell whether `new_key` could have made `text`; then it is safe in a path and in a URL."""
    return _KEY.fullmatch(text) is not None and _extension(text) in _CONTENT_TYPES


def checked(key: str) -> str:
    """Return `key`; ValueError when it is none."""
    if not is_key(key):
        raise ValueError(f"{key!r} is no media key")
    return key


def content_type_of(key: str) -> str:
    """Return the content type that `key` was made for."""
    return _CONTENT_TYPES[_extension(checked(key))]


def disposition_of(key: str) -> str:
    """Return the Content-Disposition to serve `key` with: shown, never named by a stranger."""
    return f'inline; filename="{checked(key).rpartition("/")[2]}"'


def _extension(key: str) -> str:
    return key.rpartition(".")[2]
