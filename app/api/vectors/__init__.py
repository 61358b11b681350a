"""The native API, `/v1/vectors`."""

from __future__ import annotations

from litestar import Router

from app.api.requests import check_address
from app.api.vectors.collections import CollectionController
from app.api.vectors.items import ItemController
from app.api.vectors.migrations import MigrationController
from app.api.vectors.models import ModelController
from app.api.vectors.search import SearchController

__all__ = ["router"]


def router() -> Router:
    return Router(
        path="/v1/vectors",
        route_handlers=[
            ModelController,
            CollectionController,
            ItemController,
            SearchController,
            MigrationController,
        ],
        before_request=check_address,
    )
