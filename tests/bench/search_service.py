"""The service over the benchmarks' data, its text tower replaced: a text is a vector's number.

`17` is a query, `new-17` one of those that are written later.
What is left of a search is HTTP, planning, the statement and rendering.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import uvicorn

from app.application import create_app
from app.encoders.work import Encoded
from app.logging import configure_logging
from app.settings import AuthMode, LogLevel, Settings
from tests.bench.search_data import data_set, directory, later_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from litestar import Litestar

START_SECONDS = 120
NEW = "new"


def service_settings() -> Settings:
    settings = Settings(data_dir=directory())
    return replace(
        settings,
        models=replace(settings.models, preload=()),
        server=replace(settings.server, auth=AuthMode.OFF, log_level=LogLevel.WARNING),
        database=replace(settings.database, pool_size=10),
    )


def make_app() -> Litestar:
    settings = service_settings()
    configure_logging(settings.server)
    app = create_app(settings)
    app.on_startup.append(_replace_tower)
    return app


async def _replace_tower(app: Litestar) -> None:
    vectors = {"": data_set(1).queries, NEW: later_vectors()}

    async def encode_texts(model_id: str, texts: Sequence[str], **_: Any) -> Encoded:
        places = [text.rpartition("-") for text in texts]
        found = np.stack([vectors[which][int(number)] for which, _, number in places])
        return Encoded(found.astype(np.float32), [1] * len(texts))

    app.state.engine.encoders.encode_texts = encode_texts


@contextmanager
def running() -> Iterator[int]:
    """Run the service in a process of its own; its port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.search_service", str(port)], env=dict(os.environ)
    )
    try:
        _wait(port, process)
        yield port
    finally:
        process.terminate()
        process.wait(60)


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError("the service does not start")


class Client:
    """HTTP/1.1 by hand over one connection: what a fast client costs, and no more."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connect(cls, port: int) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def post(self, path: str, body: bytes) -> bytes:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        headers = await self._reader.readuntil(b"\r\n\r\n")
        length = int(headers.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        answer = await self._reader.readexactly(length)
        if not headers.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(answer.decode())
        return answer

    def close(self) -> None:
        self._writer.close()


if __name__ == "__main__":
    uvicorn.run(make_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
