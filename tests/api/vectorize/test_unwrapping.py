from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.vectorize.codes import VectorizeError
from app.api.vectorize.unwrapping import unwrapped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def pieces(data: bytes, cuts: list[int]) -> AsyncIterator[bytes]:
    marks = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, end in pairwise(marks):
        yield data[start:end]


async def unwrap(literal: str, cuts: list[int]) -> bytes:
    chunks = pieces(literal.encode()[1:], cuts)
    return b"".join([part async for part in unwrapped(chunks)])


@given(st.text(), st.booleans(), st.lists(st.integers(0, 10_000)))
async def test_any_string_in_any_pieces_is_unwrapped(
    text: str, escaped: bool, cuts: list[int]
) -> None:
    literal = json.dumps(text, ensure_ascii=escaped)
    assert await unwrap(literal, cuts) == text.encode()


@pytest.mark.parametrize(
    "literal",
    ['"', '"a', '"a\\', '"\\x"', '"\\ud800"', '"\\u12"', '"a\nb"', '"a" b', '"\\ud83d\\u0041"'],
)
@pytest.mark.parametrize("cuts", [[], list(range(20))])
async def test_what_is_no_json_string_is_refused(literal: str, cuts: list[int]) -> None:
    with pytest.raises(VectorizeError):
        await unwrap(literal, cuts)
