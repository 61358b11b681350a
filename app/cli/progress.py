"""What `omnivec serve` says while it starts: words for people, or log lines for programs."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import click
import structlog

from app.settings import LogFormat, StoreKind

if TYPE_CHECKING:
    import socket

    from app.settings import Settings

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - told apart, not bound

log = structlog.get_logger(__name__)


class Progress:
    """Goes to standard output, or into the log where all output is to be JSON."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._as_json = settings.server.log_format is LogFormat.JSON
        self._started = monotonic()

    def tell(self, message: str) -> None:
        if self._as_json:
            log.info(message)
        else:
            click.echo(message)

    def ready(self, listener: socket.socket) -> None:
        """Tell where the service is."""
        seconds = monotonic() - self._started
        base = self._settings.server.public_url or url_of(listener)
        api, docs = f"{base}/v1/vectors", f"{base}/docs"
        schema = f"{base}/schema/openapi.json"
        if self._as_json:
            log.info("ready", seconds=round(seconds, 1), api=api, docs=docs, schema=schema)
            return
        click.echo(f"Ready after {seconds:.1f} s.")
        click.echo(f"  API     {api}\n  Docs    {docs}\n  Schema  {schema}")


def url_of(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = ANY_ADDRESS.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def describe_database(settings: Settings) -> str:
    """Say where it is, without the password."""
    if settings.database.url:
        return settings.database.url.rpartition("@")[2].rpartition("//")[2]
    return f"embedded, in {settings.data_dir / 'postgres'}"


def describe_store(settings: Settings) -> str:
    if settings.media.store is StoreKind.S3:
        return f"bucket {settings.media.s3_bucket} at {settings.media.s3_endpoint or 'AWS'}"
    return f"files in {settings.data_dir / 'media'}"


def describe_models(settings: Settings) -> str:
    return ", ".join(settings.models.preload) or "loaded when first used"
