"""The real service for the tests: `omnivec serve` in a process of its own.

Load it with `pytest_plugins = ["tests.servers.app"]`.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest

from app.settings import ROOT
from tests.servers.contract import Contract

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.postgres import PostgresServer

TOUR = ROOT / "docs" / "tour"
START_SECONDS = 120


class Service:
    """A running service. `logs` are its log lines so far, decoded."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self._environment = environment
        self._log = directory / "service.log"
        self._process: subprocess.Popen[str] | None = None
        self.output = ""
        self.url = ""

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def logs(self) -> list[dict[str, Any]]:
        return [msgspec.json.decode(line) for line in self.log.splitlines()]

    @property
    def process_id(self) -> int:
        assert self._process
        return self._process.pid

    def start(self, *arguments: str) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "serve", "--port", "0", *arguments],
                env=clean_environment() | self._environment,
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        watchdog = threading.Timer(START_SECONDS, self._process.kill)
        watchdog.start()
        assert self._process.stdout
        for line in self._process.stdout:
            self.output += line
            if found := re.search(r"API\s+(http\S+)/v1/vectors", line):
                self.url = found[1]
            if "openapi.json" in line:
                break
        watchdog.cancel()
        if not self.url:
            self.stop()
            raise AssertionError(f"{self.output}\n{self.log}")

    def stop(self) -> int:
        """Ask it to end, as an orchestrator would, and return its exit code."""
        assert self._process
        self._process.terminate()
        try:
            self._process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        return self._process.returncode

    def kill(self) -> None:
        """End it without a warning, as a crash would."""
        assert self._process
        self._process.kill()
        self._process.communicate()

    def client(self, key: str | None = None) -> httpx.Client:
        """Return a client that holds every answer against the service's own document."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        contract = Contract(httpx.get(f"{self.url}/schema/openapi.json").json())
        return httpx.Client(
            base_url=self.url,
            headers=headers,
            timeout=60,
            event_hooks={"response": [contract.check]},
        )


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("OMNIVEC_")}


@contextmanager
def running(environment: dict[str, str], *arguments: str) -> Iterator[Service]:
    """Run a service with these settings, its data in a directory of its own."""
    with tempfile.TemporaryDirectory(prefix="omnivec-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the embedded server's user must get through
        defaults = {"OMNIVEC_DATA_DIR": str(directory / "data")}
        service = Service(directory, defaults | environment)
        service.start(*arguments)
        try:
            yield service
        finally:
            service.stop()


def new_database(postgres: PostgresServer) -> str:
    return asyncio.run(postgres.create_database(template="migrated"))


@pytest.fixture(scope="session")
def service(postgres: PostgresServer) -> Iterator[Service]:
    """The service as most tests need it: without keys, the bundled model loaded."""
    environment = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_FETCH_ALLOW": "127.0.0.0/8",
    }
    with running(environment) as service:
        yield service


@pytest.fixture(scope="session")
def api(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="session")
def web() -> Iterator[str]:
    """A web server on loopback with the tour's media; its URL."""
    handler = partial(_Quiet, directory=str(TOUR))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass
