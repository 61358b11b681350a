"""The one place where everything is wired."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from litestar import Litestar

from app.api import vectorize, vectors
from app.api.auth import Gate
from app.api.docs import DocsController, encode_document
from app.api.faces import rendering
from app.api.health import HealthController
from app.api.media import MediaController
from app.api.problems import render
from app.api.request_log import RequestLog
from app.api.requests import ApiRequest
from app.engine.engine import Engine
from app.logging import configure_logging
from app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def create_app(settings: Settings) -> Litestar:
    """Build the app; its lifespan opens the engine, waits for its models, and closes it."""
    app = Litestar(
        route_handlers=[
            vectors.router(),
            *vectorize.routers(settings.vectorize),
            HealthController,
            MediaController,
            DocsController,
        ],
        request_class=ApiRequest,
        request_max_body_size=settings.server.max_body_bytes,
        exception_handlers={Exception: rendering(vectorize.FACES, default=render)},
        lifespan=[_lifespan],
        openapi_config=None,
        logging_config=None,
    )
    app.state.settings = settings
    app.state.openapi = encode_document(app)
    app.asgi_handler = RequestLog(app.asgi_handler)
    return app


def from_environment() -> Litestar:
    """Build the app in a server process, which knows nothing but its environment."""
    settings = Settings.from_env()
    configure_logging(settings.server)
    return create_app(settings)


@asynccontextmanager
async def _lifespan(app: Litestar) -> AsyncIterator[None]:
    settings: Settings = app.state.settings
    engine = await Engine.open(settings)
    try:
        app.state.engine = engine
        app.state.gate = Gate(engine.keys, settings.server)
        await engine.encoders.ready()
        yield
    finally:
        await engine.close()
