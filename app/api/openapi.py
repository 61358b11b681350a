"""The OpenAPI 3.1 document, made from the handlers and the structs that they take and give.

Written by hand where litestar's generator stops: it fails on msgspec's Raw, does not close
objects that refuse unknown fields, and knows nothing of problem details.
"""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any, cast

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.params import ParameterKwarg, QueryParameter
from msgspec import Meta

from app.api.openapi_failures import ERRORS, PROBLEMS, FailureForm
from app.api.problems import TYPE_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from litestar.routes import BaseRoute
    from litestar.typing import FieldDefinition

    Schemas = Mapping[Any, dict[str, Any]]

_OPT = "documented"
ALIAS = "alias"  # in the `opt` of a router: the same calls are documented under another path
_PLACEHOLDER = re.compile(r"\{(\w+)")
_REF = "#/components/schemas/{name}"

DESCRIPTION = """\
Images, texts and sounds become vectors in one space: index them in a collection, then search with
any of the three.

Errors are problem details (RFC 9457) with a stable `code`. Every answer carries `X-Request-Id`.
Fields that the first published version of this API did not have are marked as additions.
"""

TAGS = {
    "Models": "What makes the vectors.",
    "Collections": "Where items live.",
    "Items": "What is stored and found.",
    "Migrations": "Changing the model of a collection while it is used. An addition.",
    "Search": "Across images, texts and sounds.",
    "Vectorize": "Cloudflare Vectorize v2, for its official clients.",
    "Health": "For load balancers and orchestrators.",
}


@dataclass(frozen=True, slots=True)
class Documented:
    """What a handler's signature does not say: examples, and the errors beside the usual ones.

    `body` describes, as OpenAPI's `content`, a body that is no JSON. `codes` are those of the
    examples of problems, where they are not the status' usual ones.
    """

    request: dict[str, Any] | None
    answer: dict[str, Any] | None
    errors: Mapping[int, str] = field(default_factory=dict)
    public: bool = False
    body: dict[str, Any] | None = None
    failures: FailureForm = PROBLEMS
    codes: Mapping[int, str] = field(default_factory=dict)


