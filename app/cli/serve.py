"""`omnivec serve`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click
import structlog
import uvicorn
from uvicorn.supervisors import Multiprocess

from app.application import create_app
from app.cli.database import prepare
from app.cli.settings import read_settings, run, told_plainly
from app.logging import configure_logging
from app.settings import LogFormat, Settings, StoreKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar import Litestar

GRACE_SECONDS = 30
BACKLOG = 2048
ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - told apart, not bound

log = structlog.get_logger(__name__)


@click.command()
@click.option("--host", help="Address to listen on.  [OMNIVEC_HOST; 127.0.0.1]")
@click.option("--port", type=int, help="Port; 0 takes a free one.  [OMNIVEC_PORT; 8000]")
@click.option("--workers", type=int, help="Server processes.  [OMNIVEC_WORKERS; 1]")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Run the service until Ctrl-C or SIGTERM; requests under way are finished first."""
    started = time.monotonic()
    settings = read_settings(
        {"OMNIVEC_HOST": host, "OMNIVEC_PORT": port, "OMNIVEC_WORKERS": workers}
    )
    configure_logging(settings.server)
    listener = _bind(settings.server.host, settings.server.port)
    tell = _teller(settings)
    tell(f"Omnivec {version('omnivec')} starts.")
    tell(f"Database: {_database(settings)} …")
    server = run(prepare(settings))
    try:
        tell(f"Media: {_store(settings)}")
        tell(f"Models: {', '.join(settings.models.preload) or 'loaded when first used'} …")

        def announce() -> None:
            _announce(tell, settings, listener, time.monotonic() - started)

        if settings.server.workers > 1:
            config = _config("app.application:from_environment", settings, factory=True)
            Supervisor(config, [listener], announce).run()
        else:
            _run_here(settings, listener, announce)
    finally:
        listener.close()
        if server is not None:
            server.stop()


class Server(uvicorn.Server):
    """Opens and closes the app itself, so that what keeps it from starting is told plainly."""

    def __init__(self, config: uvicorn.Config, app: Litestar, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self._app = app
        self._announce = announce
        self._stack = contextlib.AsyncExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._app.lifespan())
            await self._app.state.engine.encoders.ready()
            await super().startup(sockets)
            self._stack = stack.pop_all()
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._stack.aclose()


class Supervisor(Multiprocess):
    """Starts the workers and tells when all of them serve."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], announce: Callable[[], None]
    ) -> None:
        super().__init__(config, sockets)
        self._announce = announce

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(sys.maxsize) for process in self.processes):
            self._announce()


def _run_here(settings: Settings, listener: socket.socket, announce: Callable[[], None]) -> None:
    app = create_app(settings)
    server = Server(_config(app, settings, lifespan="off"), app, announce)
    # uvicorn raises the signal that stopped it once more when all is closed
    signal.signal(signal.SIGTERM, lambda *_: None)
    with told_plainly(), contextlib.suppress(KeyboardInterrupt):
        server.run([listener])


def _config(app: Any, settings: Settings, **options: Any) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        workers=settings.server.workers,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        backlog=BACKLOG,
        **options,
    )


def _bind(host: str, port: int) -> socket.socket:
    """Take the address before anything slow starts; it listens when the app is ready."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        reason = os.strerror(error.errno or 0)
        raise click.ClickException(
            f"cannot listen on {host} port {port}: {reason}. Name another port with --port or "
            "OMNIVEC_PORT."
        ) from None
    listener.set_inheritable(True)
    return listener


def _teller(settings: Settings) -> Callable[[str], None]:
    """Return how to tell progress: in words, or as log lines where all output is to be JSON."""
    tell: Callable[[str], None] = click.echo
    if settings.server.log_format is LogFormat.JSON:
        tell = log.info
    return tell


def _announce(
    tell: Callable[[str], None], settings: Settings, listener: socket.socket, seconds: float
) -> None:
    host, port = listener.getsockname()[:2]
    host = ANY_ADDRESS.get(host, host)
    base = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    base = settings.server.public_url or base
    tell(f"Ready after {seconds:.1f} s.")
    tell(f"  API     {base}/v1/vectors")
    tell(f"  Docs    {base}/docs")
    tell(f"  Schema  {base}/schema/openapi.json")


def _database(settings: Settings) -> str:
    if settings.database.url:
        return settings.database.url.rpartition("@")[2]
    return f"embedded, in {settings.data_dir / 'postgres'}"


def _store(settings: Settings) -> str:
    if settings.media.store is StoreKind.S3:
        return f"bucket {settings.media.s3_bucket} at {settings.media.s3_endpoint or 'AWS'}"
    return f"files in {settings.data_dir / 'media'}"
