"""What can go wrong, with no word of HTTP: each face renders these in its own format.

OmnivecError
├── InvalidInput            a field is missing, wrong, unknown or out of range
├── Unauthenticated         no key, or an unknown, expired or revoked one
├── Forbidden               a key without the scope
├── NotFound                a collection, item or model that is not there (or is another project's)
├── NameTaken               a name that must be unique is in use
├── LimitReached            no more of something may be created
├── Conflict                what a resource is at the moment does not go with the request
│   ├── SameModel
│   ├── MigrationRunning
│   ├── MigrationEnded
│   └── ReadyVectors
├── PayloadTooLarge         a body, an inline medium or a batch over its limit
├── MediaError              media that cannot be fetched or decoded
│   ├── FetchFailed
│   ├── FetchForbidden
│   ├── UnsupportedMedia
│   ├── CorruptMedia
│   └── MediaTooLarge
├── ItemsRejected           several items of one batch, each with its own error
├── Overloaded              a queue is full; try again later
└── Unavailable             the database, the store or a model cannot be reached
    └── Outdated            a collection changed its model since it was looked up
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing wrong with one input field; `path` leads to it from the top of the request."""

    path: Path
    message: str
    code: str = "invalid"


class OmnivecError(Exception):
    """The root. `code` is stable and machine-readable; `str(error)` is for people."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(OmnivecError):
    code = "invalid_request"

    def __init__(self, violations: Sequence[Violation]) -> None:
        self.violations = tuple(violations)
        super().__init__("; ".join(v.message for v in self.violations))

    @classmethod
    def at(cls, path: Path, message: str) -> InvalidInput:
        return cls([Violation(path, message)])


class Unauthenticated(OmnivecError):
    code = "unauthenticated"


class Forbidden(OmnivecError):
    code = "forbidden"


class NotFound(OmnivecError):
    code = "not_found"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"no such {kind}: {name}")
        self.kind = kind
        self.name = name


class NameTaken(OmnivecError):
    code = "name_taken"

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"a {kind} named {name!r} already exists")
        self.kind = kind
        self.name = name


class LimitReached(OmnivecError):
    code = "limit_reached"

    def __init__(self, kind: str, most: int) -> None:
        super().__init__(f"there are {most} {kind} already, and no more may be")
        self.kind = kind
        self.most = most


class Conflict(OmnivecError):
    """The request is in order; what it is about is in a state that does not allow it."""

    code = "conflict"


class SameModel(Conflict):
    """The collection has that model already."""

    code = "same_model"


class MigrationRunning(Conflict):
    """The collection is changing its model."""

    code = "migration_running"


class MigrationEnded(Conflict):
    """There is nothing left to cancel."""

    code = "migration_ended"


class ReadyVectors(Conflict):
    """Clients brought vectors of their own, which no model can make anew."""

    code = "ready_vectors"


class PayloadTooLarge(OmnivecError):
    code = "payload_too_large"

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path


class MediaError(OmnivecError):
    """`path` leads to the input in the request, where the request has more than the medium."""

    code = "media_error"

    def __init__(self, message: str, path: Path = ()) -> None:
        super().__init__(message)
        self.path = path


class FetchFailed(MediaError):
    """The address did not answer, or not with the medium."""

    code = "fetch_failed"


class FetchForbidden(MediaError):
    """The address is one that must not be dialled."""

    code = "fetch_forbidden"


class UnsupportedMedia(MediaError):
    """The bytes are of no kind that is taken."""

    code = "unsupported_media"


class CorruptMedia(MediaError):
    """The bytes claim a kind and cannot be decoded as it."""

    code = "corrupt_media"


class MediaTooLarge(MediaError):
    """More bytes, pixels, seconds or channels than are taken."""

    code = "media_too_large"


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """Why the item at `index` of a batch was refused; `path` leads to the field in the item."""

    index: int
    path: Path
    code: str
    message: str


class ItemsRejected(OmnivecError):
    """Nothing of the batch was stored. `too_large` tells an inline medium over its limit."""

    code = "items_rejected"

    def __init__(self, failures: Sequence[ItemFailure]) -> None:
        self.failures = tuple(failures)
        count = len(self.failures)
        super().__init__(f"{count} item{'s' if count > 1 else ''} could not be indexed")


class Overloaded(OmnivecError):
    code = "overloaded"

    def __init__(self, message: str, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Unavailable(OmnivecError):
    code = "unavailable"

    def __init__(self, service: str, message: str, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.service = service
        self.retry_after = retry_after


class Outdated(Unavailable):
    """A collection changed its model since it was looked up: look it up anew, and try again."""

    def __init__(self, collection_id: str) -> None:
        message = f"collection {collection_id} changed its model meanwhile; try again"
        super().__init__("collection", message, retry_after=1.0)
