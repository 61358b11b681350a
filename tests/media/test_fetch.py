from __future__ import annotations

import asyncio
import socket
import ssl
import time
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
import pytest_asyncio

from app.errors import FetchFailed, FetchForbidden, MediaTooLarge
from app.media.fetch import Fetcher
from app.settings import MediaSettings
from tests.media.web import BODY, Web, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import trustme

MEGABYTE = 2**20
LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@asynccontextmanager
async def fetching(
    *, allow: bool = True, seconds: float = 20.0, ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[Fetcher]:
    settings = MediaSettings(fetch_allow=LOOPBACK if allow else (), fetch_timeout=seconds)
    fetcher = Fetcher(settings, ssl_context)
    try:
        yield fetcher
    finally:
        await fetcher.aclose()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def web() -> AsyncIterator[Web]:
    async with serving() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fetcher() -> AsyncIterator[Fetcher]:
    async with fetching() as allowed:
        yield allowed


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def strict() -> AsyncIterator[Fetcher]:
    """No network is exempt, as in production."""
    async with fetching(allow=False) as fetcher:
        yield fetcher


async def test_the_body_is_fetched(fetcher: Fetcher, web: Web) -> None:
    assert await fetcher.fetch(web.url("/cat.png?size=1#top"), max_bytes=MEGABYTE) == BODY
    path, headers = web.requests[-1]
    assert path == "/cat.png?size=1"
    assert headers["host"] == f"127.0.0.1:{web.port}"
    assert headers["accept-encoding"] == "identity"


async def test_the_host_is_dialled_by_address_and_told_its_name(fetcher: Fetcher, web: Web) -> None:
    assert await fetcher.fetch(web.url("/", host="localhost"), max_bytes=MEGABYTE) == BODY
    assert web.requests[-1][1]["host"] == f"localhost:{web.port}"


async def test_ipv6(fetcher: Fetcher) -> None:
    async with serving("::1") as web:
        assert await fetcher.fetch(web.url("/", host="[::1]"), max_bytes=MEGABYTE) == BODY
        assert web.requests[-1][1]["host"] == f"[::1]:{web.port}"


async def test_the_next_address_is_tried_when_one_refuses(
    fetcher: Fetcher, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "127.0.0.99", "127.0.0.1")
    url = web.url("/", host="two.example")
    assert await fetcher.fetch(url, max_bytes=MEGABYTE) == BODY


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://127.1/",
        "http://0/",
        "http://[::1]/",
        "http://[::]/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/",
        "http://[::7f00:1]/",
        "http://[64:ff9b::7f00:1]/",
        "http://[2002:7f00:1::]/",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://10.0.0.1/",
        "http://100.100.100.200/",
        "http://169.254.169.254/latest/meta-data/",
        "http://192.168.0.1/",
        "http://224.0.0.1/",
        "http://255.255.255.255/",
        "https://127.0.0.1/",
        "http://8.8.8.8:22/",
        "http://8.8.8.8:443/",
        "https://8.8.8.8:80/",
        "http://user@8.8.8.8/",
        "http://user:secret@8.8.8.8/",
        "ftp://8.8.8.8/",
        "file:///etc/passwd",
        "gopher://8.8.8.8/",
        "data:image/png;base64,AAAA",
        "/relative",
        "",
    ],
)
async def test_what_is_not_public_is_forbidden(strict: Fetcher, url: str) -> None:
    with pytest.raises(FetchForbidden):
        await strict.fetch(url, max_bytes=MEGABYTE)


