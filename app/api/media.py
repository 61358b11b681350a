"""`/media/{key}`: what the local store's signed links lead to (RFC 9110: ranges, ETags)."""

from __future__ import annotations

import asyncio
import re
import time
from email.utils import formatdate
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

from litestar import Controller, HttpMethod, route
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import FromPath, QueryParameter
from litestar.response.base import ASGIResponse

from app.api.context import engine_of
from app.api.requests import ApiRequest, check_address
from app.domain.media import MediaRef
from app.errors import Forbidden

if TYPE_CHECKING:
    from pathlib import Path

    from litestar.types import Receive, Scope, Send

CHUNK_BYTES = 256 * 1024
# Media is strangers' content: whatever it is, it must not run as a page of ours
GUARDS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class StoredFile(Protocol):
    """A file and the headers to serve it with."""

    @property
    def path(self) -> Path: ...
    @property
    def size(self) -> int: ...
    @property
    def etag(self) -> str: ...
    @property
    def content_type(self) -> str: ...
    @property
    def disposition(self) -> str: ...
    @property
    def last_modified(self) -> float: ...


@runtime_checkable
class ServedStore(Protocol):
    """A media store whose links lead to us: the local one."""

    def verify(self, ref: MediaRef, expires: int, signature: str, now: float) -> bool: ...
    def open(self, ref: MediaRef) -> StoredFile: ...


class LinkExpired(HTTPException):
    status_code = 410


class RangeNotSatisfiable(HTTPException):
    status_code = 416


class MediaController(Controller):
    path = "/media"

    @route(
        "/{key:path}",
        http_method=[HttpMethod.GET, HttpMethod.HEAD],
        before_request=check_address,
    )
    async def serve(
        self,
        request: ApiRequest,
        key: FromPath[str],
        content_type: Annotated[str, QueryParameter(name="type")],
        expires: Annotated[int, QueryParameter()],
        signature: Annotated[str, QueryParameter()],
    ) -> ASGIResponse:
        store = engine_of(request).media
        if not isinstance(store, ServedStore):
            raise NotFoundException
        ref = MediaRef(key.removeprefix("/"), content_type)
        now = time.time()
        if not store.verify(ref, expires, signature, now):
            if store.verify(ref, expires, signature, 0):
                raise LinkExpired(detail="this link has expired; ask for the item again")
            raise Forbidden("this link was not made by this service")
        file = await asyncio.to_thread(store.open, ref)
        return _answer(request, file, max(0, expires - int(now)))


def _answer(request: ApiRequest, file: StoredFile, max_age: int) -> ASGIResponse:
    headers = {
        **GUARDS,
        "ETag": file.etag,
        "Cache-Control": f"private, max-age={max_age}, immutable",
        "Accept-Ranges": "bytes",
        "Last-Modified": formatdate(file.last_modified, usegmt=True),
        "Content-Disposition": file.disposition,
    }
    if _matches(request.headers.get("if-none-match", ""), file.etag):
        return ASGIResponse(status_code=304, headers=headers)
    span = _span(request, file)
    headers |= {"Content-Length": str(len(span)), "Content-Type": file.content_type}
    partial = len(span) < file.size
    if partial:
        headers["Content-Range"] = f"bytes {span.start}-{span.stop - 1}/{file.size}"
    return FileSpan(
        file.path,
        span,
        status_code=206 if partial else 200,
        headers=headers,
        is_head_response=request.method == HttpMethod.HEAD,
    )


class FileSpan(ASGIResponse):
    """A part of a file, read in a thread and sent in chunks."""

    def __init__(self, path: Path, span: range, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._path = path
        self._span = span

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.is_head_response:
            await super().__call__(scope, receive, send)
            return
        file = await asyncio.to_thread(self._path.open, "rb")
        try:
            await self.start_response(send=send)
            await asyncio.to_thread(file.seek, self._span.start)
            left = len(self._span)
            while left:
                chunk = await asyncio.to_thread(file.read, min(CHUNK_BYTES, left))
                if not chunk:
                    break
                left -= len(chunk)
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            file.close()


def _matches(header: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in header.split(",")}
    return etag in tags or "*" in tags


def _span(request: ApiRequest, file: StoredFile) -> range:
    """Return the bytes to send: the range asked for, or all where it is none we serve.

    Several ranges at once, and units other than bytes, may be ignored (RFC 9110, 14.2). Raises
    RangeNotSatisfiable.
    """
    whole = range(file.size)
    found = _RANGE.fullmatch(request.headers.get("range", "").strip())
    if found is None or found.groups() == ("", ""):
        return whole
    if request.headers.get("if-range", file.etag) != file.etag:
        return whole
    first, last = found.groups()
    if not first:
        span = whole[-int(last) :] if int(last) else range(0)
    else:
        span = whole[int(first) : int(last) + 1 if last else None]
        if last and int(last) < int(first):
            return whole
    if not span:
        raise RangeNotSatisfiable(
            detail=f"the medium has {file.size} bytes",
            headers={"Content-Range": f"bytes */{file.size}"},
        )
    return span
