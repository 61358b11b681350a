"""What Vectorize's clients send beside vectors: JSON, labelled in their several ways."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from multipart import parse_options_header

from app.api.context import engine_of
from app.api.problems import NotJson
from app.api.requests import ApiRequest

if TYPE_CHECKING:
    from litestar import Request

    from app.domain.collections import Collection

JSON = {"", "application/json"}


class VectorizeRequest(ApiRequest):
    """Takes `application/json` with whatever follows it: wrangler sends a trailing semicolon."""

    def _check_content_type(self) -> None:
        kind, _ = parse_options_header(self.headers.get("content-type", ""))
        if kind not in JSON:
            raise NotJson(f"send application/json, not {kind}")


class BindingRequest(ApiRequest):
    """Takes any content type: the runtime that sends the body is the only client."""

    def _check_content_type(self) -> None:
        pass


async def find_index(request: ApiRequest) -> Collection:
    """The index of the path, in the project of the caller. Raises NotFound."""
    name: str = request.path_params["index"]
    return await engine_of(request).vector_indexes.find(request.auth.project_id, name)


def caller_of(request: Request[Any, Any, Any]) -> str:
    """Tell callers apart, as far as requests do, by a digest of key, address and program."""
    headers = request.headers
    parts = (
        headers.get("authorization", ""),
        headers.get("x-auth-key", ""),
        headers.get("user-agent", ""),
        request.client.host if request.client else "",
    )
    return blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
