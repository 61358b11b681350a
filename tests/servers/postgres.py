"""A real Postgres for the tests: one server per session, one database per test.

Load it with `pytest_plugins = ["tests.servers.postgres"]`.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from app.settings import Settings
from app.store import migrate
from app.store.database import Database, admin_engine
from app.store.embedded import DATABASE, EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_numbers = count(1)


class PostgresServer:
    """A running server whose databases are copies of one that is migrated already."""

    def __init__(self, url: str) -> None:
        self._url = url

    def url(self, name: str) -> str:
        return self._url.replace(f"/{DATABASE}?", f"/{name}?", 1)

    async def execute(self, statement: str) -> None:
        connection = await asyncpg.connect(self.url("postgres"))
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    async def create_database(self, template: str = "template0") -> str:
        """Create an empty database, or a copy of `migrated`, and return its URL."""
        name = f"test_{next(_numbers)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'")
        return self.url(name)

    async def prepare(self) -> None:
        await self.execute("CREATE DATABASE migrated TEMPLATE template0 ENCODING 'UTF8'")
        engine = admin_engine(self.url("migrated"), Settings().database)
        await migrate.migrate(engine)
        await engine.dispose()


@contextmanager
def throwaway() -> Iterator[str]:
    """Run a server with durable writes for a benchmark; the URL of a migrated database."""
    directory = Path(tempfile.mkdtemp(prefix="omnivec-bench-"))
    server = EmbeddedServer(directory)
    try:
        running = PostgresServer(server.start())
        asyncio.run(running.prepare())
        yield running.url("migrated")
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    # Not below pytest's own directory: that one is closed to the user the server runs as.
    directory = Path(tempfile.mkdtemp(prefix="omnivec-postgres-"))
    server = EmbeddedServer(directory, {"fsync": "off", "shared_buffers": "256MB"})
    try:
        running = PostgresServer(server.start())
        asyncio.run(running.prepare())
        yield running
    finally:
        server._pg_ctl("stop", "-m", "immediate")  # nothing here is worth a checkpoint
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def database_settings(postgres: PostgresServer) -> Settings:
    """Settings that name a migrated, empty database of the test's own."""
    url = await postgres.create_database(template="migrated")
    settings = Settings()
    return replace(settings, database=replace(settings.database, url=url, timeout=20.0))


@pytest.fixture
async def database(database_settings: Settings) -> AsyncIterator[Database]:
    database = await Database.open(database_settings)
    yield database
    await database.close()
