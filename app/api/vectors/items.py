"""`/v1/vectors/collections/{id}/index` and `/items`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Controller, delete, get, post
from litestar.params import FromPath, JSONBody, QueryParameter

from app.api.auth import Scope, requires
from app.api.context import base_url, engine_of, settings_of
from app.api.filter_language import parse_filter
from app.api.openapi import documented
from app.api.requests import ApiRequest
from app.api.vectors import examples, rendering
from app.api.vectors.collections import Limit, Offset
from app.api.vectors.reading import read_batch, read_delete
from app.api.vectors.schemas import (
    DeletedItems,
    DeleteItems,
    IndexAnswer,
    IndexRequest,
    Item,
    ItemPage,
)
from app.domain.modality import Modality
from app.errors import InvalidInput

if TYPE_CHECKING:
    from app.domain.filters import Filter

UNKNOWN = {404: "The collection is unknown."}


class ItemController(Controller):
    path = "/collections/{collection_id:str}"
    tags = ["Items"]

    @post(
        "/index",
        status_code=200,
        operation_id="indexItems",
        summary="Index items",
        guards=[requires(Scope.WRITE)],
        opt=documented(
            request=examples.INDEX,
            answer=examples.INDEXED,
            errors={
                **UNKNOWN,
                413: "The body, an inline medium or the batch is too large.",
                422: "Media cannot be fetched or decoded; nothing was stored.",
                429: "The model's queue is full.",
            },
        ),
    )
    async def index(
        self, request: ApiRequest, collection_id: FromPath[str], data: JSONBody[IndexRequest]
    ) -> IndexAnswer:
        """Embed up to 100 images, texts and sounds and store them, all or none."""
        engine = engine_of(request)
        project = request.auth.project_id
        batch = await read_batch(data, settings_of(request).media)
        if not batch.items:
            collection = await engine.get_collection(project, collection_id)
            return rendering.index_answer(batch, None, collection.space.spec.model_id or "")
        outcome = await engine.index(project, collection_id, batch.items, data.on_error)
        return rendering.index_answer(batch, outcome, outcome.model_id)

    @get(
        "/items",
        operation_id="listItems",
        summary="List items",
        guards=[requires(Scope.READ)],
        opt=documented(answer=examples.ITEMS, errors=UNKNOWN),
    )
    async def list_page(
        self,
        request: ApiRequest,
        collection_id: FromPath[str],
        limit: Limit = 20,
        offset: Offset = 0,
        content_type: Annotated[
            list[str] | None,
            QueryParameter(
                description="Only these: `image`, `text`, `audio`; repeated or with commas. "
                "An addition."
            ),
        ] = None,
        filter_: Annotated[
            str | None,
            QueryParameter(
                name="filter",
                description="Only items whose metadata satisfy this JSON; see the search's "
                "`filter`. An addition.",
            ),
        ] = None,
    ) -> ItemPage:
        """The collection's items, oldest first."""
        page = await engine_of(request).list_items(
            request.auth.project_id,
            collection_id,
            limit=limit,
            offset=offset,
            modalities=_modalities(content_type),
            filter=_filter(filter_),
        )
        links = engine_of(request).links(page.entries, base_url(request))
        items = [rendering.item(*entry) for entry in zip(page.entries, links, strict=True)]
        return ItemPage(items, page.total, limit, offset)

    @get(
        "/items/{item_id:str}",
        operation_id="getItem",
        summary="Get an item",
        guards=[requires(Scope.READ)],
        opt=documented(
            answer=examples.ITEM, errors={404: "The collection or the item is unknown."}
        ),
    )
    async def read(
        self, request: ApiRequest, collection_id: FromPath[str], item_id: FromPath[str]
    ) -> Item:
        """One item. An addition."""
        engine = engine_of(request)
        entry = await engine.get_item(request.auth.project_id, collection_id, item_id)
        [link] = engine.links([entry], base_url(request))
        return rendering.item(entry, link)

    @delete(
        "/items",
        status_code=200,
        operation_id="deleteItems",
        summary="Delete items",
        guards=[requires(Scope.WRITE)],
        opt=documented(
            request=examples.DELETE_ITEMS, answer=examples.DELETED_ITEMS, errors=UNKNOWN
        ),
    )
    async def remove(
        self, request: ApiRequest, collection_id: FromPath[str], data: JSONBody[DeleteItems]
    ) -> DeletedItems:
        """Delete items by their ids, and their media."""
        return await _delete(request, collection_id, data)

    @post(
        "/items/delete",
        status_code=200,
        operation_id="deleteItemsByPost",
        summary="Delete items, for clients that cannot send a body with DELETE",
        guards=[requires(Scope.WRITE)],
        opt=documented(
            request=examples.DELETE_ITEMS, answer=examples.DELETED_ITEMS, errors=UNKNOWN
        ),
    )
    async def remove_by_post(
        self, request: ApiRequest, collection_id: FromPath[str], data: JSONBody[DeleteItems]
    ) -> DeletedItems:
        """The same as `DELETE …/items`. An addition."""
        return await _delete(request, collection_id, data)


async def _delete(request: ApiRequest, collection_id: str, data: DeleteItems) -> DeletedItems:
    ids = read_delete(data)
    engine = engine_of(request)
    return DeletedItems(await engine.delete_items(request.auth.project_id, collection_id, ids))


def _modalities(values: list[str] | None) -> frozenset[Modality] | None:
    if values is None:
        return None
    names = [name for value in values for name in value.split(",")]
    known = {kind.value for kind in Modality}
    if unknown := [name for name in names if name not in known]:
        message = f"content_type is image, text or audio, not {', '.join(map(repr, unknown))}"
        raise InvalidInput.at(("content_type",), message)
    return frozenset(map(Modality, names))


def _filter(text: str | None) -> Filter | None:
    if text is None:
        return None
    try:
        document: Any = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidInput.at(("filter",), f"filter is not JSON: {error}") from None
    return parse_filter(document)
