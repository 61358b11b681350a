"""`/v1/vectors/collections`."""

from __future__ import annotations

from typing import Annotated

from litestar import Controller, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import UNSET

from app.api.auth import Scope, requires
from app.api.context import engine_of
from app.api.inputs import check_text
from app.api.openapi import documented
from app.api.requests import ApiRequest
from app.api.vectors import examples, rendering
from app.api.vectors.schemas import (
    Collection,
    CollectionPage,
    CreateCollection,
    Deleted,
    UpdateCollection,
)
from app.errors import InvalidInput

MAX_ROW = 2**31 - 1

Limit = Annotated[int, QueryParameter(ge=1, le=100, description="Most entries on the page.")]
Offset = Annotated[int, QueryParameter(ge=0, le=MAX_ROW, description="Entries before the page.")]


class CollectionController(Controller):
    path = "/collections"
    tags = ["Collections"]

    @post(
        operation_id="createCollection",
        summary="Create a collection",
        guards=[requires(Scope.WRITE)],
        opt=documented(
            request=examples.CREATE_COLLECTION,
            answer=examples.COLLECTION,
            errors={404: "The model is unknown.", 409: "The name is taken."},
        ),
    )
    async def create(self, request: ApiRequest, data: JSONBody[CreateCollection]) -> Collection:
        """Create an empty collection for one model's vectors."""
        _check(data.name, data.description)
        entry = await engine_of(request).create_collection(
            request.auth.project_id,
            name=data.name,
            description=data.description,
            model_id=data.model_id,
        )
        return rendering.collection(entry)

    @get(
        operation_id="listCollections",
        summary="List collections",
        guards=[requires(Scope.READ)],
        opt=documented(answer=examples.COLLECTIONS),
    )
    async def list_page(
        self,
        request: ApiRequest,
        limit: Limit = 20,
        offset: Offset = 0,
        name: Annotated[
            str | None, QueryParameter(description="Only the one of this name. An addition.")
        ] = None,
    ) -> CollectionPage:
        """The project's collections, oldest first."""
        _check(name)
        page = await engine_of(request).list_collections(
            request.auth.project_id, limit=limit, offset=offset, name=name
        )
        return CollectionPage(
            [rendering.collection(entry) for entry in page.entries], page.total, limit, offset
        )

    @get(
        "/{collection_id:str}",
        operation_id="getCollection",
        summary="Get a collection",
        guards=[requires(Scope.READ)],
        opt=documented(answer=examples.COLLECTION, errors={404: "The collection is unknown."}),
    )
    async def read(self, request: ApiRequest, collection_id: FromPath[str]) -> Collection:
        """One collection and how many items it holds."""
        entry = await engine_of(request).get_collection(request.auth.project_id, collection_id)
        return rendering.collection(entry)

    @patch(
        "/{collection_id:str}",
        operation_id="updateCollection",
        summary="Rename or describe a collection",
        guards=[requires(Scope.WRITE)],
        opt=documented(
            request=examples.UPDATE_COLLECTION,
            answer=examples.COLLECTION,
            errors={404: "The collection is unknown.", 409: "The name is taken."},
        ),
    )
    async def update(
        self, request: ApiRequest, collection_id: FromPath[str], data: JSONBody[UpdateCollection]
    ) -> Collection:
        """Change what is given; a description of null is removed. An addition."""
        description = None if data.description is UNSET else data.description or ""
        _check(data.name, description)
        entry = await engine_of(request).update_collection(
            request.auth.project_id, collection_id, name=data.name, description=description
        )
        return rendering.collection(entry)

    @delete(
        "/{collection_id:str}",
        status_code=200,
        operation_id="deleteCollection",
        summary="Delete a collection",
        guards=[requires(Scope.WRITE)],
        opt=documented(answer=examples.DELETED, errors={404: "The collection is unknown."}),
    )
    async def remove(self, request: ApiRequest, collection_id: FromPath[str]) -> Deleted:
        """Its items and their media go with it."""
        await engine_of(request).delete_collection(request.auth.project_id, collection_id)
        return Deleted(collection_id)


def _check(name: str | None, description: str | None = None) -> None:
    violations = [
        *check_text(name or "", ("name",)),
        *check_text(description or "", ("description",)),
    ]
    if violations:
        raise InvalidInput(violations)
