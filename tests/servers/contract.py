"""Holds every answer against the OpenAPI document."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

if TYPE_CHECKING:
    import httpx


class Contract:
    """`check` is made to be a response hook of httpx."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._paths = [
            (re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))), operations)
            for path, operations in document["paths"].items()
        ]
        self._document = document
        resource = Resource(contents=document, specification=DRAFT202012)
        self._registry: Registry[Any] = Registry().with_resource("urn:api", resource)
        self.seen: set[tuple[str, str]] = set()

    def check(self, response: httpx.Response) -> None:
        """Fail if a documented operation answers what the document does not say."""
        request = response.request
        assert response.headers["x-request-id"]
        operation = self._operation(request.method, request.url.path)
        if operation is None:
            return
        response.read()
        status = str(response.status_code)
        what = f"{request.method} {request.url.path} → {status} {response.text[:500]}"
        assert status in operation["responses"], f"{what}: the status is not documented"
        self.seen.add((operation["operationId"], status))
        documented = operation["responses"][status]
        if request.method == "HEAD":
            return
        media_type = response.headers["content-type"].partition(";")[0]
        assert media_type in documented["content"], f"{what}: {media_type} is not documented"
        assert "$ref" not in documented["headers"]
        for name in documented["headers"]:
            assert name in response.headers, f"{what}: the header {name} is missing"
        self._validate(documented["content"][media_type]["schema"], response.json(), what)
        if response.is_success and "requestBody" in operation:
            content = operation["requestBody"]["content"]
            kind = request.headers.get("content-type", "application/json").partition(";")[0]
            schema = content.get(kind, content["application/json"])["schema"]
            if kind == "application/json" and schema.get("type") != "string":
                self._validate(schema, json.loads(request.content), f"the request of {what}")

    def _operation(self, method: str, path: str) -> dict[str, Any] | None:
        for pattern, operations in self._paths:
            if pattern.fullmatch(path.rstrip("/")):
                found: dict[str, Any] | None = operations.get(method.lower())
                return found
        return None

    def _validate(self, schema: dict[str, Any], value: Any, what: str) -> None:
        absolute = json.loads(json.dumps(schema).replace('"#/', '"urn:api#/'))
        validator = Draft202012Validator(
            absolute, registry=self._registry, format_checker=FormatChecker()
        )
        errors = [f"{e.json_path}: {e.message}" for e in validator.iter_errors(value)]
        assert not errors, f"{what}: {errors}"