@pytest.mark.parametrize(
    "url",
    [
        "http://[::1",
        "http://",
        "http:///x",
        "http://a b/",
        "http://x:99999/",
        "http://\x00/",
        "http://0177.0.0.1/",
        "http://127.0.0.1\r\nHost: x/",
        "http://\uff11\uff12\uff17.0.0.1/",
    ],
)
async def test_a_malformed_url_fails(strict: Fetcher, url: str) -> None:
    with pytest.raises(FetchFailed):
        await strict.fetch(url, max_bytes=MEGABYTE)


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Make names that end in `.example` resolve to these addresses."""
    original = socket.getaddrinfo

    def answer(host: str, port: int, *rest: object, **options: object) -> object:
        if not host.endswith(".example"):
            return original(host, port, *rest, **options)  # type: ignore[arg-type]
        return [
            (
                socket.AF_INET6 if ":" in address else socket.AF_INET,
                socket.SOCK_STREAM,
                socket.IPPROTO_TCP,
                "",
                (address, port),
            )
            for address in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", answer)


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("93.184.215.14", "10.0.0.1"),
        ("169.254.169.254", "93.184.215.14"),
        ("::ffff:192.168.0.1",),
        ("2606:4700::1", "fe80::1"),
    ],
)
async def test_a_name_with_one_private_address_is_forbidden(
    strict: Fetcher, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    resolve_to(monkeypatch, *addresses)
    with pytest.raises(FetchForbidden, match=r"cdn\.example is not at a public address"):
        await strict.fetch("http://cdn.example/cat.png", max_bytes=MEGABYTE)


async def test_a_name_that_changes_its_mind_is_asked_once(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: the address that was checked is the one that is dialled."""
    asked = []
    original = socket.getaddrinfo

    def answer(host: str, port: int, *rest: object, **options: object) -> object:
        asked.append(host)
        address = "127.0.0.1" if len(asked) == 1 else "10.0.0.1"
        return original(address, port, *rest, **options)  # type: ignore[arg-type]

    async with fetching() as fetcher:
        monkeypatch.setattr(socket, "getaddrinfo", answer)
        url = web.url("/", host="rebind.example")
        assert await fetcher.fetch(url, max_bytes=MEGABYTE) == BODY
    assert [host for host in asked if host == "rebind.example"] == ["rebind.example"]


async def test_an_unknown_name_fails(strict: Fetcher, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*arguments: object, **options: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", nothing)
    with pytest.raises(FetchFailed, match=r"nowhere\.example cannot be resolved"):
        await strict.fetch("http://nowhere.example/", max_bytes=MEGABYTE)


async def test_redirects_are_followed(fetcher: Fetcher, web: Web) -> None:
    twice = "/redirect?to=" + quote("/redirect?to=/cat.png", safe="")
    assert await fetcher.fetch(web.url(twice), max_bytes=MEGABYTE) == BODY
    elsewhere = web.url("/redirect?to=" + quote(web.url("/", host="localhost"), safe=""))
    assert await fetcher.fetch(elsewhere, max_bytes=MEGABYTE) == BODY
    assert web.requests[-1][1]["host"] == f"localhost:{web.port}"


async def test_at_most_three_redirects(fetcher: Fetcher, web: Web) -> None:
    before = len(web.requests)
    with pytest.raises(FetchFailed, match="more than 3 times"):
        await fetcher.fetch(web.url("/loop"), max_bytes=MEGABYTE)
    assert len(web.requests) - before == 4


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::ffff:10.0.0.1]/",
        "http://8.8.8.8:6379/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://me@127.0.0.1/",
        "//192.168.0.1/",
    ],
)
async def test_redirects_are_checked_like_the_first(
    fetcher: Fetcher, web: Web, target: str
) -> None:
    with pytest.raises(FetchForbidden):
        await fetcher.fetch(web.url(f"/redirect?to={quote(target, safe='')}"), max_bytes=MEGABYTE)


@pytest.mark.parametrize("status", [204, 206, 304, 400, 401, 403, 404, 429, 500, 503])
async def test_other_statuses_fail_without_the_body(
    fetcher: Fetcher, web: Web, status: int
) -> None:
    with pytest.raises(FetchFailed, match=f"answered with {status}") as error:
        await fetcher.fetch(web.url(f"/status/{status}"), max_bytes=MEGABYTE)
    assert "secret" not in str(error.value)


async def test_too_large_by_its_own_word(fetcher: Fetcher, web: Web) -> None:
    with pytest.raises(MediaTooLarge):
        await fetcher.fetch(web.url("/large/1001"), max_bytes=1000)
    assert len(await fetcher.fetch(web.url("/large/1000"), max_bytes=1000)) == 1000


async def test_too_large_without_a_length(fetcher: Fetcher, web: Web) -> None:
    with pytest.raises(MediaTooLarge):
        await fetcher.fetch(web.url("/endless"), max_bytes=MEGABYTE)


