"""Media that comes inside a JSON body: base64, plain or as a data URI."""

from __future__ import annotations

import asyncio
import re

import pybase64  # binascii takes ten times as long

# Decoding takes a millisecond for several million characters: below this the loop waits less than
# a thread costs.
INLINE_CHARS = 512 * 1024

_DATA_URI = re.compile(r"data:[^,]{0,200};base64,", re.IGNORECASE)


class NotBase64(ValueError):
    """The text is no base64."""


class TooLong(ValueError):
    """More bytes than are taken; `size` of them."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


async def decode_base64(text: str, max_bytes: int) -> bytes:
    """Decode standard base64 with padding (RFC 4648 section 4), after a data URI's head if any.

    Raises TooLong before decoding anything, and NotBase64.
    """
    start = 0
    if text[:5].lower() == "data:":
        head = _DATA_URI.match(text)
        if head is None:
            raise NotBase64("a data URI has the form data:image/png;base64,…")
        start = head.end()
    chars = len(text) - start
    size = chars // 4 * 3 - text.count("=", -2)
    if size > max_bytes:
        raise TooLong(size)
    if chars == 0 or chars % 4:
        raise NotBase64("base64 has a multiple of 4 characters, at least 4")
    if chars <= INLINE_CHARS:
        return _decode(text, start)
    return await asyncio.to_thread(_decode, text, start)


def _decode(text: str, start: int) -> bytes:
    try:
        return pybase64.b64decode(text[start:], validate=True)
    except ValueError:
        if text.find("=", start, -2) >= 0:
            raise NotBase64("padding stands at the end only") from None
        raise NotBase64("expected the standard base64 alphabet and no line breaks") from None
