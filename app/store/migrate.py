"""Bring the schema up to date; any number of processes may try at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from app.settings import ROOT
from app.store.errors import translated
from app.store.names import MIGRATION_LOCK

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.ext.asyncio import AsyncEngine

POLL_SECONDS = 0.1


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(ROOT / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def head() -> str | None:
    """The revision that this code expects."""
    return ScriptDirectory.from_config(_config()).get_current_head()


async def current(engine: AsyncEngine) -> str | None:
    """The revision that the database has; None before the first migration."""
    with translated():
        async with engine.connect() as connection:
            return await connection.run_sync(_revision)


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def migrate(engine: AsyncEngine, revision: str = "head") -> None:
    """Upgrade to `revision` in one transaction, one process at a time."""
    if revision == "head" and await current(engine) == head():
        return
    with translated():
        async with engine.connect() as connection:
            # Asked again and again: one that waits inside a statement keeps a snapshot, which
            # building an index concurrently would wait for in turn.
            lock = text("SELECT pg_try_advisory_xact_lock(:key)")
            while not await connection.scalar(lock, {"key": MIGRATION_LOCK}):
                await connection.rollback()
                await asyncio.sleep(POLL_SECONDS)
            await connection.run_sync(lambda sync: command.upgrade(_config(sync), revision))
            await connection.commit()


async def downgrade(engine: AsyncEngine, revision: str) -> None:
    with translated():
        async with engine.begin() as connection:
            await connection.run_sync(lambda sync: command.downgrade(_config(sync), revision))
