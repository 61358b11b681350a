"""Where media is kept: one protocol, on the local disk or in S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app.media.keys import new_key
from app.media.local import LocalStore
from app.media.s3 import S3Store
from app.settings import StoreKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.domain.media import MediaRef
    from app.settings import Settings

__all__ = ["MediaStore", "new_key", "open_store"]


class MediaStore(Protocol):
    """Keeps media under keys that `new_key` makes. Any method may raise Unavailable.

    A key is written once and never again, so that what is behind a link never changes.
    """

    async def put(self, key: str, data: bytes, content_type: str) -> None:
        """Store `data`; it is durable when this returns."""

    async def get(self, key: str) -> bytes:
        """Return what was stored; NotFound when nothing was."""

    async def exists(self, key: str) -> bool:
        """Tell whether something is stored under `key`."""

    async def delete(self, keys: Sequence[str]) -> None:
        """Delete any number of media; one that is not there is no error."""

    def presign(self, media: Sequence[MediaRef], base_url: str) -> list[str]:
        """Return a link to each, good for at most the configured time, without any I/O.

        `base_url` is where clients reach this service, for a store that it serves itself.
        """

    async def check(self) -> None:
        """Make the store ready; Unavailable says why it is not."""

    async def close(self) -> None:
        """Release what is held."""


def open_store(settings: Settings) -> MediaStore:
    """Return the store that the settings name."""
    match settings.media.store:
        case StoreKind.LOCAL:
            return LocalStore(settings.data_dir, settings.media.link_ttl)
        case StoreKind.S3:
            return S3Store(settings.media)
