"""`/docs` and `/schema/openapi.json`: the documentation, without a byte from elsewhere."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from litestar import Controller, Response, get
from litestar.exceptions import NotFoundException
from litestar.params import FromPath

from app.api.openapi import build_document
from app.api.requests import ApiRequest

if TYPE_CHECKING:
    from litestar import Litestar

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'self'"
)
ASSETS = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Omnivec API</title>
<link rel="icon" href="docs/favicon-32x32.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
START = """SwaggerUIBundle({
  url: "schema/openapi.json",
  dom_id: "#docs",
  deepLinking: true,
  displayRequestDuration: true,
  persistAuthorization: true,
  tryItOutEnabled: true,
  validatorUrl: null,
});
"""
HEADERS = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": CSP}


class DocsController(Controller):
    @get("/schema/openapi.json")
    async def schema(self, request: ApiRequest) -> Response[bytes]:
        content: bytes = request.app.state.openapi
        return Response(content, media_type="application/json")

    @get("/docs")
    async def page(self) -> Response[bytes]:
        return Response(PAGE.encode(), media_type="text/html", headers=HEADERS)

    @get("/docs/start.js")
    async def start(self) -> Response[bytes]:
        return Response(START.encode(), media_type="text/javascript", headers=HEADERS)

    @get("/docs/{name:str}")
    async def asset(self, name: FromPath[str]) -> Response[bytes]:
        """Swagger UI's own files, as the package `flask-swagger-ui` carries them."""
        media_type = ASSETS.get(name)
        if media_type is None:
            raise NotFoundException
        content = await asyncio.to_thread((_assets() / name).read_bytes)
        headers = {**HEADERS, "Cache-Control": "public, max-age=86400"}
        return Response(content, media_type=media_type, headers=headers)


def encode_document(app: Litestar) -> bytes:
    """Describe the app's handlers as OpenAPI, in JSON."""
    return msgspec.json.encode(build_document(app.routes))


def _assets() -> Path:
    """Find the package's files without importing it, and Flask with it."""
    spec = find_spec("flask_swagger_ui")
    if spec is None or spec.origin is None:
        raise NotFoundException(detail="flask-swagger-ui is not installed")
    return Path(spec.origin).parent / "dist"
