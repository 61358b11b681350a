"""Every answer carries a request id, and every request leaves one line in the log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import structlog
from litestar.enums import ScopeType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

_KEY = "omnivec.request"
_SAFE_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_QUIET = frozenset({"/healthz", "/readyz"})

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class RequestRecord:
    """What is known of a request beyond HTTP: handlers fill it in, the log tells it."""

    id: str
    project: str | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)


def record(scope: Mapping[str, Any] | Scope) -> RequestRecord:
    return cast("RequestRecord", cast("Mapping[str, Any]", scope)[_KEY])


def request_id(scope: Mapping[str, Any] | Scope) -> str:
    return record(scope).id


class RequestLog:
    """Wraps the whole app, so that answers of the router itself are covered too."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        started = perf_counter()
        entry = RequestRecord(_id_of(scope))
        cast("dict[str, Any]", scope)[_KEY] = entry
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message["headers"], (b"x-request-id", entry.id.encode())]
                if entry.seconds:
                    headers.append((b"server-timing", _server_timing(entry.seconds)))
                message["headers"] = headers
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=entry.id)
        try:
            await self.app(scope, receive, send_with_id)
        finally:
            path = scope.get("path_template")
            write = log.debug if path in _QUIET else log.info
            write(
                "request",
                method=scope["method"],
                path=path,
                status=status,
                ms=round((perf_counter() - started) * 1000, 2),
                project=entry.project,
                **{f"{name}_ms": round(s * 1000, 2) for name, s in entry.seconds.items()},
            )
            structlog.contextvars.unbind_contextvars("request_id")


def _id_of(scope: Scope) -> str:
    """Take the client's id where it is harmless in a header and in a log, else make one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SAFE_ID.fullmatch(value):
            return value.decode()
    return uuid4().hex


def _server_timing(seconds: Mapping[str, float]) -> bytes:
    """Write W3C Server-Timing: `encode;dur=12.3, database;dur=4.5` in milliseconds."""
    return ", ".join(f"{name};dur={s * 1000:.2f}" for name, s in seconds.items()).encode()
