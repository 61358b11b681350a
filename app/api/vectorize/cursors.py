"""Cursors of a list of vectors: where it goes on, and until when."""

from __future__ import annotations

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import UTC, datetime

import msgspec

from app.api.vectorize.codes import Code, VectorizeError
from app.domain.vector_indexes import IdCursor

_decoder = msgspec.json.Decoder(tuple[IdCursor, float])


def write_cursor(cursor: IdCursor, ttl: int) -> tuple[str, datetime]:
    """Return the cursor's text and when it expires, `ttl` seconds from now."""
    expires = time.time() + ttl
    text = urlsafe_b64encode(msgspec.json.encode((cursor, expires))).decode().rstrip("=")
    return text, datetime.fromtimestamp(expires, UTC)


def read_cursor(text: str, collection_key: int) -> IdCursor:
    """Raises VectorizeError for what is no cursor of the collection, or one no longer valid."""
    try:
        data = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        cursor, expires = _decoder.decode(data)
    except (ValueError, msgspec.MsgspecError):
        raise VectorizeError(Code.INVALID_PARAMETER, "cursor: this is no cursor") from None
    if cursor.collection_key != collection_key:
        raise VectorizeError(Code.INVALID_PARAMETER, "cursor: it belongs to another index")
    if expires < time.time():
        raise VectorizeError(Code.CURSOR_EXPIRED, "this cursor has expired; list from the start")
    return cursor
