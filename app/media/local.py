"""Media as files below the data directory, served by this service under signed links."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from app.errors import NotFound, Unavailable
from app.media.keys import checked, content_type_of, disposition_of, is_key
from app.media.links import validity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from app.domain.media import MediaRef

P = ParamSpec("P")
T = TypeVar("T")

_KEY_BYTES: Final = 32
_DRAFT_SECONDS: Final = 3600.0
_SIGNATURE_CHARS: Final = 2 * hashlib.sha256().digest_size


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
            _clear(self._drafts, before=time.time() - _DRAFT_SECONDS)
            self._secret = signing_key(data_dir / "signing.key")
        except OSError as error:
            raise Unavailable("store", f"the data directory cannot be used: {error}") from error

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        if content_type != content_type_of(key):
            raise ValueError(f"{key} was not made for {content_type}")
        await self._in_thread(_write, self._drafts, self._path(key), data)

    async def get(self, key: str) -> bytes:
        try:
            return await self._in_thread(self._path(key).read_bytes)
        except FileNotFoundError:
            raise NotFound("medium", key) from None

    async def exists(self, key: str) -> bool:
        return await self._in_thread(self._path(key).is_file)

    async def delete(self, keys: Sequence[str]) -> None:
        await self._in_thread(_unlink, [self._path(key) for key in keys])

    def presign(self, media: Sequence[MediaRef], base_url: str) -> list[str]:
        expires = validity(time.time(), self._ttl).until
        base = base_url.rstrip("/")
        return [
            f"{base}/media/{ref.key}?expires={expires}&signature={self._sign(ref.key, expires)}"
            for ref in media
        ]

    def verify(self, key: str, expires: int, signature: str, now: float) -> bool:
        """Tell whether a link is one of ours and still good at `now`, in constant time."""
        expected = self._sign(key, expires) if is_key(key) else "0" * _SIGNATURE_CHARS
        genuine = hmac.compare_digest(expected.encode(), signature.encode())
        return genuine and is_key(key) and now < expires

    def open(self, key: str) -> LocalObject:
        """Find a stored file, for serving it; NotFound also when `key` is none. Blocks briefly."""
        if not is_key(key):
            raise NotFound("medium", key)
        path = self._path(key)
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise NotFound("medium", key) from None
        return LocalObject(
            path=path,
            size=stat.st_size,
            etag=f'"{path.stem.rpartition("~")[2]}"',
            content_type=content_type_of(key),
            disposition=disposition_of(key),
            last_modified=stat.st_mtime,
        )

    async def check(self) -> None:
        if not await self._in_thread(os.access, self._root, os.W_OK | os.X_OK):
            raise Unavailable("store", f"{self._root} cannot be written to")

    async def close(self) -> None:
        """Nothing is held open."""

    def _path(self, key: str) -> Path:
        """Spread the files by their random part, so that no directory grows without bound."""
        name = checked(key).replace("/", "~")
        token = key.rpartition("/")[2]
        return self._root / token[:2] / token[2:4] / name

    def _sign(self, key: str, expires: int) -> str:
        """Sign key, expiry and content type; the key's suffix is the type."""
        return hmac.new(self._secret, f"{expires}:{key}".encode(), hashlib.sha256).hexdigest()

    async def _in_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(function, *args, **kwargs)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise Unavailable("store", f"the local store failed: {error.strerror}") from error


def signing_key(path: Path) -> bytes:
    """Read the key at `path`, or create it: readable by its owner only, whole or not at all.

    Of several processes that start at once one creates it and all use that one.
    """
    with suppress(FileNotFoundError):
        return path.read_bytes()
    fresh = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    _write_new(fresh, secrets.token_bytes(_KEY_BYTES))
    try:
        with suppress(FileExistsError):
            os.link(fresh, path)
    finally:
        fresh.unlink()
    _sync(path.parent)
    return path.read_bytes()


def _write(drafts: Path, path: Path, data: bytes) -> None:
    """Write a file that is there as a whole, and stays, when this returns."""
    for directory in (path.parent.parent, path.parent):
        if not directory.exists():
            directory.mkdir(parents=True, exist_ok=True)
            _sync(directory.parent)
    draft = drafts / secrets.token_hex(16)
    try:
        _write_new(draft, data)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def _write_new(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(paths: Sequence[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _clear(drafts: Path, before: float) -> None:
    """Remove what a process that died left half-written; others may be writing now."""
    for draft in drafts.iterdir():
        with suppress(FileNotFoundError):
            if draft.stat().st_mtime < before:
                draft.unlink()
