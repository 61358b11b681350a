"""`…/vectorize/v2/indexes/{index}/metadata_index`."""

from __future__ import annotations

from litestar import Controller, get, post
from litestar.params import JSONBody

from app.api.auth import Scope
from app.api.context import engine_of
from app.api.requests import ApiRequest
from app.api.vectorize import examples, rendering
from app.api.vectorize.codes import Code, VectorizeError
from app.api.vectorize.documenting import described
from app.api.vectorize.guards import may
from app.api.vectorize.names import read_property
from app.api.vectorize.requests import caller_of, find_index
from app.api.vectorize.schemas import (
    CreateMetadataIndex,
    DeleteMetadataIndex,
    Envelope,
    MetadataIndex,
    MetadataIndexes,
    MutationResult,
)
from app.errors import InvalidInput


class MetadataIndexController(Controller):
    path = "/{index:str}/metadata_index"
    tags = ["Vectorize"]

    @post(
        "/create",
        status_code=200,
        operation_id="vectorizeCreateMetadataIndex",
        summary="Create a metadata index",
        guards=[may(Scope.WRITE)],
        opt=described(
            request=examples.METADATA_INDEX,
            answer=examples.envelope(examples.MUTATION),
            index=True,
        ),
    )
    async def create(
        self,
        request: ApiRequest,
        data: JSONBody[CreateMetadataIndex],
    ) -> Envelope[MutationResult]:
        """Make filters work on a property, for the vectors written from now on; up to 10."""
        path = read_property(data.property_name)
        entry = await find_index(request)
        indexes = engine_of(request).vector_indexes
        try:
            mutation = await indexes.create_metadata_index(
                entry, path, data.index_type, caller_of(request)
            )
        except InvalidInput as error:
            raise VectorizeError(Code.METADATA_INDEX_CONFLICT, error.message) from None
        return Envelope(rendering.mutation(mutation))

    @post(
        "/delete",
        status_code=200,
        operation_id="vectorizeDeleteMetadataIndex",
        summary="Delete a metadata index",
        guards=[may(Scope.WRITE)],
        opt=described(
            request={"propertyName": "category"},
            answer=examples.envelope(examples.MUTATION),
            index=True,
        ),
    )
    async def remove(
        self,
        request: ApiRequest,
        data: JSONBody[DeleteMetadataIndex],
    ) -> Envelope[MutationResult]:
        """Filters on the property match nothing from now on; the metadata stay."""
        path = tuple(data.property_name.split("."))
        entry = await find_index(request)
        indexes = engine_of(request).vector_indexes
        return Envelope(
            rendering.mutation(await indexes.delete_metadata_index(entry, path, caller_of(request)))
        )

    @get(
        "/list",
        operation_id="vectorizeListMetadataIndexes",
        summary="List metadata indexes",
        guards=[may(Scope.READ)],
        opt=described(
            answer=examples.envelope({"metadataIndexes": [examples.METADATA_INDEX]}), index=True
        ),
    )
    async def list_all(self, request: ApiRequest) -> Envelope[MetadataIndexes]:
        """The properties that filters work on."""
        entry = await find_index(request)
        declared = await engine_of(request).vector_indexes.metadata_indexes(entry)
        return Envelope(
            MetadataIndexes([MetadataIndex(index.name, index.kind) for index in declared])
        )