async def test_gzip_that_nobody_asked_for(fetcher: Fetcher, web: Web) -> None:
    assert await fetcher.fetch(web.url("/gzip"), max_bytes=MEGABYTE) == BODY
    with pytest.raises(FetchFailed, match="damaged gzip"):
        await fetcher.fetch(web.url("/cut-gzip"), max_bytes=MEGABYTE)
    with pytest.raises(FetchFailed, match="'br'"):
        await fetcher.fetch(web.url("/br"), max_bytes=MEGABYTE)


async def test_a_gzip_bomb_is_too_large(fetcher: Fetcher, web: Web) -> None:
    with pytest.raises(MediaTooLarge):
        await fetcher.fetch(web.url("/bomb"), max_bytes=MEGABYTE)


@pytest.mark.parametrize("path", ["/drip", "/silent"])
async def test_the_deadline_is_for_everything(web: Web, path: str) -> None:
    async with fetching(seconds=0.4) as fetcher:
        started = time.monotonic()
        with pytest.raises(FetchFailed):
            await fetcher.fetch(web.url(path), max_bytes=MEGABYTE)
        assert time.monotonic() - started < 2


async def test_a_slow_name_server_is_under_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*arguments: object, **options: object) -> object:
        time.sleep(1.0)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    async with fetching(seconds=0.2) as fetcher:
        monkeypatch.setattr(socket, "getaddrinfo", slow)
        with pytest.raises(FetchFailed, match=r"within 0\.2 seconds"):
            await fetcher.fetch("http://slow.example/", max_bytes=MEGABYTE)


async def test_broken_answers_fail(fetcher: Fetcher, web: Web) -> None:
    for path in ("/short", "/nonsense"):
        with pytest.raises(FetchFailed):
            await fetcher.fetch(web.url(path), max_bytes=MEGABYTE)


async def test_nobody_listening_fails(fetcher: Fetcher) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with pytest.raises(FetchFailed, match="connection refused"):
            await fetcher.fetch(url, max_bytes=MEGABYTE)


async def test_proxy_variables_are_ignored(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with fetching() as fetcher:
        assert await fetcher.fetch(web.url("/"), max_bytes=MEGABYTE) == BODY


@asynccontextmanager
async def tls(authority: trustme.CA, name: str) -> AsyncIterator[tuple[Web, Fetcher]]:
    """Serve with a certificate for `name`, and fetch trusting the authority."""
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(server_side)
    client_side = ssl.create_default_context()
    authority.configure_trust(client_side)
    asked: list[str | None] = []
    server_side.sni_callback = lambda _socket, asked_name, _context: asked.append(asked_name)
    async with serving(tls=server_side) as web, fetching(ssl_context=client_side) as fetcher:
        yield web, fetcher
    assert set(asked) <= {name, "other.example", None}


async def test_tls_is_checked_against_the_name_in_the_url(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    async with tls(authority, "cdn.example") as (web, fetcher):
        url = web.url("/", host="cdn.example", scheme="https")
        assert await fetcher.fetch(url, max_bytes=MEGABYTE) == BODY
        assert web.requests[-1][1]["host"] == f"cdn.example:{web.port}"
        other = web.url("/", host="other.example", scheme="https")
        with pytest.raises(FetchFailed, match="TLS: certificate verify failed"):
            await fetcher.fetch(other, max_bytes=MEGABYTE)
        with pytest.raises(FetchFailed, match="TLS"):
            await fetcher.fetch(web.url("/", scheme="https"), max_bytes=MEGABYTE)


async def test_an_unknown_authority_is_refused(
    authority: trustme.CA, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve_to(monkeypatch, "127.0.0.1")
    async with tls(authority, "cdn.example") as (web, _):
        with pytest.raises(FetchFailed, match="TLS: certificate verify failed"):
            await fetcher.fetch(
                web.url("/", host="cdn.example", scheme="https"), max_bytes=MEGABYTE
            )


async def test_cancelling_closes_the_connection(fetcher: Fetcher, web: Web) -> None:
    fetch = asyncio.create_task(fetcher.fetch(web.url("/silent"), max_bytes=MEGABYTE))
    await asyncio.wait_for(web.silent.wait(), 5)
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch
    await asyncio.wait_for(web.hung_up.wait(), 5)
