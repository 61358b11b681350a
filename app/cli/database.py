"""The database as the commands need it: started, and its schema up to date."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.store import migrate
from app.store.database import Database, admin_engine, locate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from sqlalchemy.ext.asyncio import AsyncEngine

    from app.settings import Settings
    from app.store.embedded import EmbeddedServer


@asynccontextmanager
async def administered(settings: Settings) -> AsyncIterator[AsyncEngine]:
    """Open the database for administration, whatever its schema; start it if it is embedded."""
    url, server = await locate(settings)
    engine = admin_engine(url, settings.database)
    try:
        yield engine
    finally:
        await engine.dispose()
        if server is not None:
            await asyncio.to_thread(server.stop)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Database]:
    database = await Database.open(settings)
    try:
        yield database
    finally:
        await database.close()


async def prepare(settings: Settings) -> EmbeddedServer | None:
    """Start the database and migrate it as the settings say; return the embedded server, running.

    The caller keeps it for as long as the service runs, so that its processes find it up.
    """
    url, server = await locate(settings)
    try:
        if settings.database.migrate:
            engine = admin_engine(url, settings.database)
            try:
                await migrate.migrate(engine)
            finally:
                await engine.dispose()
    except BaseException:
        if server is not None:
            await asyncio.to_thread(server.stop)
        raise
    return server
