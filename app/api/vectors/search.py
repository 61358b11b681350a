"""`/v1/vectors/collections/{id}/search`."""

from __future__ import annotations

from litestar import Controller, post
from litestar.params import FromPath, JSONBody

from app.api.auth import Scope, requires
from app.api.context import base_url, engine_of, settings_of
from app.api.openapi import documented
from app.api.request_log import record
from app.api.requests import ApiRequest
from app.api.vectors import examples
from app.api.vectors.search_reading import read_search
from app.api.vectors.search_rendering import search_answer
from app.api.vectors.search_schemas import SearchAnswer, SearchRequest


class SearchController(Controller):
    path = "/collections/{collection_id:str}"
    tags = ["Search"]

    @post(
        "/search",
        status_code=200,
        operation_id="search",
        summary="Search",
        guards=[requires(Scope.READ)],
        opt=documented(
            request=examples.SEARCH,
            answer=examples.FOUND,
            errors={
                404: "The collection is unknown.",
                413: "The body or the inline medium is too large.",
                422: "The medium cannot be fetched or decoded.",
                429: "The model's queue is full.",
            },
        ),
    )
    async def search(
        self, request: ApiRequest, collection_id: FromPath[str], data: JSONBody[SearchRequest]
    ) -> SearchAnswer:
        """Find the items most like a text, an image, a sound or other items, best first."""
        engine = engine_of(request)
        query = await read_search(data, settings_of(request).media)
        outcome = await engine.search(request.auth.project_id, collection_id, query)
        record(request.scope).seconds = outcome.seconds
        return search_answer(
            outcome,
            lambda items: engine.links(items, base_url(request)),
            explain=data.explain,
        )
