"""What every version of the API and of the binding does, each in its own paths and words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw, Struct

from app.api.context import engine_of, settings_of
from app.api.request_log import record
from app.api.vectorize import rendering
from app.api.vectorize.bodies import vector_lines
from app.api.vectorize.codes import Code, VectorizeError
from app.api.vectorize.creating import check_description, read_spec
from app.api.vectorize.lines import BatchReader
from app.api.vectorize.names import check_id, check_index_name
from app.api.vectorize.querying import read_query
from app.api.vectorize.requests import caller_of, find_index
from app.errors import InvalidInput, ItemsRejected

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from app.api.requests import ApiRequest
    from app.api.vectorize.querying import Limits
    from app.api.vectorize.schemas import CreateIndex, IndexInfo, Matches, Query, Vector
    from app.domain.collections import Collection, SpaceSpec
    from app.domain.items import WriteMode
from app.domain.vector_indexes import Mutation

MAX_VECTORS = 5_000
MAX_VECTORS_LEGACY = 1_000
MAX_IDS_TO_GET = 20
MAX_IDS_TO_DELETE = 100
MAX_LISTED = 2**31 - 1

# Room in a line for a number and for all that is no number; content needs more.
NUMBER_BYTES = 64
LINE_BYTES = 256 * 1024


async def create_index(request: ApiRequest, data: CreateIndex, longest_name: int) -> Collection:
    engine = engine_of(request)
    settings = settings_of(request).vectorize
    check_index_name(data.name, longest_name)
    check_description(data.description)
    spec = read_spec(data.config, engine, settings.max_dimensions)
    project = request.auth.project_id
    page = await engine.list_collections(project, limit=0, offset=0)
    if page.total >= settings.max_indexes:
        raise VectorizeError(
            Code.NOT_ENTITLED, f"an account has at most {settings.max_indexes} indexes"
        )
    return await engine.vector_indexes.create(
        project, name=data.name, description=data.description or None, spec=spec
    )


async def list_indexes(request: ApiRequest) -> list[Collection]:
    """All of them, the oldest first: clients do not ask for a second page."""
    vector_indexes = engine_of(request).vector_indexes
    return list(await vector_indexes.list_indexes(request.auth.project_id, MAX_LISTED))


async def delete_index(request: ApiRequest) -> None:
    index = await find_index(request)
    await engine_of(request).delete_collection(request.auth.project_id, index.id)


async def write_lines(
    request: ApiRequest, mode: WriteMode, *, most: int = MAX_VECTORS, discard: bool = False
) -> Mutation:
    """Write the vectors of a body in any of its shapes."""
    index = await find_index(request)
    spec = index.space.spec
    longest = LINE_BYTES + NUMBER_BYTES * spec.dimensions
    if spec.model_id is not None:
        longest = settings_of(request).server.max_body_bytes
    lines = vector_lines(request, longest)
    return await _write(request, index, mode, lines, most=most, discard=discard)


async def write_objects(request: ApiRequest, mode: WriteMode) -> Mutation:
    """Write the vectors of version 1's `{"vectors": […]}`, or else lines of NDJSON."""
    index = await find_index(request)
    body = (await request.body()).lstrip()
    if not body.startswith(b"{"):
        return await write_lines(request, mode, most=MAX_VECTORS_LEGACY)
    try:
        vectors = _objects.decode(body).vectors
    except msgspec.DecodeError:
        return await write_lines(request, mode, most=MAX_VECTORS_LEGACY)
    return await _write(request, index, mode, _one_group(vectors), most=MAX_VECTORS_LEGACY)


class _Objects(Struct):
    vectors: list[Raw]


_objects = msgspec.json.Decoder(_Objects)


async def _one_group(vectors: list[Raw]) -> AsyncIterator[list[Raw]]:
    yield vectors


async def _write(
    request: ApiRequest,
    index: Collection,
    mode: WriteMode,
    groups: AsyncIterator[Iterable[bytes | Raw]],
    *,
    most: int,
    discard: bool = False,
) -> Mutation:
    spec: SpaceSpec = index.space.spec
    limits = settings_of(request).media
    batch = await BatchReader(spec, mode, limits, most=most, discard=discard).read(groups)
    vector_indexes = engine_of(request).vector_indexes
    try:
        return await vector_indexes.write(index, batch, mode, caller_of(request))
    except ItemsRejected as error:
        details = (
            f'invalid content for id="{batch.ids[failure.index]}": {failure.message}'
            for failure in error.failures
        )
        raise VectorizeError(Code.INPUT_REJECTED, "; ".join(details)) from None


async def query(request: ApiRequest, data: Query, limits: Limits) -> Matches:
    index = await find_index(request)
    wanted, level = await read_query(data, index, limits, settings_of(request).media)
    try:
        found = await engine_of(request).vector_indexes.query(index, wanted)
    except InvalidInput as error:
        if error.violations[0].path[:1] == ("filter",):
            raise VectorizeError(Code.INVALID_FILTER, error.message) from None
        raise
    record(request.scope).seconds = found.seconds
    return rendering.matches(index, found, level)


async def get_vectors(request: ApiRequest, ids: list[str]) -> list[Vector]:
    index = await find_index(request)
    _check_ids(ids, MAX_IDS_TO_GET)
    found = await engine_of(request).vector_indexes.get_vectors(index, ids)
    return [rendering.vector(item, values) for item, values in found]


async def delete_vectors(request: ApiRequest, ids: list[str]) -> Mutation:
    index = await find_index(request)
    _check_ids(ids, MAX_IDS_TO_DELETE)
    vector_indexes = engine_of(request).vector_indexes
    return await vector_indexes.delete_vectors(index, ids, caller_of(request))


async def info(request: ApiRequest) -> IndexInfo:
    index = await find_index(request)
    found = await engine_of(request).vector_indexes.info(index, caller_of(request))
    return rendering.info(found)


def _check_ids(ids: list[str], most: int) -> None:
    if len(ids) > most:
        raise VectorizeError(
            Code.TOO_MANY_IDS, f"too many ids in payload; max id count is {most}, got {len(ids)}"
        )
    for name in ids:
        check_id(name)
