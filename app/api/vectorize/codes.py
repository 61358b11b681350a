"""The error codes of the Vectorize API: the published ones, and ours where none is known.

Ours are 10000 to 10002 for authentication and from 40100 on for the rest; docs/vectorize.md lists
them all.
"""

from __future__ import annotations

from enum import Enum

from app.errors import OmnivecError


class Code(Enum):
    """What can go wrong: the number, the HTTP status and the head of the message."""

    AUTHENTICATION = (10000, 401, "Authentication error")
    WRONG_ACCOUNT = (10001, 403, "Authentication error")
    LACKING_PERMISSION = (10002, 403, "Authentication error")

    UNKNOWN_CONTENT_TYPE = (1005, 400, "vectorize.unknown_content_type")
    NOT_ENTITLED = (1005, 400, "vectorize.not_entitled")
    INDEX_NOT_FOUND = (3000, 404, "vectorize.index.not_found")
    DUPLICATE_NAME = (3002, 400, "vectorize.index.duplicate_name")
    INDEX_DELETED = (3005, 410, "vectorize.index.deleted")

    METADATA_INDEX_NOT_FOUND = (40005, 400, "")
    QUERY_DIMENSIONS = (40006, 400, "")
    TOO_MANY_IDS = (40007, 400, "")
    ID_TOO_LONG = (40008, 400, "")
    NAMESPACE_TOO_LONG = (40009, 400, "")
    VECTOR_DIMENSIONS = (40012, 400, "")
    METADATA_TOO_LARGE = (40016, 400, "")
    UNPARSABLE_VECTORS = (40023, 400, "")
    TOP_K = (40025, 400, "")
    UNPARSABLE_QUERY = (40026, 400, "")
    TOO_MANY_REQUESTS = (40041, 429, "Too Many Requests")

    INVALID_CONFIG = (40100, 400, "vectorize.index.invalid_config")
    INVALID_NAME = (40101, 400, "vectorize.index.invalid_name")
    INVALID_BODY = (40102, 400, "vectorize.invalid_body_payload")
    INVALID_VECTOR = (40103, 400, "")
    TOO_MANY_VECTORS = (40104, 400, "")
    INVALID_FILTER = (40105, 400, "")
    INVALID_PARAMETER = (40106, 400, "")
    CURSOR_EXPIRED = (40107, 400, "")
    TOO_MANY_METADATA_INDEXES = (40108, 400, "")
    METADATA_INDEX_CONFLICT = (40109, 400, "")
    VECTOR_NOT_FOUND = (40110, 404, "")
    INPUT_REJECTED = (40111, 422, "")
    UNKNOWN_PATH = (40112, 404, "")
    METHOD_NOT_ALLOWED = (40113, 405, "")
    TOO_LARGE = (40114, 413, "")
    INDEX_BUSY = (40115, 409, "")
    INTERNAL = (40198, 500, "Internal Server Error")
    UNAVAILABLE = (40199, 503, "Service Unavailable")

    def __init__(self, number: int, status: int, head: str) -> None:
        self.number = number
        self.status = status
        self.head = head

    def told(self, detail: str = "") -> str:
        """The message: the head where there is one, and what it is about."""
        return " - ".join(part for part in (self.head, detail) if part)


class VectorizeError(OmnivecError):
    """What only this face refuses, with its code."""

    code = "invalid_request"

    def __init__(self, what: Code, detail: str = "") -> None:
        super().__init__(what.told(detail))
        self.what = what


def index_named(name: str) -> str:
    return f'Index name "{name}"'
