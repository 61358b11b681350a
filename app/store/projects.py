"""Projects: who collections belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.store.errors import translated

if TYPE_CHECKING:
    from app.store.database import Database


class ProjectStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, project_id: str) -> None:
        """Create the project unless it is there."""
        with translated():
            await self._database.pool.execute(
                "INSERT INTO projects (id) VALUES ($1) ON CONFLICT DO NOTHING", project_id
            )
