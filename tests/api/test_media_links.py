from __future__ import annotations

import base64
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.api.factories import delete, encoded, index, new_collection, problem
from tests.servers.app import new_database, running

if TYPE_CHECKING:
    from tests.servers.postgres import PostgresServer

CAT = base64.b64decode(encoded("cat.jpg"))


@pytest.fixture(scope="module")
def link(api: httpx.Client) -> str:
    path = new_collection(api, {"image_base64": encoded("cat.jpg")})
    url: str = api.get(f"{path}/items").json()["items"][0]["content_url"]
    return url


def test_a_link_needs_no_key_and_is_safe_to_show(link: str) -> None:
    answer = httpx.get(link)
    assert answer.content == CAT
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-length"] == str(len(CAT))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["content-disposition"].startswith("inline; filename=")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-request-id"]


def test_head(link: str) -> None:
    answer = httpx.head(link)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(CAT))
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["etag"]


def test_what_is_cached_is_not_sent_again(link: str) -> None:
    etag = httpx.get(link).headers["etag"]
    for tags in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = httpx.get(link, headers={"If-None-Match": tags})
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert httpx.get(link, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("wanted", "span"),
    [
        ("bytes=0-0", slice(0, 1)),
        ("bytes=100-199", slice(100, 200)),
        ("bytes=1000-", slice(1000, None)),
        ("bytes=-10", slice(-10, None)),
        ("bytes=100-99999999", slice(100, None)),
    ],
)
def test_ranges(link: str, wanted: str, span: slice) -> None:
    answer = httpx.get(link, headers={"Range": wanted})
    assert answer.status_code == 206
    assert answer.content == CAT[span]
    start, stop, _ = span.indices(len(CAT))
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(CAT)}"
    head = httpx.head(link, headers={"Range": wanted})
    assert (head.status_code, head.headers["content-length"]) == (206, str(len(answer.content)))


@pytest.mark.parametrize("wanted", ["bytes=99999999-", "bytes=-0", "bytes=99999999-99999999"])
def test_ranges_beyond_the_end(link: str, wanted: str) -> None:
    answer = httpx.get(link, headers={"Range": wanted})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(CAT)}"
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "wanted", ["bytes=5-2", "bytes=0-1,5-9", "items=0-1", "bytes=-", "bytes=x-", "nonsense"]
)
def test_ranges_that_are_ignored(link: str, wanted: str) -> None:
    answer = httpx.get(link, headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (200, CAT)


def test_a_range_of_what_has_changed_is_sent_whole(link: str) -> None:
    headers = {"Range": "bytes=0-9", "If-Range": '"other"'}
    assert httpx.get(link, headers=headers).status_code == 200
    headers["If-Range"] = httpx.get(link).headers["etag"]
    assert httpx.get(link, headers=headers).status_code == 206


def test_a_tampered_link_is_refused(link: str) -> None:
    tampered = [
        link[:-1] + ("0" if link[-1] != "0" else "1"),
        link.replace("expires=", "expires=9"),
        link.replace("type=image%2Fjpeg", "type=text%2Fhtml"),
        link.replace("/media/default/", "/media/other/"),
        link.replace("/media/", "/media/../../etc/passwd%00/"),
        link[: link.index("signature=")] + "signature=",
        link[: link.index("signature=")] + "signature=%C3%A9",
    ]
    for url in tampered:
        assert httpx.get(url).status_code in {400, 403, 404}, url
    problem(httpx.get(tampered[2]), 403, "forbidden")
    problem(httpx.get(link.partition("?")[0]), 400, "invalid_request")


def test_an_expired_link_says_so(postgres: PostgresServer) -> None:
    environment = {"OMNIVEC_DATABASE_URL": new_database(postgres), "OMNIVEC_LINK_TTL": "1"}
    with running(environment) as service, service.client() as api:
        path = new_collection(api, {"audio_base64": encoded("bell.wav")})

        def fresh() -> str:
            url: str = api.get(f"{path}/items").json()["items"][0]["content_url"]
            return url

        assert httpx.get(fresh()).headers["content-type"] == "audio/wav"
        url = fresh()
        time.sleep(2.1)
        assert "expired" in problem(httpx.get(url), 410, "gone")["detail"]


def test_the_media_of_a_deleted_item_goes(api: httpx.Client) -> None:
    path = new_collection(api)
    ids = index(api, path, {"image_base64": encoded("rocket.jpg")})
    url = api.get(f"{path}/items").json()["items"][0]["content_url"]
    assert httpx.get(url).status_code == 200
    delete(api, f"{path}/items", {"ids": ids})
    for _ in range(100):
        if httpx.get(url).status_code == 404:
            break
        time.sleep(0.1)
    problem(httpx.get(url), 404, "not_found")


def test_many_at_once(link: str) -> None:
    with httpx.Client() as client, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: client.get(link), range(100)))
    assert all(answer.content == CAT for answer in answers)


def test_links_name_the_address_that_was_asked(api: httpx.Client) -> None:
    path = new_collection(api, {"image_base64": encoded("cat.jpg")})
    answer = api.get(f"{path}/items", headers={"Host": "localhost:1234"})
    assert answer.json()["items"][0]["content_url"].startswith("http://localhost:1234/media/")


def test_links_name_the_public_address_if_there_is_one(postgres: PostgresServer) -> None:
    environment = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_PUBLIC_URL": "https://search.example.com/omnivec",
    }
    with running(environment) as service:
        assert "https://search.example.com/omnivec/docs" in service.output
