"""Who calls, and what they may do: `Authorization: Bearer <key>`, or as a face has it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from app.api.request_log import record
from app.errors import Forbidden, Unauthenticated
from app.settings import AuthMode

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping

    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

    from app.settings import ServerSettings

    Connection = ASGIConnection[Any, Any, Any, Any]
    SecretOf = Callable[[Mapping[str, str]], str | None]

DEFAULT_PROJECT = "default"

# How long a key that was good counts as good, and how long "no key exists" is believed: a revoked
# or a first key takes effect within this time.
TRUST_SECONDS = 1.0
MAX_CACHED_KEYS = 10_000


class Scope(StrEnum):
    READ = "read"
    WRITE = "write"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """The project that a request acts in and what it may do there."""

    project_id: str
    scopes: frozenset[str]


class Key(Protocol):
    """What is asked of the engine's keys."""

    @property
    def project_id(self) -> str: ...
    @property
    def scopes(self) -> Collection[str]: ...
    @property
    def expires_at(self) -> datetime | None: ...


class Keys(Protocol):
    async def authenticate(self, secret: str) -> Key | None: ...
    async def any(self) -> bool: ...


ANYONE = Principal(DEFAULT_PROJECT, frozenset(Scope))


class Gate:
    """Tells who a request comes from; one for the app.

    While no key is needed a key that is sent is not looked at: clients that insist on having one
    can send anything.
    """

    def __init__(self, keys: Keys, settings: ServerSettings) -> None:
        self._keys = keys
        self._mode = settings.auth
        self._own_host = urlsplit(settings.public_url).hostname
        self._verified: dict[bytes, tuple[float, Principal]] = {}
        self._open_until = 0.0
        self._key_exists = False

    async def admit(self, connection: Connection, secret_of: SecretOf | None = None) -> Principal:
        """Return who calls, ANYONE where no key is needed. Raises Unauthenticated.

        `secret_of` finds the key in the headers, if not as a bearer's.
        """
        if self._mode is AuthMode.OFF:
            return ANYONE
        secret = (secret_of or bearer)(connection.headers)
        if self._mode is AuthMode.AUTO and await self._no_key_exists():
            if is_local(connection, self._own_host):
                return ANYONE
            if secret is None:
                raise Unauthenticated(
                    "only this machine gets in without a key; create one with `omnivec keys create`"
                )
        if secret is None:
            raise Unauthenticated("send a key: Authorization: Bearer <key>")
        return await self._verify(secret)

    async def _no_key_exists(self) -> bool:
        """Whether none was ever created: what is true once stays so."""
        now = monotonic()
        if not self._key_exists and now >= self._open_until:
            self._key_exists = await self._keys.any()
            self._open_until = now + TRUST_SECONDS
        return not self._key_exists

    async def _verify(self, secret: str) -> Principal:
        now = monotonic()
        digest = hashlib.sha256(secret.encode()).digest()
        until, principal = self._verified.get(digest, (0.0, ANYONE))
        if now < until:
            return principal
        key = await self._keys.authenticate(secret)
        if key is None:
            self._verified.pop(digest, None)
            raise Unauthenticated("this key is unknown, expired or revoked")
        self._key_exists = True
        if len(self._verified) >= MAX_CACHED_KEYS:
            self._verified.clear()
        trust = TRUST_SECONDS
        if key.expires_at is not None:
            trust = min(trust, (key.expires_at - datetime.now(UTC)).total_seconds())
        principal = Principal(key.project_id, frozenset(key.scopes))
        self._verified[digest] = (now + trust, principal)
        return principal


def requires(scope: Scope) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """Guard a handler: let through who has `scope` (or `admin`), as `request.auth`."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        gate: Gate = connection.app.state.gate
        let_in(connection, await gate.admit(connection), scope)

    return guard


def let_in(connection: Connection, principal: Principal, scope: Scope) -> None:
    """Let the request act as `principal`, who must have `scope`. Raises Forbidden."""
    if scope not in principal.scopes and Scope.ADMIN not in principal.scopes:
        raise Forbidden(f"this key lacks the scope `{scope}`")
    connection.scope["auth"] = principal
    record(connection.scope).project = principal.project_id


def is_local(connection: Connection, own_host: str | None) -> bool:
    """Tell whether a request was made on this machine, by a program that meant to call us.

    Not if a proxy passed it on. Not under a foreign host name either: a web page that rebinds its
    own name to 127.0.0.1 reaches us from the visitor's browser.
    """
    client = connection.client
    if client is None or not _is_loopback(client.host):
        return False
    headers = connection.headers
    if "forwarded" in headers or "x-forwarded-for" in headers:
        return False
    host = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    return host in {"localhost", own_host} or _is_address(host)


def bearer(headers: Mapping[str, str]) -> str | None:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() or None if scheme.lower() == "bearer" else None


def _is_loopback(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
