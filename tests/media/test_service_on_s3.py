"""The whole service with its media in S3: indexed, linked, found, deleted."""

from __future__ import annotations

import base64
import time
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.servers.app import TOUR, new_database, running
from tests.servers.radosgw import ACCESS_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.servers.app import Service
    from tests.servers.postgres import PostgresServer
    from tests.servers.radosgw import Radosgw

pytestmark = pytest.mark.s3

COLLECTIONS = "/v1/vectors/collections"


@pytest.fixture(scope="module")
def service(postgres: PostgresServer, radosgw: Radosgw) -> Iterator[Service]:
    environment = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_MEDIA_STORE": "s3",
        "OMNIVEC_S3_ENDPOINT": radosgw.endpoint,
        "OMNIVEC_S3_ACCESS_KEY": ACCESS_KEY,
        "OMNIVEC_S3_SECRET_KEY": SECRET_KEY,
        "OMNIVEC_S3_BUCKET": "service",
        "OMNIVEC_SWEEP_INTERVAL": "0.2",
    }
    with running(environment) as service:
        yield service


def test_media_lies_in_s3_is_linked_from_there_and_goes_with_its_item(service: Service) -> None:
    photo = (TOUR / "cat.jpg").read_bytes()
    with service.client() as api:
        assert api.get("/readyz").status_code == 200
        path = f"{COLLECTIONS}/{api.post(COLLECTIONS, json={'name': 's3'}).json()['id']}"
        item = {"id": "cat", "image_base64": base64.b64encode(photo).decode()}
        assert api.post(f"{path}/index", json={"items": [item]}).status_code == 200
        found = api.post(f"{path}/search", json={"text": "a kitten"}).json()["results"]
        link = found[0]["content_url"]
    # The link leads to the store itself, and needs no key of ours.
    assert not link.startswith(service.url)
    fetched = httpx.get(link)
    assert fetched.content == photo
    assert fetched.headers["content-type"] == "image/jpeg"
    assert fetched.headers["content-disposition"].startswith("inline")
    with service.client() as api:
        assert api.post(f"{path}/items/delete", json={"ids": ["cat"]}).json() == {"deleted": 1}
    deadline = time.monotonic() + 20
    while httpx.get(link).status_code != 404:
        assert time.monotonic() < deadline, "the object outlives its item"
        time.sleep(0.1)
