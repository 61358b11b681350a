"""`…/vectorize/v2/indexes/{index}`: its vectors."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import Controller, get, post
from litestar.params import JSONBody, QueryParameter

from app.api.auth import Scope
from app.api.context import engine_of, settings_of
from app.api.requests import ApiRequest
from app.api.vectorize import actions, examples, rendering
from app.api.vectorize.bodies import MAX_UPLOAD
from app.api.vectorize.codes import Code
from app.api.vectorize.cursors import read_cursor
from app.api.vectorize.documenting import VECTORS_BODY, described
from app.api.vectorize.errors import UNREADABLE
from app.api.vectorize.guards import may
from app.api.vectorize.querying import REST
from app.api.vectorize.requests import find_index
from app.api.vectorize.schemas import (
    Envelope,
    Ids,
    Matches,
    MutationResult,
    Query,
    Vector,
    VectorList,
)
from app.domain.items import WriteMode

Behavior = Annotated[
    Literal["error", "discard"],
    QueryParameter(
        name="unparsable-behavior",
        description="A line that is no vector fails the request, or is left out.",
    ),
]


class VectorController(Controller):
    path = "/{index:str}"
    tags = ["Vectorize"]

    @post(
        "/insert",
        status_code=200,
        operation_id="vectorizeInsert",
        summary="Insert vectors",
        guards=[may(Scope.WRITE)],
        request_max_body_size=MAX_UPLOAD,
        opt=described(answer=examples.envelope(examples.MUTATION), index=True, body=VECTORS_BODY),
    )
    async def insert(
        self,
        request: ApiRequest,
        behavior: Behavior = "error",
    ) -> Envelope[MutationResult]:
        """Store up to 5,000 vectors whose ids are new; vectors that exist stay as they are."""
        return await _write(request, WriteMode.INSERT, behavior)

    @post(
        "/upsert",
        status_code=200,
        operation_id="vectorizeUpsert",
        summary="Upsert vectors",
        guards=[may(Scope.WRITE)],
        request_max_body_size=MAX_UPLOAD,
        opt=described(answer=examples.envelope(examples.MUTATION), index=True, body=VECTORS_BODY),
    )
    async def upsert(
        self,
        request: ApiRequest,
        behavior: Behavior = "error",
    ) -> Envelope[MutationResult]:
        """Store up to 5,000 vectors; those of the same id are replaced in full."""
        return await _write(request, WriteMode.UPSERT, behavior)

    @post(
        "/query",
        status_code=200,
        operation_id="vectorizeQuery",
        summary="Query vectors",
        guards=[may(Scope.READ)],
        opt={
            **described(
                request=examples.QUERY, answer=examples.envelope(examples.MATCHES), index=True
            ),
            UNREADABLE: Code.UNPARSABLE_QUERY,
        },
    )
    async def query(
        self,
        request: ApiRequest,
        data: JSONBody[Query],
    ) -> Envelope[Matches]:
        """Find the vectors closest to a vector, to a stored one, or to embedded content."""
        return Envelope(await actions.query(request, data, REST))

    @post(
        "/get_by_ids",
        status_code=200,
        operation_id="vectorizeGetByIds",
        summary="Get vectors by their ids",
        guards=[may(Scope.READ)],
        opt=described(
            request=examples.IDS, answer=examples.envelope([examples.VECTOR]), index=True
        ),
    )
    async def get_by_ids(
        self,
        request: ApiRequest,
        data: JSONBody[Ids],
    ) -> Envelope[list[Vector]]:
        """Up to 20 vectors; ids that are not stored are left out."""
        return Envelope(await actions.get_vectors(request, data.ids))

    @post(
        "/delete_by_ids",
        status_code=200,
        operation_id="vectorizeDeleteByIds",
        summary="Delete vectors by their ids",
        guards=[may(Scope.WRITE)],
        opt=described(
            request=examples.IDS, answer=examples.envelope(examples.MUTATION), index=True
        ),
    )
    async def delete_by_ids(
        self,
        request: ApiRequest,
        data: JSONBody[Ids],
    ) -> Envelope[MutationResult]:
        """Up to 100 vectors; ids that are not stored do no harm."""
        return Envelope(rendering.mutation(await actions.delete_vectors(request, data.ids)))

    @get(
        "/list",
        operation_id="vectorizeListVectors",
        summary="List the ids of vectors",
        guards=[may(Scope.READ)],
        opt=described(answer=examples.envelope(examples.LIST), index=True),
    )
    async def list_page(
        self,
        request: ApiRequest,
        count: Annotated[
            int, QueryParameter(ge=1, le=1000, description="Most ids on the page.")
        ] = 100,
        cursor: Annotated[
            str | None, QueryParameter(description="`nextCursor` of the page before.")
        ] = None,
    ) -> Envelope[VectorList]:
        """A page of ids; those inserted since the first page are not in the later ones."""
        entry = await find_index(request)
        after = read_cursor(cursor, entry.key) if cursor else None
        page = await engine_of(request).vector_indexes.list_ids(entry, count, after)
        ttl = settings_of(request).vectorize.cursor_ttl
        return Envelope(rendering.id_page(page, ttl))


async def _write(request: ApiRequest, mode: WriteMode, behavior: str) -> Envelope[MutationResult]:
    mutation = await actions.write_lines(request, mode, discard=behavior == "discard")
    return Envelope(rendering.mutation(mutation))
