"""JSON bodies and query parameters, read strictly: a typo must not silently change a call."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec
from litestar import Request
from litestar.datastructures import State
from litestar.exceptions import NotFoundException
from litestar.params import QueryParameter

from app.api.auth import Principal
from app.api.pointers import violation
from app.api.problems import MalformedJson, NotJson
from app.errors import InvalidInput, Violation

if TYPE_CHECKING:
    from litestar.handlers import BaseRouteHandler

# msgspec decodes about a gigabyte a second: below this the loop waits less than a thread costs
INLINE_BYTES = 256 * 1024


class ApiRequest(Request[None, Principal, State]):
    """A request whose body is decoded straight into the struct that the handler asks for."""

    async def json(self) -> Any:
        """Decode the body into the type of the handler's `data`.

        Raises NotJson unless the body is labelled as JSON, MalformedJson where it is none, and
        InvalidInput where it does not fit the type.
        """
        self._check_content_type()
        body = await self.body()
        decoder = _decoder(self.route_handler)
        if len(body) > INLINE_BYTES:
            return await asyncio.to_thread(decode, body, decoder)
        return decode(body, decoder)

    def _check_content_type(self) -> None:
        kind, parameters = self.content_type
        if kind != "application/json" and not (
            kind.startswith("application/") and kind.endswith("+json")
        ):
            raise NotJson(f"send application/json, not {kind or 'a body without a content type'}")
        if parameters.get("charset", "utf-8").lower() not in {"utf-8", "utf8", "us-ascii"}:
            raise NotJson("JSON is written in UTF-8")


def decode(body: bytes | msgspec.Raw, decoder: msgspec.json.Decoder[Any]) -> Any:
    """Decode JSON; see ApiRequest.json for what it raises."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput([violation(error)]) from None
    except msgspec.DecodeError as error:
        raise MalformedJson(f"the body is not JSON: {error}") from None
    except UnicodeDecodeError:
        raise MalformedJson("the body is not UTF-8") from None
    except RecursionError:
        raise MalformedJson("the body is nested too deeply") from None


async def check_address(request: Request[Any, Any, Any]) -> None:
    """Refuse query parameters that the handler does not have, or that stand twice.

    In a path a NUL character, which no id has and Postgres does not take, leads nowhere.
    """
    if any("\0" in str(value) for value in request.path_params.values()):
        raise NotFoundException
    if not request.scope["query_string"]:
        return
    known = _query_parameters(request.route_handler)
    violations = []
    for name in dict.fromkeys(request.query_params):
        if name not in known:
            violations.append(
                Violation((name,), f"there is no query parameter named {name}", "unknown_field")
            )
        elif not known[name] and len(request.query_params.getall(name)) > 1:
            violations.append(Violation((name,), f"{name} is given more than once"))
    if violations:
        raise InvalidInput(violations)


@cache
def _decoder(handler: BaseRouteHandler) -> msgspec.json.Decoder[Any]:
    field = handler.parsed_data_field
    return msgspec.json.Decoder(field.annotation if field else Any)


@cache
def _query_parameters(handler: BaseRouteHandler) -> dict[str, bool]:
    """Name the handler's query parameters, and whether each may stand more than once."""
    return {
        field.kwarg_definition.name or name: field.is_non_string_sequence
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    }
