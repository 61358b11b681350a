"""Fetching media by URL on behalf of a stranger, without becoming the stranger's proxy.

A host name is resolved once, every address of it is checked, and a checked address is dialled: no
second resolution can point elsewhere. Each redirect starts from the beginning.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import httpx

from app.errors import FetchFailed, FetchForbidden, MediaTooLarge
from app.media.addresses import Address, is_allowed, may_dial

if TYPE_CHECKING:
    from app.settings import MediaSettings

MAX_REDIRECTS: Final = 3
_PORTS: Final = {"http": 80, "https": 443}
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_CONNECT_TIMEOUT: Final = 5.0
# A slow name server holds a thread; it must not be one that the rest of the service needs.
_RESOLVER_THREADS: Final = 8
_MAX_ADDRESSES: Final = 4
_GZIP: Final = 16 + zlib.MAX_WBITS
_HEADERS: Final = {
    "accept": "image/*, audio/*, video/*;q=0.8, */*;q=0.5",
    "accept-encoding": "identity",
    "user-agent": "Omnivec (media fetcher)",
}


@dataclass(frozen=True, slots=True)
class Target:
    """A URL that may be fetched, and the checked addresses of its host."""

    url: httpx.URL
    addresses: tuple[Address, ...]


class Fetcher:
    """Fetches URLs within the limits of the settings; one client for all."""

    def __init__(self, settings: MediaSettings, ssl_context: ssl.SSLContext | None = None) -> None:
        """`ssl_context` replaces the public certificate authorities."""
        self._timeout = settings.fetch_timeout
        self._allowed = settings.fetch_allow
        self._client = httpx.AsyncClient(
            verify=True if ssl_context is None else ssl_context,
            trust_env=False,
            follow_redirects=False,
            headers=_HEADERS,
            timeout=httpx.Timeout(self._timeout, connect=min(_CONNECT_TIMEOUT, self._timeout)),
            # A connection is kept by its address, and its certificate was checked for one name.
            limits=httpx.Limits(max_connections=100, max_keepalive_connections=0),
        )
        self._resolver = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="resolve")

    async def aclose(self) -> None:
        """Close all connections."""
        self._resolver.shutdown(wait=False, cancel_futures=True)
        await self._client.aclose()

    async def fetch(self, url: str, *, max_bytes: int) -> bytes:
        """Return the body that `url` leads to.

        Raises FetchForbidden when it, or a redirect, points where we do not go; FetchFailed when
        nobody answers in time or not with 200; MediaTooLarge beyond `max_bytes`, decompressed.
        """
        location = _parse(url)
        try:
            async with asyncio.timeout(self._timeout):
                for _ in range(MAX_REDIRECTS + 1):
                    answer = await self._follow(await self._check(location), max_bytes)
                    if isinstance(answer, bytes):
                        return answer
                    location = answer
        except TimeoutError:
            raise FetchFailed(
                f"{location.host} did not deliver within {self._timeout:g} seconds"
            ) from None
        raise FetchFailed(f"{location.host} redirects more than {MAX_REDIRECTS} times")

    async def _check(self, url: httpx.URL) -> Target:
        """Resolve the URL's host and make sure that we may dial all of its addresses."""
        if url.scheme not in _PORTS:
            raise FetchForbidden(f"only http and https URLs are fetched, not {url.scheme!r}")
        if not url.host:
            raise FetchFailed("the URL names no host")
        if url.userinfo:
            raise FetchForbidden("URLs with a user name or password are not fetched")
        addresses = await self._resolve(url)
        if not all(may_dial(address, self._allowed) for address in addresses):
            raise FetchForbidden(f"{url.host} is not at a public address")
        if url.port not in {None, _PORTS[url.scheme]} and not all(
            is_allowed(address, self._allowed) for address in addresses
        ):
            raise FetchForbidden(f"port {url.port} of {url.host} is not the default one")
        return Target(url, addresses)

    async def _resolve(self, url: httpx.URL) -> tuple[Address, ...]:
        host = url.raw_host.decode("ascii")
        port = url.port or _PORTS[url.scheme]
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._resolver, _addresses, host, port)
        except (OSError, UnicodeError):
            raise FetchFailed(f"{url.host} cannot be resolved") from None
        return tuple(dict.fromkeys(found))

    async def _follow(self, target: Target, max_bytes: int) -> bytes | httpx.URL:
        """Return the body, or where the answer redirects to."""
        response = await self._send(target)
        try:
            if response.status_code in _REDIRECTS and "location" in response.headers:
                return _parse(response.headers["location"], base=target.url)
            if response.status_code != httpx.codes.OK:
                raise FetchFailed(f"{target.url.host} answered with {response.status_code}")
            return await _read(response, target.url.host, max_bytes)
        except httpx.HTTPError as error:
            raise FetchFailed(f"{target.url.host} broke off: {_reason(error)}") from None
        finally:
            await response.aclose()

    async def _send(self, target: Target) -> httpx.Response:
        """Send the request to the first of the addresses that takes connections."""
        failure: httpx.HTTPError | None = None
        for address in target.addresses[:_MAX_ADDRESSES]:
            try:
                return await self._client.send(self._request(target.url, address), stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = error
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise FetchFailed(f"{target.url.host}: {_reason(error)}") from None
        reason = _reason(failure) if failure else "no address"
        raise FetchFailed(f"{target.url.host} cannot be reached: {reason}")

    def _request(self, url: httpx.URL, address: Address) -> httpx.Request:
        return self._client.build_request(
            "GET",
            url.copy_with(host=str(address), fragment=None),
            headers={"host": url.netloc.decode("ascii")},
            extensions={"sni_hostname": url.raw_host.decode("ascii").rstrip(".")},
        )


def _parse(url: str, base: httpx.URL | None = None) -> httpx.URL:
    try:
        return base.join(url) if base else httpx.URL(url)
    except (httpx.InvalidURL, ValueError):
        raise FetchFailed("the URL is malformed") from None


def _addresses(host: str, port: int) -> list[Address]:
    """Resolve; blocks. Odd spellings of IPv4 (decimal, octal, hexadecimal) are resolved as well."""
    answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [ip_address(answer[4][0]) for answer in answers]


async def _read(response: httpx.Response, host: str, max_bytes: int) -> bytes:
    """Read the body, decompressed if it must be, never holding much more than `max_bytes`."""
    declared = response.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", "", "gzip", "x-gzip"}:
        raise FetchFailed(f"{host} sent the content encoding {encoding!r}, which was not asked for")
    inflate = zlib.decompressobj(_GZIP) if "gzip" in encoding else None
    body = bytearray()
    async for chunk in response.aiter_raw():
        try:
            body += inflate.decompress(chunk, max_bytes + 1 - len(body)) if inflate else chunk
        except zlib.error:
            raise FetchFailed(f"{host} sent damaged gzip") from None
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    if inflate and not inflate.eof:
        raise FetchFailed(f"{host} sent damaged gzip")
    return bytes(body)


def _too_large(max_bytes: int) -> MediaTooLarge:
    return MediaTooLarge(f"more than the {max_bytes} bytes that are taken")


def _reason(error: Exception) -> str:
    """Say what went wrong without the address, which may tell of an inner network."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLError):
            return f"TLS: {(cause.reason or 'error').lower().replace('_', ' ')}"
        cause = cause.__cause__ or cause.__context__
    reasons: dict[type[Exception], str] = {
        httpx.ConnectError: "connection refused",
        httpx.ConnectTimeout: "connecting took too long",
        httpx.RemoteProtocolError: "it does not speak HTTP properly",
    }
    return reasons.get(type(error), type(error).__name__)
