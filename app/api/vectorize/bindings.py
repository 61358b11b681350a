"""What `env.INDEX` of a Worker sends, in both versions: bare JSON, no envelope."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import JSONBody

from app.api.auth import Scope
from app.api.requests import ApiRequest
from app.api.vectorize import actions, rendering
from app.api.vectorize.bodies import MAX_UPLOAD
from app.api.vectorize.codes import Code
from app.api.vectorize.errors import UNREADABLE
from app.api.vectorize.guards import may
from app.api.vectorize.legacy import mutation
from app.api.vectorize.querying import LEGACY_BINDING, REST
from app.api.vectorize.requests import BindingRequest, find_index
from app.api.vectorize.schemas import (
    BindingDescription,
    Ids,
    IndexInfo,
    LegacyMutation,
    Matches,
    MutationResult,
    Query,
    Vector,
)
from app.domain.items import WriteMode

QUERY = {UNREADABLE: Code.UNPARSABLE_QUERY}


class BindingController(Controller):
    """Version 2. The shim before it puts the index into the path."""

    path = "/v2/{index:str}"
    request_class = BindingRequest

    @get("/info", guards=[may(Scope.READ)])
    async def describe(self, request: ApiRequest) -> IndexInfo:
        return await actions.info(request)

    @post("/query", status_code=200, guards=[may(Scope.READ)], opt=QUERY)
    async def query(self, request: ApiRequest, data: JSONBody[Query]) -> Matches:
        return await actions.query(request, data, REST)

    @post(
        "/insert",
        status_code=200,
        guards=[may(Scope.WRITE)],
        request_max_body_size=MAX_UPLOAD,
    )
    async def insert(self, request: ApiRequest) -> MutationResult:
        return rendering.mutation(await actions.write_objects(request, WriteMode.INSERT))

    @post(
        "/upsert",
        status_code=200,
        guards=[may(Scope.WRITE)],
        request_max_body_size=MAX_UPLOAD,
    )
    async def upsert(self, request: ApiRequest) -> MutationResult:
        return rendering.mutation(await actions.write_objects(request, WriteMode.UPSERT))

    @post("/getByIds", status_code=200, guards=[may(Scope.READ)])
    async def get_by_ids(self, request: ApiRequest, data: JSONBody[Ids]) -> list[Vector]:
        return await actions.get_vectors(request, data.ids)

    @post("/deleteByIds", status_code=200, guards=[may(Scope.WRITE)])
    async def delete_by_ids(self, request: ApiRequest, data: JSONBody[Ids]) -> MutationResult:
        return rendering.mutation(await actions.delete_vectors(request, data.ids))


class LegacyBindingController(Controller):
    """Version 1."""

    path = "/v1/binding/indexes/{index:str}"
    request_class = BindingRequest

    @get(guards=[may(Scope.READ)])
    async def describe(self, request: ApiRequest) -> BindingDescription:
        return rendering.binding_description(await find_index(request))

    @post("/query", status_code=200, guards=[may(Scope.READ)], opt=QUERY)
    async def query(self, request: ApiRequest, data: JSONBody[Query]) -> Matches:
        return await actions.query(request, data, LEGACY_BINDING)

    @post(
        "/insert",
        status_code=200,
        guards=[may(Scope.WRITE)],
        request_max_body_size=MAX_UPLOAD,
    )
    async def insert(self, request: ApiRequest) -> LegacyMutation:
        return mutation(await actions.write_objects(request, WriteMode.INSERT))

    @post(
        "/upsert",
        status_code=200,
        guards=[may(Scope.WRITE)],
        request_max_body_size=MAX_UPLOAD,
    )
    async def upsert(self, request: ApiRequest) -> LegacyMutation:
        return mutation(await actions.write_objects(request, WriteMode.UPSERT))

    @post("/getByIds", status_code=200, guards=[may(Scope.READ)])
    async def get_by_ids(self, request: ApiRequest, data: JSONBody[Ids]) -> list[Vector]:
        return await actions.get_vectors(request, data.ids)

    @post("/deleteByIds", status_code=200, guards=[may(Scope.WRITE)])
    async def delete_by_ids(self, request: ApiRequest, data: JSONBody[Ids]) -> LegacyMutation:
        return mutation(await actions.delete_vectors(request, data.ids))
