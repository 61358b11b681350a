"""Media as files below the data directory, served by this service under signed links."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hmac
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, ParamSpec, TypeVar
from urllib.parse import quote

from app.errors import NotFound, Unavailable
from app.media.keys import checked, disposition, is_key, is_servable, safe, token_of
from app.media.links import validity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from app.domain.media import MediaRef

P = ParamSpec("P")
T = TypeVar("T")

_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class LocalObject:
    """A stored file and the headers to serve it with; it never changes, only disappears.

    `size` in bytes, `last_modified` in seconds since the epoch, `etag` with its quotes.
    """

    path: Path
    size: int
    etag: str
    content_type: str
    disposition: str
    last_modified: float


class LocalStore:
    """See MediaStore. Files are written beside their place, synced, and then moved there."""

    def __init__(self, data_dir: Path, link_ttl: int) -> None:
        """`link_ttl` in seconds. Creates the directory and the signing key; Unavailable if not."""
        self._root = data_dir / "media"
        self._drafts = self._root / ".drafts"
        self._ttl = link_ttl
        try:
            self._drafts.mkdir(parents=True, exist_ok=True)
            _clear(self._drafts)
            self._secret = signing_key(data_dir / "signing.key")
        except OSError as error:
            raise Unavailable("store", f"the data directory cannot be used: {error}") from error

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        safe(content_type)
        await self._in_thread(_write, self._drafts, self._path(key), data)

    async def get(self, key: str) -> bytes:
        data = await self._in_thread(_read, self._path(key))
        if data is None:
            raise NotFound("medium", key)
        return data

    async def exists(self, key: str) -> bool:
        return await self._in_thread(self._path(key).is_file)

    async def delete(self, keys: Sequence[str]) -> None:
        await self._in_thread(_unlink, [self._path(key) for key in keys])

    def presign(self, media: Sequence[MediaRef], base_url: str) -> list[str]:
        expires = validity(time.time(), self._ttl).until
        base = base_url.rstrip("/")
        return [
            f"{base}/media/{checked(ref.key)}?type={quote(safe(ref.content_type), safe='')}"
            f"&expires={expires}&signature={self._sign(ref, expires)}"
            for ref in media
        ]

    def verify(self, ref: MediaRef, expires: int, signature: str, now: float) -> bool:
        """Tell whether a link is one of ours and still good at `now` (seconds since the epoch).

        Everything may come from a stranger; comparing takes the same time wherever they differ.
        """
        genuine = hmac.compare_digest(
            self._sign(ref, expires).encode(), signature.encode("utf-8", "replace")
        )
        return genuine and now < expires

    def open(self, ref: MediaRef) -> LocalObject:
        """Find the file behind a verified link; NotFound when it was deleted. Blocks briefly."""
        key = ref.key
        if not is_key(key) or not is_servable(ref.content_type):
            raise NotFound("medium", key)
        path = self._path(key)
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise NotFound("medium", key) from None
        return LocalObject(
            path=path,
            size=stat.st_size,
            etag=f'"{token_of(key)}"',
            content_type=ref.content_type,
            disposition=disposition(key, ref.content_type),
            last_modified=stat.st_mtime,
        )

    async def check(self) -> None:
        if not await self._in_thread(os.access, self._root, os.W_OK | os.X_OK):
            raise Unavailable("store", f"{self._root} cannot be written to")

    async def close(self) -> None:
        """Nothing is held open."""

    def _path(self, key: str) -> Path:
        """Spread the files by their random part over 256 directories."""
        name = checked(key).replace("/", "~")
        return self._root / token_of(key)[:2] / name

    def _sign(self, ref: MediaRef, expires: int) -> str:
        message = f"{expires}\n{ref.content_type}\n{ref.key}".encode("utf-8", "replace")
        return hmac.digest(self._secret, message, "sha256").hex()

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(function, *args, **kwargs)
        except OSError as error:
            raise Unavailable("store", f"the local store failed: {error.strerror}") from error


def signing_key(path: Path) -> bytes:
    """Read the key at `path`, or create it: readable by its owner only, whole or not at all.

    Of several processes that start at once one creates it and all use that one.
    """
    with suppress(FileNotFoundError):
        return _whole(path)
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with _create(fresh) as file:
        _fill(file, secrets.token_bytes(_KEY_BYTES))
    try:
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
    _sync(path.parent)
    return _whole(path)


def _whole(path: Path) -> bytes:
    secret = path.read_bytes()
    if len(secret) != _KEY_BYTES:
        raise OSError(errno.EINVAL, f"{path.name} holds no key of {_KEY_BYTES} bytes")
    return secret


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write(drafts: Path, path: Path, data: bytes) -> None:
    """Write a file that is there as a whole, and stays, when this returns."""
    if not path.parent.exists():
        path.parent.mkdir(exist_ok=True)
        _sync(path.parent.parent)
    draft, file = _new_draft(drafts)
    with file:
        try:
            _fill(file, data)
            draft.replace(path)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    _sync(path.parent)


def _new_draft(drafts: Path) -> tuple[Path, BinaryIO]:
    """Create a file that is locked until it is closed, so that no other process clears it."""
    while True:
        path = drafts / secrets.token_hex(16)
        file = _create(path)
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return path, file
        file.close()  # another process that starts cleared it before it was locked


def _create(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _fill(file: BinaryIO, data: bytes) -> None:
    file.write(data)
    file.flush()
    os.fsync(file.fileno())


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _clear(drafts: Path) -> None:
    """Remove what a process that died left half-written; those of the living are locked."""
    for draft in drafts.iterdir():
        with suppress(FileNotFoundError, BlockingIOError), draft.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink()
