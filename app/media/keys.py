"""Keys of stored media, and the headers that media is served with."""

from __future__ import annotations

import re
import secrets
from typing import Final

from app.media.sniff import KINDS

_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,64}/[A-Za-z0-9_-]{1,64}/[0-9a-f]{40}")
_EXTENSIONS: Final = {kind.content_type: kind.extension for kind in KINDS}


def new_key(project_id: str, collection_id: str) -> str:
    """Return a key that was never used and that nobody can guess: both ids and 160 random bits."""
    return checked(f"{project_id}/{collection_id}/{secrets.token_hex(20)}")


def is_key(text: str) -> bool:
    """Tell whether `new_key` could have made `text`; then it is safe in a path and in a URL."""
    return _KEY.fullmatch(text) is not None


def checked(key: str) -> str:
    """Return `key`; ValueError when it is none."""
    if not is_key(key):
        raise ValueError(f"{key!r} is no media key")
    return key


def token_of(key: str) -> str:
    """Return the random part, in hexadecimal."""
    return checked(key).rpartition("/")[2]


def is_servable(content_type: str) -> bool:
    """Tell whether a browser may be handed this type: it is one of media, never of documents."""
    return content_type in _EXTENSIONS


def safe(content_type: str) -> str:
    """Return `content_type`; ValueError when it is none that `sniff` returns."""
    if not is_servable(content_type):
        raise ValueError(f"{content_type!r} is no content type of media")
    return content_type


def disposition(key: str, content_type: str) -> str:
    """Return the Content-Disposition to serve with: shown, under a name that no stranger chose."""
    return f'inline; filename="{token_of(key)}.{_EXTENSIONS[safe(content_type)]}"'
