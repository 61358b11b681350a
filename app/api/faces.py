"""Each face tells errors in its own words: who renders them is chosen by the path."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from litestar import Request, Response

    Renderer = Callable[[Request[Any, Any, Any], Exception], Response[bytes]]


def rendering(faces: Sequence[tuple[re.Pattern[str], Renderer]], default: Renderer) -> Renderer:
    """Return the app's exception handler: the first face whose pattern begins the path renders.

    Paths that lead nowhere belong to the face below whose prefix they lie.
    """

    def render(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        path = request.scope["path"]
        renderer = next((face for pattern, face in faces if pattern.match(path)), default)
        return renderer(request, error)

    return render
