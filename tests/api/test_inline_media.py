"""Base64 in request bodies, around the sizes where its decoding changes its ways."""

from __future__ import annotations

import base64
import os

import pytest

from app.api.inline_media import INLINE_CHARS, NotBase64, TooLong, decode_base64

PLENTY = 10**9


@pytest.mark.parametrize(
    "size",
    [
        1,
        2,
        3,
        INLINE_CHARS // 4 * 3,
        INLINE_CHARS // 4 * 3 + 1,
        3_000_001,
    ],
)
async def test_what_was_encoded_comes_back(size: int) -> None:
    data = os.urandom(size)
    text = base64.b64encode(data).decode()
    assert await decode_base64(text, size) == data
    assert await decode_base64(f"DATA:audio/wav;BASE64,{text}", size) == data
    with pytest.raises(TooLong) as caught:
        await decode_base64(text, size - 1)
    assert caught.value.size == size


@pytest.mark.parametrize("chars", [64, INLINE_CHARS, INLINE_CHARS + 4])
@pytest.mark.parametrize("place", [0, 5, 0.5, -6])
async def test_a_flaw_anywhere_is_found(chars: int, place: float) -> None:
    at = int(place * chars) if 0 < place < 1 else int(place) % chars
    text = "A" * chars
    for flaw in ("=", "\n", " ", "é", "€", "\0", "_", "-"):
        with pytest.raises(NotBase64):
            await decode_base64(text[:at] + flaw + text[at + 1 :], PLENTY)


@pytest.mark.parametrize("chars", [8, INLINE_CHARS + 4])
async def test_padding_ends_it(chars: int) -> None:
    part = "A" * (chars - 2) + "=="
    with pytest.raises(NotBase64):
        await decode_base64(part + part, PLENTY)
    with pytest.raises(NotBase64):
        await decode_base64("A" * (chars - 3) + "===", PLENTY)
