"""`/healthz`: the process is up. `/readyz`: what it needs is there, too."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import Controller, get
from msgspec import Meta, Struct

from app.api.context import engine_of
from app.api.openapi import documented
from app.api.requests import ApiRequest
from app.errors import Unavailable


class Health(Struct):
    status: Literal["ok"] = "ok"


class Readiness(Struct):
    checks: Annotated[
        dict[str, Literal["ok"]], Meta(description="What was looked at: database, store, model.")
    ]
    status: Literal["ok"] = "ok"


class HealthController(Controller):
    tags = ["Health"]

    @get(
        "/healthz",
        operation_id="health",
        summary="Is the process up?",
        opt=documented(answer={"status": "ok"}, public=True),
    )
    async def health(self) -> Health:
        """200 as long as the process answers."""
        return Health()

    @get(
        "/readyz",
        operation_id="readiness",
        summary="Can it serve?",
        opt=documented(
            answer={
                "checks": {"database": "ok", "store": "ok", "model": "ok"},
                "status": "ok",
            },
            errors={503: "Something that it needs does not work; `detail` names it."},
            public=True,
        ),
    )
    async def readiness(self, request: ApiRequest) -> Readiness:
        """200 if the database, the store and the preloaded models work."""
        checks = await engine_of(request).readiness()
        if failing := {name: reason for name, reason in checks.items() if reason}:
            detail = "; ".join(f"{name}: {reason}" for name, reason in failing.items())
            raise Unavailable(next(iter(failing)), detail)
        return Readiness(dict.fromkeys(checks, "ok"))
