"""`omnivec serve`."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import click
import uvicorn
from uvicorn.supervisors import Multiprocess

from app.application import create_app
from app.cli.database import prepare
from app.cli.progress import Progress, describe_database, describe_models, describe_store
from app.cli.settings import read_settings, run, told_plainly
from app.logging import configure_logging

if TYPE_CHECKING:
    from litestar import Litestar

    from app.settings import Settings

GRACE_SECONDS = 30
BACKLOG = 2048


@click.command()
@click.option("--host", help="Address to listen on.  [OMNIVEC_HOST; 127.0.0.1]")
@click.option("--port", type=int, help="Port; 0 takes a free one.  [OMNIVEC_PORT; 8000]")
@click.option("--workers", type=int, help="Server processes.  [OMNIVEC_WORKERS; 1]")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Run the service until Ctrl-C or SIGTERM; requests under way are finished first."""
    settings = read_settings(
        {"OMNIVEC_HOST": host, "OMNIVEC_PORT": port, "OMNIVEC_WORKERS": workers}
    )
    configure_logging(settings.server)
    progress = Progress(settings)
    with _bind(settings.server.host, settings.server.port) as listener:
        progress.tell(f"Omnivec {version('omnivec')} starts.")
        progress.tell(f"Database: {describe_database(settings)} …")
        server = run(prepare(settings))
        try:
            progress.tell(f"Media: {describe_store(settings)}")
            progress.tell(f"Models: {describe_models(settings)} …")
            if settings.server.workers > 1:
                config = _config("app.application:from_environment", settings, factory=True)
                Supervisor(config, [listener], progress).run()
            else:
                _run_here(settings, listener, progress)
        finally:
            if server is not None:
                server.stop()


class Server(uvicorn.Server):
    """Opens and closes the app itself, so that what keeps it from starting is told plainly."""

    def __init__(self, config: uvicorn.Config, app: Litestar, progress: Progress) -> None:
        super().__init__(config)
        self._app = app
        self._progress = progress
        self._stack = contextlib.AsyncExitStack()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        assert sockets
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self._app.lifespan())
            await super().startup(sockets)
            self._stack = stack.pop_all()
        self._progress.ready(sockets[0])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        await self._stack.aclose()


class Supervisor(Multiprocess):
    """Starts the workers and tells when all of them serve."""

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket.socket], progress: Progress
    ) -> None:
        super().__init__(config, sockets)
        self._progress = progress

    def init_processes(self) -> None:
        super().init_processes()
        if all(process.wait_until_ready(sys.maxsize) for process in self.processes):
            self._progress.ready(self.sockets[0])


def _run_here(settings: Settings, listener: socket.socket, progress: Progress) -> None:
    app = create_app(settings)
    server = Server(_config(app, settings, lifespan="off"), app, progress)
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
