"""The S3 adapter against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import boto3
import httpx
import pytest
from botocore.config import Config

from app.domain.media import MediaRef
from app.errors import NotFound, Unavailable
from app.media.s3 import S3Store
from app.media.store import new_key, open_store
from app.settings import Addressing, MediaSettings, Settings, StoreKind
from tests.servers.radosgw import ACCESS_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import trustme

    from tests.servers.radosgw import Radosgw

pytestmark = pytest.mark.s3

BASE = "http://unused.example"


def settings(endpoint: str, **changes: Any) -> MediaSettings:
    values = {
        "store": StoreKind.S3,
        "s3_bucket": "omnivec-test",
        "s3_endpoint": endpoint,
        "s3_access_key": ACCESS_KEY,
        "s3_secret_key": SECRET_KEY,
        "s3_addressing": Addressing.PATH,
    }
    return MediaSettings(**(values | changes))


@pytest.fixture
async def store(radosgw: Radosgw) -> AsyncIterator[S3Store]:
    store = S3Store(settings(radosgw.endpoint))
    await store.check()
    yield store
    await store.close()


def key() -> str:
    return new_key("prj_1", "col_1")


def link(store: S3Store, name: str, content_type: str = "image/jpeg") -> str:
    return store.presign([MediaRef(name, content_type)], BASE)[0]


async def get(url: str, **options: Any) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, **options) as client:
        return await client.get(url)


async def test_what_is_put_is_there(store: S3Store) -> None:
    name = key()
    assert not await store.exists(name)
    with pytest.raises(NotFound):
        await store.get(name)
    await store.put(name, b"picture", "image/jpeg")
    assert await store.exists(name)
    assert await store.get(name) == b"picture"


async def test_a_link_gives_the_content_with_its_type_and_a_safe_name(store: S3Store) -> None:
    name = key()
    await store.put(name, b"picture", "image/jpeg")
    answer = await get(link(store, name))
    token = name.rpartition("/")[2]
    assert (answer.status_code, answer.content) == (200, b"picture")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-disposition"] == f'inline; filename="{token}.jpg"'
    assert "immutable" in answer.headers["cache-control"]


async def test_a_part_of_a_recording_can_be_asked_for(store: S3Store) -> None:
    name = key()
    await store.put(name, b"0123456789", "audio/mpeg")
    async with httpx.AsyncClient(trust_env=False) as client:
        url = link(store, name, "audio/mpeg")
        answer = await client.get(url, headers={"range": "bytes=2-5"})
    assert (answer.status_code, answer.content) == (206, b"2345")


async def test_nobody_reads_without_a_link(store: S3Store) -> None:
    name = key()
    await store.put(name, b"picture", "image/jpeg")
    assert (await get(link(store, name).partition("?")[0])).status_code == 403


@pytest.mark.parametrize(
    "parameter",
    [
        "X-Amz-Signature",
        "X-Amz-Expires",
        "X-Amz-Date",
        "response-content-type",
        "response-content-disposition",
    ],
)
async def test_a_link_that_was_touched_is_refused(store: S3Store, parameter: str) -> None:
    name = key()
    await store.put(name, b"picture", "image/jpeg")
    url = urlsplit(link(store, name))
    query = dict(parse_qsl(url.query))
    touched = {
        "X-Amz-Signature": "0" * 64,
        "X-Amz-Expires": "604800",
        "X-Amz-Date": time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()),
        "response-content-type": "text/html",
        "response-content-disposition": "attachment; filename=x.exe",
    }
    query[parameter] = touched[parameter]
    answer = await get(url._replace(query=urlencode(query)).geturl())
    assert answer.status_code == 403
    assert b"picture" not in answer.content


async def test_a_link_is_for_one_key(store: S3Store) -> None:
    one, other = key(), key()
    await store.put(one, b"one", "image/jpeg")
    await store.put(other, b"other", "image/jpeg")
    assert (await get(link(store, one).replace(one, other))).status_code == 403


async def test_a_link_expires(radosgw: Radosgw) -> None:
    store = S3Store(settings(radosgw.endpoint, link_ttl=2))
    try:
        name = key()
        await store.put(name, b"picture", "image/jpeg")
        url = link(store, name)
        assert (await get(url)).status_code == 200
        await asyncio.sleep(3.5)
        assert (await get(url)).status_code == 403
    finally:
        await store.close()


async def test_deleted_media_is_gone(store: S3Store) -> None:
    names = [key() for _ in range(5)]
    for name in names:
        await store.put(name, b"picture", "image/jpeg")
    url = link(store, names[0])
    await store.delete([*names[:4], key()])
    assert [await store.exists(name) for name in names] == [False] * 4 + [True]
    assert (await get(url)).status_code == 404
    await store.delete(names)
    await store.delete([])


async def test_more_than_a_thousand_are_deleted_in_several_requests(store: S3Store) -> None:
    last = key()
    await store.put(last, b"picture", "image/jpeg")
    await store.delete([*(key() for _ in range(1000)), last])
    assert not await store.exists(last)


async def test_a_store_that_cannot_delete_many_at_once(radosgw: Radosgw) -> None:
    async with proxy_that_refuses(b"POST ", radosgw.port) as port:
        store = S3Store(settings(f"http://127.0.0.1:{port}", s3_bucket="one-by-one"))
        try:
            names = [key() for _ in range(3)]
            for name in names:
                await store.put(name, b"picture", "image/jpeg")
            await store.delete(names)
            assert not any([await store.exists(name) for name in names])
        finally:
            await store.close()


@contextlib.asynccontextmanager
async def proxy_that_refuses(method: bytes, port: int) -> AsyncIterator[int]:
    """Pass everything on to `port`, a request a connection, but answer 501 to one method."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if head.startswith(method):
            writer.write(b"HTTP/1.1 501 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", port)
        back.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        await asyncio.gather(pump(reader, back), pump(there, writer))

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def test_many_at_once(store: S3Store) -> None:
    names = [key() for _ in range(40)]
    await asyncio.gather(*(store.put(name, name.encode(), "image/png") for name in names))
    assert await asyncio.gather(*map(store.get, names)) == [name.encode() for name in names]
    await store.delete(names)


