"""`…/vectorize/v2/indexes`: the indexes themselves."""

from __future__ import annotations

from litestar import Controller, delete, get, post
from litestar.handlers import HTTPRouteHandler
from litestar.params import JSONBody

from app.api.auth import Scope
from app.api.requests import ApiRequest
from app.api.vectorize import actions, examples, rendering
from app.api.vectorize.documenting import described
from app.api.vectorize.guards import may
from app.api.vectorize.names import MAX_BYTES
from app.api.vectorize.requests import find_index
from app.api.vectorize.schemas import CreateIndex, Envelope, Index, IndexInfo


def create_handler(status: int) -> HTTPRouteHandler:
    """Creation, answered with the status of the settings."""

    @post(
        status_code=status,
        operation_id="vectorizeCreateIndex",
        summary="Create an index",
        tags=["Vectorize"],
        guards=[may(Scope.WRITE)],
        opt=described(request=examples.CREATE, answer=examples.envelope(examples.INDEX)),
    )
    async def create(request: ApiRequest, data: JSONBody[CreateIndex]) -> Envelope[Index]:
        """Create an empty index of vectors, or one for a model's.

        A preset of Cloudflare's stands for its dimensions; a model of this service embeds what is
        written and asked.
        """
        return Envelope(rendering.index(await actions.create_index(request, data, MAX_BYTES)))

    return create


class IndexController(Controller):
    tags = ["Vectorize"]

    @get(
        operation_id="vectorizeListIndexes",
        summary="List indexes",
        guards=[may(Scope.READ)],
        opt=described(answer=examples.envelope([examples.INDEX])),
    )
    async def list_all(self, request: ApiRequest) -> Envelope[list[Index]]:
        """All indexes of the account, collections of the other APIs among them."""
        return Envelope([rendering.index(entry) for entry in await actions.list_indexes(request)])

    @get(
        "/{index:str}",
        operation_id="vectorizeGetIndex",
        summary="Get an index",
        guards=[may(Scope.READ)],
        opt=described(answer=examples.envelope(examples.INDEX), index=True),
    )
    async def read(self, request: ApiRequest) -> Envelope[Index]:
        """One index and its configuration."""
        return Envelope(rendering.index(await find_index(request)))

    @delete(
        "/{index:str}",
        status_code=200,
        operation_id="vectorizeDeleteIndex",
        summary="Delete an index",
        guards=[may(Scope.WRITE)],
        opt=described(answer=examples.envelope(None), index=True),
    )
    async def remove(self, request: ApiRequest) -> Envelope[None]:
        """Its vectors go with it; its name is free again."""
        await actions.delete_index(request)
        return Envelope(None)

    @get(
        "/{index:str}/info",
        operation_id="vectorizeInfo",
        summary="Get an index's state",
        guards=[may(Scope.READ)],
        opt=described(answer=examples.envelope(examples.INFO), index=True),
    )
    async def info(self, request: ApiRequest) -> Envelope[IndexInfo]:
        """How many vectors there are, and the last mutation: all up to it are applied.

        Who asks again within minutes is told its own recent mutations in turn, so that clients
        that wait for theirs see it although another's has followed.
        """
        return Envelope(await actions.info(request))
