"""`…/vectorize/indexes`: the deprecated version 1 of the API."""

from __future__ import annotations

from litestar import Controller, delete, get, post, put
from litestar.params import JSONBody

from app.api.auth import Scope
from app.api.context import engine_of
from app.api.requests import ApiRequest
from app.api.vectorize import actions, rendering
from app.api.vectorize.bodies import MAX_UPLOAD
from app.api.vectorize.codes import Code
from app.api.vectorize.creating import check_description
from app.api.vectorize.errors import UNREADABLE
from app.api.vectorize.guards import may
from app.api.vectorize.names import MAX_INDEX_BYTES_LEGACY
from app.api.vectorize.querying import LEGACY_REST
from app.api.vectorize.requests import find_index
from app.api.vectorize.schemas import (
    CreateIndex,
    Envelope,
    Ids,
    Index,
    LegacyMutation,
    Matches,
    Query,
    UpdateIndex,
    Vector,
)
from app.domain.items import WriteMode
from app.domain.vector_indexes import Mutation


class LegacyController(Controller):
    @post(status_code=200, guards=[may(Scope.WRITE)])
    async def create(self, request: ApiRequest, data: JSONBody[CreateIndex]) -> Envelope[Index]:
        index = await actions.create_index(request, data, MAX_INDEX_BYTES_LEGACY)
        return Envelope(rendering.index(index))

    @get(guards=[may(Scope.READ)])
    async def list_all(self, request: ApiRequest) -> Envelope[list[Index]]:
        return Envelope([rendering.index(entry) for entry in await actions.list_indexes(request)])

    @get("/{index:str}", guards=[may(Scope.READ)])
    async def read(self, request: ApiRequest) -> Envelope[Index]:
        return Envelope(rendering.index(await find_index(request)))

    @put("/{index:str}", guards=[may(Scope.WRITE)])
    async def update(
        self,
        request: ApiRequest,
        data: JSONBody[UpdateIndex],
    ) -> Envelope[Index]:
        check_description(data.description)
        entry = await find_index(request)
        updated = await engine_of(request).update_collection(
            request.auth.project_id, entry.id, description=data.description or ""
        )
        return Envelope(rendering.index(updated))

    @delete("/{index:str}", status_code=200, guards=[may(Scope.WRITE)])
    async def remove(self, request: ApiRequest) -> Envelope[None]:
        await actions.delete_index(request)
        return Envelope(None)

    @post(
        "/{index:str}/insert",
        status_code=200,
        guards=[may(Scope.WRITE)],
        request_max_body_size=MAX_UPLOAD,
    )
    async def insert(self, request: ApiRequest) -> Envelope[LegacyMutation]:
        return Envelope(mutation(await actions.write_objects(request, WriteMode.INSERT)))

    @post(
        "/{index:str}/upsert",
        status_code=200,
        guards=[may(Scope.WRITE)],
        request_max_body_size=MAX_UPLOAD,
    )
    async def upsert(self, request: ApiRequest) -> Envelope[LegacyMutation]:
        return Envelope(mutation(await actions.write_objects(request, WriteMode.UPSERT)))

    @post(
        "/{index:str}/query",
        status_code=200,
        guards=[may(Scope.READ)],
        opt={UNREADABLE: Code.UNPARSABLE_QUERY},
    )
    async def query(
        self,
        request: ApiRequest,
        data: JSONBody[Query],
    ) -> Envelope[Matches]:
        return Envelope(await actions.query(request, data, LEGACY_REST))

    @post("/{index:str}/get-by-ids", status_code=200, guards=[may(Scope.READ)])
    async def get_by_ids(
        self,
        request: ApiRequest,
        data: JSONBody[Ids],
    ) -> Envelope[list[Vector]]:
        return Envelope(await actions.get_vectors(request, data.ids))

    @post("/{index:str}/delete-by-ids", status_code=200, guards=[may(Scope.WRITE)])
    async def delete_by_ids(
        self,
        request: ApiRequest,
        data: JSONBody[Ids],
    ) -> Envelope[LegacyMutation]:
        return Envelope(mutation(await actions.delete_vectors(request, data.ids)))


def mutation(entry: Mutation) -> LegacyMutation:
    """Version 1 tells which ids were inserted, replaced or asked to be deleted."""
    return LegacyMutation(len(entry.ids), list(entry.ids))
