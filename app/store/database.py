"""The connections to Postgres: one pool for the hot path, one engine for administration."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import asyncpg
from pgvector.asyncpg import register_vector
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.errors import Unavailable
from app.store import migrate
from app.store.embedded import DATABASE, EmbeddedServer
from app.store.errors import translated

if TYPE_CHECKING:
    from app.settings import DatabaseSettings, Settings

CONNECT_SECONDS = 10.0
ADMIN_CONNECTIONS = 4


@dataclass(frozen=True, slots=True)
class DatabaseStatus:
    """What answers: versions as Postgres prints them, `revision` of the schema and our `head`."""

    server_version: str
    pgvector_version: str
    revision: str | None
    head: str | None

    @property
    def up_to_date(self) -> bool:
        return self.revision == self.head


def connect_arguments(url: str, settings: DatabaseSettings) -> dict[str, Any]:
    """What every connection of the service has in common.

    Statements are cut off by the server after `timeout`, and by the client a little later: a
    server that is gone answers nothing.
    """
    return {
        "dsn": url.replace("postgresql+asyncpg://", "postgresql://", 1),
        "timeout": CONNECT_SECONDS,
        "command_timeout": settings.timeout + 5,
        "server_settings": {
            "application_name": "omnivec",
            "statement_timeout": str(int(settings.timeout * 1000)),
            "jit": "off",
            # A plan for the arguments at hand: estimates for unknown ones turn index scans that
            # stop at LIMIT, and arrays of any length, into guesses.
            "plan_cache_mode": "force_custom_plan",
            # One search occupies one core: throughput over the latency of a lone query.
            "max_parallel_workers_per_gather": "0",
            "hnsw.iterative_scan": "relaxed_order",
        },
    }


def admin_engine(url: str, settings: DatabaseSettings) -> AsyncEngine:
    """SQLAlchemy's engine over the same kind of connection as the pool's."""
    arguments = connect_arguments(url, settings)

    async def connect() -> Any:
        return await asyncpg.connect(**arguments)

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=ADMIN_CONNECTIONS,
        max_overflow=0,
        pool_timeout=settings.timeout,
        pool_pre_ping=True,
    )


async def locate(settings: Settings) -> tuple[str, EmbeddedServer | None]:
    """Return the database's URL, and the embedded server where it had to be started."""
    if settings.database.url:
        return settings.database.url, None
    server = EmbeddedServer(settings.data_dir)
    url = await asyncio.to_thread(server.start)
    await _ensure_database(url)
    return url, server


class Database:
    """Open connections to the one database. `url` is what they dial."""

    def __init__(
        self,
        url: str,
        settings: DatabaseSettings,
        engine: AsyncEngine,
        pool: asyncpg.Pool,
        server: EmbeddedServer | None = None,
    ) -> None:
        self.url = url
        self.settings = settings
        self.engine = engine
        self.pool = pool
        self._server = server

    @classmethod
    async def open(cls, settings: Settings) -> Database:
        """Connect, starting the embedded server and migrating where the settings say so.

        Raises Unavailable where the database does not answer or lacks pgvector.
        """
        url, server = await locate(settings)
        engine = admin_engine(url, settings.database)
        try:
            if settings.database.migrate:
                await migrate.migrate(engine)
            pool = await _open_pool(url, settings.database)
        except BaseException:
            await engine.dispose()
            if server is not None:
                await asyncio.to_thread(server.stop)
            raise
        return cls(url, settings.database, engine, pool, server)

    async def close(self) -> None:
        """Close the connections, waiting a little for statements under way."""
        try:
            await asyncio.wait_for(self.pool.close(), timeout=5)
        except TimeoutError:
            self.pool.terminate()
        await self.engine.dispose()
        if self._server is not None:
            await asyncio.to_thread(self._server.stop)

    async def connect(self) -> asyncpg.Connection:
        """Return a connection of the caller's own, without a limit on a statement's time."""
        arguments = connect_arguments(self.url, self.settings)
        arguments["command_timeout"] = None
        arguments["server_settings"] |= {"statement_timeout": "0"}
        with translated():
            return await asyncpg.connect(**arguments)

    async def check(self) -> DatabaseStatus:
        """Ask the database who it is; raises Unavailable where it does not answer."""
        revision = await migrate.current(self.engine)
        with translated():
            row = await self.pool.fetchrow(
                "SELECT current_setting('server_version') AS server, "
                "(SELECT extversion FROM pg_extension WHERE extname = 'vector') AS pgvector"
            )
        return DatabaseStatus(row["server"], row["pgvector"], revision, migrate.head())


async def _ensure_database(url: str) -> None:
    """Create the embedded server's database; another process may be doing the same."""
    with translated():
        connection = await asyncpg.connect(url.replace(f"/{DATABASE}?", "/postgres?", 1))
        try:
            known = "SELECT true FROM pg_database WHERE datname = $1"
            if not await connection.fetchval(known, DATABASE):
                await connection.execute(
                    f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING 'UTF8'"
                )
        except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
            pass
        finally:
            await connection.close()


async def _open_pool(url: str, settings: DatabaseSettings) -> asyncpg.Pool:
    with translated():
        pool = await asyncpg.create_pool(
            **connect_arguments(url, settings),
            min_size=0,
            max_size=max(settings.pool_size, 1),
            init=register_vector,
            reset=_keep,
            statement_cache_size=500,
        )
        try:
            await pool.fetchval("SELECT 1")
        except BaseException as error:
            pool.terminate()
            if isinstance(error, ValueError):  # pgvector's codecs find no type
                message = "the database has no pgvector yet: run `omnivec migrate`"
                raise Unavailable("database", message) from error
            raise
    return pool


async def _keep(connection: asyncpg.Connection) -> None:
    """Reset nothing: what is set here is set for a transaction, so a round trip is saved."""
