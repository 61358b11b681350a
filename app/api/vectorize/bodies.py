"""Bodies of insert and upsert, in each of the shapes that official clients send, as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from app.api.vectorize.codes import Code, VectorizeError
from app.api.vectorize.unwrapping import unwrapped

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from litestar import Request

MAX_UPLOAD = 100 * 2**20
PART = "vectors"

# Labels do not tell the shape: some clients call NDJSON JSON. What is neither is refused.
LINES = {
    "",
    "application/json",
    "application/json-seq",
    "application/jsonl",
    "application/ndjson",
    "application/octet-stream",
    "application/x-ndjson",
    "text/plain",
}
MULTIPART = "multipart/form-data"
_BLANK = b" \t\r\n"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


async def vector_lines(request: Request[Any, Any, Any], longest: int) -> AsyncIterator[list[bytes]]:
    """Yield the body's lines in groups as they come in; blank ones are left out.

    The body is NDJSON, a JSON string that holds NDJSON, or a form with such a file. A line has at
    most `longest` bytes. Raises VectorizeError.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    chunks: AsyncIterator[bytes] = request.stream()
    if kind == MULTIPART:
        chunks = _file(chunks, options.get("boundary", ""))
    elif kind not in LINES:
        raise VectorizeError(Code.UNKNOWN_CONTENT_TYPE, f"send application/x-ndjson, not {kind}")
    async for lines in _split(_payload(chunks), longest):
        yield lines


async def _payload(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Look at the first byte that is not blank: a quote opens a JSON string."""
    async for chunk in chunks:
        start = chunk.removeprefix(_BYTE_ORDER_MARK).lstrip(_BLANK)
        if not start:
            continue
        if start.startswith(b'"'):
            async for part in unwrapped(_chained(start[1:], chunks)):
                yield part
        else:
            yield start
            async for rest in chunks:
                yield rest
        return
    raise VectorizeError(Code.UNPARSABLE_VECTORS, "the body is empty")


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def _split(chunks: AsyncIterator[bytes], longest: int) -> AsyncIterator[list[bytes]]:
    open_line: list[bytes] = []
    size = 0
    async for chunk in chunks:
        head, *others = chunk.split(b"\n")
        open_line.append(head)
        size += len(head)
        if others:
            lines = [b"".join(open_line), *others[:-1]]
            open_line, size = [others[-1]], len(others[-1])
            yield [line for line in lines if line.strip()]
        if size > longest:
            raise VectorizeError(Code.INVALID_BODY, f"a line has at most {longest} bytes")
    if (last := b"".join(open_line)).strip():
        yield [last]


async def _file(chunks: AsyncIterator[bytes], boundary: str) -> AsyncIterator[bytes]:
    """The content of the part `vectors`, or of the first file before it."""
    chosen = taking = False
    try:
        with PushMultipartParser(boundary) as parser:
            async for chunk in chunks:
                for event in parser.parse(chunk) if chunk else ():
                    if isinstance(event, MultipartSegment):
                        wanted = event.name == PART or event.filename is not None
                        taking = wanted and not chosen
                        chosen = chosen or taking
                    elif event and taking:
                        yield bytes(event)
    except (MultipartError, ValueError) as error:
        raise VectorizeError(Code.UNPARSABLE_VECTORS, f"the form cannot be read: {error}") from None
    if not chosen:
        raise VectorizeError(Code.UNPARSABLE_VECTORS, f"the form has no file {PART!r}")
