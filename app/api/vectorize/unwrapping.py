"""A JSON string literal, decoded while it streams in: some clients send NDJSON as one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from app.api.vectorize.codes import Code, VectorizeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Whole characters and whole escapes of a JSON string; a high surrogate only with its low one.
_WHOLE = re.compile(
    rb'(?:[^"\\]|\\(?:["\\/bfnrt]|u(?:[0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
    rb"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})))*+"
)
_LONGEST_ESCAPE = 12
_decoder = msgspec.json.Decoder(str)


async def unwrapped(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the string's content as UTF-8. `chunks` start behind the opening quote.

    Raises VectorizeError where it is no JSON string, or where something follows it.
    """
    rest, closed = b"", False
    async for chunk in chunks:
        if closed:
            _check_blank(chunk)
            continue
        rest += chunk
        end = _whole_characters(rest, _end_of_whole(rest))
        if end:
            yield _decode(rest[:end])
        rest = rest[end:]
        if rest.startswith(b'"'):
            closed = True
            _check_blank(rest[1:])
        elif len(rest) > _LONGEST_ESCAPE:
            raise _broken("it holds a broken escape")
    if not closed:
        raise _broken("it does not end")


def _end_of_whole(data: bytes) -> int:
    found = _WHOLE.match(data)
    return found.end() if found else 0


def _whole_characters(data: bytes, end: int) -> int:
    """Step back before a UTF-8 sequence that is cut off by the end of the data."""
    if end < len(data):
        return end
    for back in range(1, min(4, end) + 1):
        byte = data[end - back]
        if byte & 0xC0 != 0x80:
            length = 1 if byte < 0x80 else 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return end if length <= back else end - back
    return end


def _decode(segment: bytes) -> bytes:
    try:
        return _decoder.decode(b'"' + segment + b'"').encode()
    except (msgspec.DecodeError, UnicodeError) as error:
        raise _broken(str(error)) from None


def _check_blank(data: bytes) -> None:
    if data.strip():
        raise _broken("something follows it")


def _broken(reason: str) -> VectorizeError:
    return VectorizeError(Code.UNPARSABLE_VECTORS, f"the body is no JSON string: {reason}")
