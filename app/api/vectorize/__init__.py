"""Cloudflare Vectorize: version 2, the deprecated version 1, and the bindings of Workers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from litestar import Router

from app.api.openapi import ALIAS
from app.api.vectorize.bindings import BindingController, LegacyBindingController
from app.api.vectorize.errors import render, render_bare
from app.api.vectorize.indexes import IndexController, create_handler
from app.api.vectorize.legacy import LegacyController
from app.api.vectorize.metadata_indexes import MetadataIndexController
from app.api.vectorize.requests import VectorizeRequest
from app.api.vectorize.vectors import VectorController

if TYPE_CHECKING:
    from app.settings import VectorizeSettings

__all__ = ["FACES", "routers"]

# Clients append `/accounts/…` to their base URL; the published document starts there.
BASE = "/client/v4"

FACES = (
    (re.compile(r"(/client/v4)?/(accounts/[^/]*/)?binding(/|$)"), render_bare),
    (re.compile(r"/(client/v4|accounts)(/|$)"), render),
)


def routers(settings: VectorizeSettings) -> list[Router]:
    return [_router(BASE, settings), _router("", settings, {ALIAS: True}), _bindings("/binding")]


def _router(base: str, settings: VectorizeSettings, opt: dict[str, bool] | None = None) -> Router:
    account = f"{base}/accounts/{{account_id:str}}"
    status = int(settings.created_status)
    return Router(
        path="/",
        route_handlers=[
            Router(
                path=f"{account}/vectorize/v2/indexes",
                route_handlers=[
                    create_handler(status),
                    IndexController,
                    VectorController,
                    MetadataIndexController,
                ],
            ),
            Router(path=f"{account}/vectorize/indexes", route_handlers=[LegacyController]),
            _bindings(f"{account}/binding"),
        ],
        request_class=VectorizeRequest,
        opt=opt or {},
    )


def _bindings(path: str) -> Router:
    return Router(path=path, route_handlers=[BindingController, LegacyBindingController])
