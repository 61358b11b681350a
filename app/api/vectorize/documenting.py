"""How the calls of this face stand in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from app.api.openapi import documented
from app.api.openapi_failures import FailureForm
from app.api.vectorize.codes import Code
from app.api.vectorize.examples import VECTORS
from app.api.vectorize.schemas import Failure

_EXAMPLES = {
    400: Code.INVALID_BODY,
    401: Code.AUTHENTICATION,
    403: Code.WRONG_ACCOUNT,
    404: Code.INDEX_NOT_FOUND,
    409: Code.INDEX_BUSY,
    410: Code.INDEX_DELETED,
    413: Code.TOO_LARGE,
    422: Code.INPUT_REJECTED,
    429: Code.TOO_MANY_REQUESTS,
    503: Code.UNAVAILABLE,
}

VECTORS_BODY = {
    media_type: {"schema": schema, "example": VECTORS}
    for media_type, schema in {
        "application/x-ndjson": {"type": "string", "description": "One vector per line."},
        "application/json": {"type": "string", "description": "The same lines as a JSON string."},
    }.items()
} | {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"vectors": {"type": "string", "format": "binary"}},
            "required": ["vectors"],
        }
    }
}


def _example(status: int, text: str) -> dict[str, Any]:
    code = _EXAMPLES[status]
    return {
        "errors": [{"code": code.number, "message": code.told(text)}],
        "success": False,
        "result": None,
        "messages": [],
        "result_info": None,
    }


FAILURES = FailureForm(Failure, "application/json", _example)


def described(
    *,
    answer: dict[str, Any],
    request: dict[str, Any] | None = None,
    index: bool = False,
    body: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the `opt` of a call; `index` calls name an index."""
    errors: dict[int, str] = {}
    if index:
        errors |= {404: "There is no such index.", 410: "It was deleted meanwhile."}
    if body is not None:
        errors[409] = "The index is changing its model: it takes content, and no vectors."
    if body is not None or request is not None:
        errors |= {
            413: "The body is too large.",
            422: "Content cannot be fetched, decoded or embedded; nothing was stored.",
            429: "The model's queue is full.",
        }
    return documented(request=request, answer=answer, errors=errors, body=body, failures=FAILURES)
