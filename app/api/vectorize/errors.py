"""What went wrong, as Cloudflare's envelope has it, or bare for bindings."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import structlog
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException
from litestar.serialization import encode_json
from msgspec import UNSET

from app import errors
from app.api.context import settings_of
from app.api.pointers import pointer
from app.api.problems import MalformedJson, NotJson
from app.api.vectorize.codes import Code, VectorizeError, index_named
from app.api.vectorize.schemas import BindingFailure, ErrorSource, Failure, Message

if TYPE_CHECKING:
    from litestar import Request

log = structlog.get_logger(__name__)

Told = tuple[Code, list[Message]]

# What a handler's route says of bodies that cannot be read: `opt` of the handler.
UNREADABLE = "unreadable"

_CODES: dict[type, Code] = {
    errors.Unauthenticated: Code.AUTHENTICATION,
    errors.LimitReached: Code.TOO_MANY_METADATA_INDEXES,
    errors.Conflict: Code.INDEX_BUSY,
    errors.PayloadTooLarge: Code.TOO_LARGE,
    errors.MediaTooLarge: Code.TOO_LARGE,
    errors.MediaError: Code.INPUT_REJECTED,
    errors.Overloaded: Code.TOO_MANY_REQUESTS,
    errors.Unavailable: Code.UNAVAILABLE,
}
_HTTP = {
    404: Code.UNKNOWN_PATH,
    405: Code.METHOD_NOT_ALLOWED,
    413: Code.TOO_LARGE,
}


def render(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Render any exception as the failure envelope."""
    code, messages = _tell(request, error)
    return _answer(request, error, code, encode_json(Failure(messages)))


def render_bare(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Render any exception as bindings read it: an error text and its code."""
    code, messages = _tell(request, error)
    text = "; ".join(message.message for message in messages)
    return _answer(request, error, code, encode_json(BindingFailure(text, code.number)))


def _answer(
    request: Request[Any, Any, Any], error: Exception, code: Code, content: bytes
) -> Response[bytes]:
    status = code.status
    if code is Code.INDEX_NOT_FOUND:
        status = int(settings_of(request).vectorize.missing_status)
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, errors.Overloaded | errors.Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return Response(content, status_code=status, media_type="application/json", headers=headers)


def _tell(request: Request[Any, Any, Any], error: Exception) -> Told:
    match error:
        case VectorizeError():
            return error.what, [Message(error.what.number, error.message)]
        case errors.OmnivecError():
            return _tell_ours(request, error)
        case ValidationException():
            return _of_parameters(request, error)
        case HTTPException(status_code=status) if status < 500:
            return _plain(_HTTP.get(status, _unreadable(request)), error.detail)
    log.error("unexpected exception", exc_info=error)
    return _plain(Code.INTERNAL)


def _tell_ours(  # noqa: PLR0911 (one for each kind of error)
    request: Request[Any, Any, Any], error: errors.OmnivecError
) -> Told:
    match error:
        case errors.NotFound():
            return _missing(request, error)
        case errors.NameTaken(name=name):
            return _plain(Code.DUPLICATE_NAME, index_named(name))
        case NotJson():
            return _not_json(request, error.message)
        case MalformedJson():
            return _plain(_unreadable(request), error.message)
        case errors.InvalidInput(violations=violations):
            return _violations(_unreadable(request), violations)
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _plain(_CODES[kind], error.message)
    log.error("unexpected exception", exc_info=error)
    return _plain(Code.INTERNAL)


def _of_parameters(request: Request[Any, Any, Any], error: ValidationException) -> Told:
    """Render what litestar says of query parameters, or of a body that is not there."""
    entries = error.extra if isinstance(error.extra, list) else []
    faults = [(entry.get("key", ""), entry["message"]) for entry in entries]
    if not faults or any(key == "data" for key, _ in faults):
        return _plain(_unreadable(request), "the request has no body; send JSON")
    code = Code.INVALID_PARAMETER
    return code, [Message(code.number, f"{key}: {message}") for key, message in faults]


def _missing(request: Request[Any, Any, Any], error: errors.NotFound) -> Told:
    match error.kind:
        case "index":
            return _plain(Code.INDEX_NOT_FOUND, index_named(error.name))
        case "collection":  # it was there when the request began
            return _plain(Code.INDEX_DELETED, index_named(request.path_params.get("index", "")))
        case "vector":
            return _plain(Code.VECTOR_NOT_FOUND, f"vector not found: {error.name}")
        case "metadata index":
            return _plain(
                Code.METADATA_INDEX_NOT_FOUND, f"no metadata index for property {error.name!r}"
            )
    return _plain(_unreadable(request), error.message)


def _plain(code: Code, detail: str = "") -> Told:
    return code, [Message(code.number, code.told(detail))]


def _not_json(request: Request[Any, Any, Any], message: str) -> Told:
    """A query of the wrong type has the code of one that cannot be read."""
    code = _unreadable(request)
    return _plain(code if code is Code.UNPARSABLE_QUERY else Code.UNKNOWN_CONTENT_TYPE, message)


def _unreadable(request: Request[Any, Any, Any]) -> Code:
    handler = request.scope.get("route_handler")
    code: Code = handler.opt.get(UNREADABLE, Code.INVALID_BODY) if handler else Code.INVALID_BODY
    return code


def _violations(code: Code, violations: tuple[errors.Violation, ...]) -> Told:
    return code, [
        Message(
            code.number,
            code.told(violation.message),
            ErrorSource(pointer(violation.path)) if violation.path else UNSET,
        )
        for violation in violations
    ]
