"""An engine over a real database, the local store and the bundled model."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

import pytest

from app.engine.engine import Engine
from app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from app.domain.collections import Collection
    from tests.servers.postgres import PostgresServer

PROJECT = "default"

_numbers = count(1)


@pytest.fixture(scope="session")
async def engine_settings(
    postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Settings:
    """Few rows count as many, so that the index is built and used; media is swept at once."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("engine"))
    return replace(
        settings,
        database=replace(settings.database, url=await postgres.create_database("migrated")),
        search=replace(settings.search, exact_rows=150, hnsw_rows=150, index_quiet=0.0),
        media=replace(settings.media, sweep_interval=0.2),
    )


@pytest.fixture(scope="session")
async def engine(engine_settings: Settings) -> AsyncIterator[Engine]:
    engine = await Engine.open(engine_settings)
    await engine.encoders.ready()
    yield engine
    await engine.close()


@pytest.fixture
async def collection(engine: Engine) -> Collection:
    return await engine.create_collection(
        PROJECT, name=f"collection {next(_numbers)}", description=None
    )
