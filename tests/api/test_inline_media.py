"""Base64 in request bodies, around the sizes where its decoding changes its ways."""

from __future__ import annotations

import base64
import os

import pytest

from app.api.inline_media import INLINE_CHARS, STEP_CHARS, NotBase64, TooLong, decode_base64

PLENTY = 10**9


@pytest.mark.parametrize(
    "size",
    [
        1,
        2,
        3,
        INLINE_CHARS // 4 * 3,
        INLINE_CHARS // 4 * 3 + 1,
        STEP_CHARS // 4 * 3,
        STEP_CHARS // 4 * 3 + 1,
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


@pytest.mark.parametrize("place", [5, STEP_CHARS - 1, STEP_CHARS, 2 * STEP_CHARS + 5])
async def test_a_flaw_anywhere_is_found(place: int) -> None:
    text = "A" * (3 * STEP_CHARS)
    for flaw in ("=", "\n", "é", "_"):
        with pytest.raises(NotBase64):
            await decode_base64(text[:place] + flaw + text[place + 1 :], PLENTY)


async def test_padding_ends_it() -> None:
    step = "A" * (STEP_CHARS - 2) + "=="
    with pytest.raises(NotBase64):
        await decode_base64(step + step, PLENTY)
