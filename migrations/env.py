"""How Alembic reaches the database: over the caller's connection, or over its own."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

from alembic import context

from app.settings import Settings
from app.store import schema
from app.store.database import admin_engine, locate

if TYPE_CHECKING:
    from sqlalchemy import Connection

CHILD = re.compile(r"(items_c|vectors_s|segments_s)\d+$")


def include_name(name: str | None, kind: str, _parents: Any) -> bool:
    """Leave out the tables of single collections and spaces: their parents stand for them."""
    return kind != "table" or name is None or not CHILD.match(name)


def run(connection: Connection) -> None:
    context.configure(
        connection=connection, target_metadata=schema.metadata, include_name=include_name
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_alone() -> None:
    """Serve the `alembic` command: connect as the service itself would."""
    settings = Settings.from_env()
    url, server = await locate(settings)
    engine = admin_engine(url, settings.database)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()
        if server is not None:
            await asyncio.to_thread(server.stop)


if context.is_offline_mode():
    context.configure(
        dialect_name="postgresql", target_metadata=schema.metadata, literal_binds=True
    )
    with context.begin_transaction():
        context.run_migrations()
elif (given := context.config.attributes.get("connection")) is not None:
    run(given)
else:
    asyncio.run(run_alone())
