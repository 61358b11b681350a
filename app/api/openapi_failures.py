"""How failures stand in the OpenAPI document: each face tells them in its own form."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from app.api.problems import PROBLEM_JSON, TYPE_PREFIX, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

ERRORS = {
    400: "Malformed JSON; or a field that is missing, wrong, unknown or out of range.",
    401: "No key, or one that is unknown, expired or revoked.",
    403: "The key lacks the scope.",
    404: "Not there, or another project's.",
    409: "The name is taken.",
    413: "The body is too large.",
    415: "The body is not JSON.",
    422: "Media cannot be fetched or decoded.",
    429: "Too much at once; try again after `Retry-After` seconds.",
    503: "The database, the store or a model cannot be reached; try again later.",
}
_CODES = {
    400: "invalid_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    409: "name_taken",
    413: "payload_too_large",
    415: "unsupported_media_type",
    422: "fetch_failed",
    429: "overloaded",
    503: "unavailable",
}


@dataclass(frozen=True, slots=True)
class FailureForm:
    """How a face tells what went wrong: `example` takes the status and its description."""

    schema: type[msgspec.Struct]
    media_type: str
    example: Callable[[int, str], dict[str, Any]]


def _problem_example(status: int, text: str) -> dict[str, Any]:
    return {
        "type": TYPE_PREFIX + _CODES[status],
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": text,
        "code": _CODES[status],
    }


PROBLEMS = FailureForm(Problem, PROBLEM_JSON, _problem_example)