async def test_a_large_object(store: S3Store) -> None:
    name, data = key(), bytes(range(256)) * 4 * 20 * 1024
    await store.put(name, data, "audio/wav")
    assert await store.get(name) == data
    await store.delete([name])


async def test_a_missing_bucket_is_created(radosgw: Radosgw) -> None:
    by_check = S3Store(settings(radosgw.endpoint, s3_bucket="made-by-check"))
    by_put = S3Store(settings(radosgw.endpoint, s3_bucket="made-by-put"))
    try:
        await by_check.check()
        await by_check.check()
        name = key()
        await by_put.put(name, b"picture", "image/jpeg")
        assert await by_put.get(name) == b"picture"
    finally:
        await by_check.close()
        await by_put.close()


async def test_keys_are_below_the_prefix(radosgw: Radosgw) -> None:
    store = S3Store(settings(radosgw.endpoint, s3_bucket="shared", s3_prefix="/team a/omnivec/"))
    try:
        name = key()
        await store.put(name, b"picture", "image/jpeg")
        assert (await get(link(store, name))).content == b"picture"
        assert await asyncio.to_thread(listed, radosgw, "shared") == [f"team a/omnivec/{name}"]
        await store.delete([name])
        assert await asyncio.to_thread(listed, radosgw, "shared") == []
    finally:
        await store.close()


def listed(radosgw: Radosgw, bucket: str) -> list[str]:
    client = boto3.client(
        "s3",
        endpoint_url=radosgw.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    with contextlib.closing(client):
        return [entry["Key"] for entry in client.list_objects(Bucket=bucket).get("Contents", [])]


async def test_links_name_the_public_endpoint(radosgw: Radosgw) -> None:
    public = f"http://localhost:{radosgw.port}"
    store = S3Store(settings(radosgw.endpoint, s3_public_endpoint=public))
    try:
        name = key()
        await store.put(name, b"picture", "image/jpeg")
        assert link(store, name).startswith(f"{public}/omnivec-test/")
        assert (await get(link(store, name))).content == b"picture"
    finally:
        await store.close()


async def test_over_tls(
    radosgw: Radosgw, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(bundle))
    monkeypatch.setenv("AWS_CA_BUNDLE", str(bundle))
    store = S3Store(settings(radosgw.tls_endpoint))
    try:
        await store.check()
        name = key()
        await store.put(name, b"picture", "image/jpeg")
        assert await store.get(name) == b"picture"
        url = link(store, name)
        assert url.startswith(radosgw.tls_endpoint)
        context = ssl.create_default_context(cafile=str(bundle))
        assert (await get(url, verify=context)).content == b"picture"
        await store.delete([name])
        assert not await store.exists(name)
    finally:
        await store.close()


async def test_an_untrusted_certificate_is_refused(radosgw: Radosgw) -> None:
    store = S3Store(settings(radosgw.tls_endpoint))
    try:
        with pytest.raises(Unavailable):
            await store.check()
    finally:
        await store.close()


async def test_objects_survive_a_restart(radosgw: Radosgw, store: S3Store) -> None:
    name = key()
    await store.put(name, b"picture", "image/jpeg")
    url = link(store, name)
    await asyncio.to_thread(radosgw.stop)
    started = time.monotonic()
    with pytest.raises(Unavailable):
        await store.get(name)
    assert time.monotonic() - started < 15
    await asyncio.to_thread(radosgw.start)
    assert await store.get(name) == b"picture"
    assert (await get(url)).content == b"picture"


async def test_wrong_keys_are_told(radosgw: Radosgw) -> None:
    store = S3Store(settings(radosgw.endpoint, s3_secret_key="wrong"))
    try:
        with pytest.raises(Unavailable, match="403"):
            await store.check()
        with pytest.raises(Unavailable, match="SignatureDoesNotMatch"):
            await store.put(key(), b"picture", "image/jpeg")
    finally:
        await store.close()


async def test_an_unreachable_endpoint_is_told_quickly() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = S3Store(settings(f"http://127.0.0.1:{unused.getsockname()[1]}"))
        started = time.monotonic()
        try:
            with pytest.raises(Unavailable, match="cannot be reached") as error:
                await store.put(key(), b"picture", "image/jpeg")
            assert error.value.service == "store"
            assert time.monotonic() - started < 10
        finally:
            await store.close()


async def test_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    media = settings("http://127.0.0.1:1", s3_access_key="", s3_secret_key="")
    store = open_store(Settings(data_dir=tmp_path, media=media))
    try:
        with pytest.raises(Unavailable, match="credentials"):
            await store.check()
    finally:
        await store.close()
