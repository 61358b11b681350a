from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.api.factories import problem
from tests.servers.app import new_database, running

if TYPE_CHECKING:
    import httpx

    from tests.servers.postgres import PostgresServer


def test_up_and_ready(api: httpx.Client) -> None:
    assert api.get("/healthz").json() == {"status": "ok"}
    assert api.get("/readyz").json() == {
        "checks": {"database": "ok", "store": "ok", "model": "ok"},
        "status": "ok",
    }


def test_a_store_that_cannot_be_written_to_is_named(postgres: PostgresServer) -> None:
    environment = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_PRELOAD_MODELS": "none",
    }
    with running(environment) as service, service.client() as api:
        media = service.directory / "data" / "media"
        media.rename(media.with_name("elsewhere"))
        time.sleep(0.01)
        detail = problem(api.get("/readyz"), 503, "unavailable")["detail"]
        assert detail.startswith("store: ")
        assert api.get("/healthz").status_code == 200