def documented(
    *,
    request: dict[str, Any] | None = None,
    answer: dict[str, Any] | None = None,
    errors: Mapping[int, str] | None = None,
    public: bool = False,
    body: dict[str, Any] | None = None,
    failures: FailureForm = PROBLEMS,
    codes: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Return the `opt` of a handler that the document shows; `public` handlers need no key."""
    return {_OPT: Documented(request, answer, errors or {}, public, body, failures, codes or {})}


def build_document(routes: Iterable[BaseRoute]) -> dict[str, Any]:
    """Describe every handler that is `documented`."""
    found = [
        (route.path_format, handler)
        for route in sorted(routes, key=lambda route: route.path_format)
        for handler in getattr(route, "route_handlers", ())
        if isinstance(handler, HTTPRouteHandler) and _OPT in handler.opt
        if ALIAS not in handler.opt
    ]
    schemas, components = _schemas(handler for _, handler in found)
    paths: dict[str, dict[str, Any]] = {}
    for path, handler in found:
        for method in sorted(handler.http_methods):
            paths.setdefault(path, {})[method.lower()] = _operation(path, handler, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Omnivec",
            "version": version("omnivec"),
            "summary": "Multimodal semantic search",
            "description": DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "security": [{"key": []}, {}],
        "paths": paths,
        "components": {
            "schemas": components,
            "headers": {
                "RequestId": {
                    "description": "Names the request in the logs; yours if you sent one.",
                    "schema": {"type": "string"},
                },
                "RetryAfter": {
                    "description": "Seconds after which to try again.",
                    "schema": {"type": "integer", "minimum": 1},
                },
            },
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "A key made by `omnivec keys create`. Not needed from this "
                    "machine as long as no key exists.",
                }
            },
        },
    }


def _schemas(handlers: Iterable[HTTPRouteHandler]) -> tuple[Schemas, dict[str, Any]]:
    """Return the schema of each annotation that is used, and the components they refer to."""
    annotations: list[Any] = []
    for handler in handlers:
        annotations.append(handler.opt[_OPT].failures.schema)
        annotations.append(handler.parsed_return_field.annotation)
        annotations += [_constrained(parameter) for parameter in _parameters(handler)]
        if handler.parsed_data_field:
            annotations.append(handler.parsed_data_field.annotation)
    unique = list(dict.fromkeys(annotations))
    schemas, components = msgspec.json.schema_components(unique, ref_template=_REF)
    return dict(zip(unique, schemas, strict=True)), components


def _operation(path: str, handler: HTTPRouteHandler, schemas: Schemas) -> dict[str, Any]:
    doc: Documented = handler.opt[_OPT]
    operation: dict[str, Any] = {
        "operationId": handler.operation_id,
        "summary": handler.summary,
        "description": inspect.getdoc(handler.fn) or "",
        "tags": sorted(handler.resolve_tags()),
        "responses": dict(_responses(handler, doc, schemas)),
    }
    if doc.public:
        operation["security"] = []
    parameters = [_parameter(parameter, schemas) for parameter in _parameters(handler)]
    named = {parameter["name"] for parameter in parameters}
    parameters = [*_unnamed(path, named), *parameters]
    if parameters:
        operation["parameters"] = parameters
    if data := handler.parsed_data_field:
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": _content(schemas[data.annotation], doc.request)},
        }
    elif doc.body:
        operation["requestBody"] = {"required": True, "content": doc.body}
    return operation


def _responses(
    handler: HTTPRouteHandler, doc: Documented, schemas: Schemas
) -> Iterator[tuple[str, dict[str, Any]]]:
    yield (
        str(handler.status_code),
        {
            "description": "It worked.",
            "headers": {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}},
            "content": {
                "application/json": _content(
                    schemas[handler.parsed_return_field.annotation], doc.answer
                )
            },
        },
    )
    form = doc.failures
    usual = [] if doc.public else [400, 401, 403, 503]
    if handler.parsed_data_field and doc.failures == PROBLEMS:
        usual += [413, 415]
    errors = {status: ERRORS[status] for status in usual} | dict(doc.errors)
    for status, text in sorted(errors.items()):
        headers = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
        example = form.example(status, text)
        if code := doc.codes.get(status):
            example |= {"type": TYPE_PREFIX + code, "code": code}
        if status in {429, 503}:
            headers["Retry-After"] = {"$ref": "#/components/headers/RetryAfter"}
        yield (
            str(status),
            {
                "description": text,
                "headers": headers,
                "content": {form.media_type: _content(schemas[form.schema], example)},
            },
        )


def _content(schema: dict[str, Any], example: dict[str, Any] | None) -> dict[str, Any]:
    return {"schema": schema} if example is None else {"schema": schema, "example": example}


def _parameters(handler: HTTPRouteHandler) -> list[FieldDefinition]:
    """Return the path and the query parameters of a handler."""
    return [
        definition
        for definition in handler.parsed_fn_signature.parameters.values()
        if isinstance(definition.kwarg_definition, ParameterKwarg)
    ]


def _parameter(definition: FieldDefinition, schemas: Schemas) -> dict[str, Any]:
    kwarg = cast("ParameterKwarg", definition.kwarg_definition)
    in_query = isinstance(kwarg, QueryParameter)
    schema = schemas[_constrained(definition)]
    if in_query and definition.has_default and definition.default is not None:
        schema = {**schema, "default": definition.default}
    described = {"description": kwarg.description} if kwarg.description else {}
    return {
        "name": kwarg.name or definition.name,
        "in": "query" if in_query else "path",
        "required": not in_query,
        **described,
        "schema": schema,
    }


def _unnamed(path: str, named: set[str]) -> Iterator[dict[str, Any]]:
    """Describe the path's parameters that the handler's signature does not name."""
    for name in _PLACEHOLDER.findall(path):
        if name not in named:
            yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _constrained(definition: FieldDefinition) -> Any:
    """Return a parameter's type without its null (it is then absent) and with its bounds."""
    inner = [kind for kind in definition.args if kind is not type(None)]
    annotation = inner[0] if definition.is_optional else definition.annotation
    kwarg = definition.kwarg_definition
    bounds = {
        name: bound for name in ("ge", "le") if (bound := getattr(kwarg, name, None)) is not None
    }
    return Annotated[annotation, Meta(**bounds)] if bounds else annotation
