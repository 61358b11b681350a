"""The one place where what went wrong becomes an HTTP answer: RFC 9457 problem details."""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import structlog
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException
from msgspec import Meta, Struct

from app import errors
from app.api.pointers import pointer
from app.api.request_log import request_id

if TYPE_CHECKING:
    from litestar import Request

PROBLEM_JSON = "application/problem+json"
MAX_TOLD = 3
MAX_ERRORS = 100
TYPE_PREFIX = "urn:problem-type:omnivec:"

log = structlog.get_logger(__name__)


class ProblemError(Struct, rename="camel"):
    """One thing wrong with one field of the request."""

    pointer: Annotated[
        str,
        Meta(
            description="JSON pointer (RFC 6901) to the field in the body, or `/` and the name of "
            "a query parameter.",
            examples=["/items/3/image"],
        ),
    ]
    message: Annotated[str, Meta(description="For people.")]
    code: Annotated[str, Meta(description="Stable and machine-readable.")]


class Problem(Struct, omit_defaults=True):
    """What went wrong, as RFC 9457 has it."""

    type: Annotated[str, Meta(description="`urn:problem-type:omnivec:` and the code.")]
    title: Annotated[str, Meta(description="The status in words.")]
    status: Annotated[int, Meta(description="The HTTP status.")]
    detail: Annotated[str, Meta(description="What went wrong, for people.")]
    code: Annotated[
        str, Meta(description="Stable and machine-readable.", examples=["invalid_request"])
    ]
    instance: Annotated[
        str, Meta(description="`urn:request:` and the request id, to find it in the logs.")
    ] = ""
    errors: Annotated[
        list[ProblemError], Meta(description="The fields at fault, where fields are.")
    ] = []


STATUS: dict[type[Exception], int] = {
    errors.InvalidInput: 400,
    errors.Unauthenticated: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.NameTaken: 409,
    errors.LimitReached: 409,
    errors.Conflict: 409,
    errors.PayloadTooLarge: 413,
    errors.MediaError: 422,
    errors.ItemsRejected: 422,
    errors.Overloaded: 429,
    errors.Unavailable: 503,
}

HTTP_CODES = {
    400: "invalid_request",
    404: "not_found",
    405: "method_not_allowed",
    410: "gone",
    413: "payload_too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}
HTTP_DETAILS = {
    404: "nothing is served at this path",
    405: "this path does not take this method; see Allow",
    413: "the body is larger than is taken",
}


class MalformedJson(errors.OmnivecError):
    """The body is no JSON, or no UTF-8."""

    code = "malformed_json"


class NotJson(errors.OmnivecError):
    """The body is labelled as something else than JSON."""

    code = "unsupported_media_type"


STATUS |= {MalformedJson: 400, NotJson: 415}


def render(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Render any exception; litestar calls it as the app's only exception handler.

    What is neither ours nor HTTP's is logged with its traceback and told as `internal_error`:
    nothing of it leaves the process.
    """
    headers: dict[str, str] = {}
    if isinstance(error, errors.OmnivecError) and (status := _status(error)):
        problem = _of_ours(error, status)
        headers = _headers(error)
    elif isinstance(error, HTTPException) and error.status_code < 500:
        problem = _of_http(error)
        headers = error.headers or {}
    else:
        log.error("unexpected exception", exc_info=error)
        problem = _problem(500, "internal_error", "something went wrong on our side")
    problem.instance = f"urn:request:{request_id(request.scope)}"
    return Response(
        msgspec.json.encode(problem),
        status_code=problem.status,
        media_type=PROBLEM_JSON,
        headers=headers,
    )


def _status(error: errors.OmnivecError) -> int | None:
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), None)


def _problem(
    status: int, code: str, detail: str, details: list[ProblemError] | None = None
) -> Problem:
    return Problem(
        type=TYPE_PREFIX + code,
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=(details or [])[:MAX_ERRORS],
    )


def _of_ours(error: errors.OmnivecError, status: int) -> Problem:
    code, message, details = error.code, error.message, list[ProblemError]()
    match error:
        case errors.InvalidInput():
            details = [ProblemError(pointer(v.path), v.message, v.code) for v in error.violations]
            message = _summary(details)
        case errors.ItemsRejected():
            details = [
                ProblemError(pointer(("items", f.index, *f.path)), f.message, f.code)
                for f in error.failures
            ]
            codes = {f.code for f in error.failures}
            code = codes.pop() if len(codes) == 1 else code
        case errors.PayloadTooLarge() | errors.MediaError() if error.path:
            details = [ProblemError(pointer(error.path), error.message, code)]
    return _problem(status, code, message, details)


def _headers(error: errors.OmnivecError) -> dict[str, str]:
    match error:
        case errors.Unauthenticated():
            return {"WWW-Authenticate": 'Bearer realm="omnivec"'}
        case errors.Overloaded() | errors.Unavailable():
            return {"Retry-After": str(max(1, math.ceil(error.retry_after)))}
    return {}


def _of_http(error: HTTPException) -> Problem:
    """Render what litestar raises: unknown paths and methods, bad parameters, too large bodies."""
    status = error.status_code
    code = HTTP_CODES.get(status, "http_error")
    if isinstance(error, ValidationException) and isinstance(error.extra, list):
        details = [_of_parameter(entry) for entry in error.extra]
        return _problem(status, code, _summary(details), details)
    phrase = HTTPStatus(status).phrase
    detail = HTTP_DETAILS.get(status, phrase) if error.detail in {"", phrase} else error.detail
    return _problem(status, code, detail)


def _of_parameter(entry: dict[str, str]) -> ProblemError:
    key = entry.get("key", "")
    if key == "data":  # litestar's name for the body, and all it tells where there is none
        return ProblemError("", "the request has no body; send JSON", "missing")
    return ProblemError(pointer(tuple(key.split("."))), entry["message"], "invalid")


def _summary(details: list[ProblemError]) -> str:
    """Tell the first few in one line."""
    told = [f"{d.pointer}: {d.message}" if d.pointer else d.message for d in details[:MAX_TOLD]]
    more = f"; and {len(details) - MAX_TOLD} more" if len(details) > MAX_TOLD else ""
    return "; ".join(told) + more
