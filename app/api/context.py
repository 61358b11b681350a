"""What a handler needs to know of the app and of where it was called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from litestar.connection import ASGIConnection

    from app.engine.engine import Engine
    from app.settings import Settings

    Connection = ASGIConnection[Any, Any, Any, Any]


def engine_of(connection: Connection) -> Engine:
    return cast("Engine", connection.app.state.engine)


def settings_of(connection: Connection) -> Settings:
    return cast("Settings", connection.app.state.settings)


def base_url(connection: Connection) -> str:
    """Return where clients reach this service: as configured, else as this request did."""
    if configured := settings_of(connection).server.public_url:
        return configured
    scope = connection.scope
    host = connection.headers.get("host")
    if host is None:
        name, port = scope["server"] or ("localhost", None)
        host = f"{name}:{port}" if port else name
    return f"{scope['scheme']}://{host}{scope.get('root_path', '')}"
