"""API keys. Secrets have 160 random bits, so a plain hash of them is enough."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b32encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.domain.ids import new_id
from app.errors import NotFound
from app.store.errors import translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from app.store.database import Database

SECRET_PREFIX = "ov"  # noqa: S105
USED_EVERY = "1 minute"

_COLUMNS = "id, project_id, name, prefix, scopes, expires_at, revoked_at, last_used_at, created_at"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it may be shown. `prefix` is the part of the secret that names it."""

    id: str
    project_id: str
    name: str
    prefix: str
    scopes: frozenset[str]
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None
    created_at: datetime


class KeyStore:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        project_id: str,
        name: str,
        scopes: Sequence[str],
        expires_at: datetime | None = None,
    ) -> tuple[ApiKey, str]:
        """Return the key and its secret, which cannot be had again."""
        prefix = b32encode(secrets.token_bytes(5)).decode().lower()
        secret = f"{SECRET_PREFIX}_{prefix}_{b32encode(secrets.token_bytes(20)).decode().lower()}"
        with translated():
            row = await self._database.pool.fetchrow(
                "INSERT INTO api_keys (id, project_id, name, prefix, secret_hash, scopes, "
                f"expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_COLUMNS}",
                new_id("key"),
                project_id,
                name,
                prefix,
                _hash(secret),
                sorted(set(scopes)),
                expires_at,
            )
        return _key_from(row), secret

    async def list(self, project_id: str) -> list[ApiKey]:
        """The project's keys, oldest first, those expired or revoked included."""
        query = f"SELECT {_COLUMNS} FROM api_keys WHERE project_id = $1 ORDER BY created_at, id"
        with translated():
            rows = await self._database.pool.fetch(query, project_id)
        return [_key_from(row) for row in rows]

    async def revoke(self, project_id: str, key_id: str) -> ApiKey:
        """End the key's life, at the latest with the next request. Raises NotFound."""
        with translated():
            row = await self._database.pool.fetchrow(
                "UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()) "
                f"WHERE id = $1 AND project_id = $2 RETURNING {_COLUMNS}",
                key_id,
                project_id,
            )
        if row is None:
            raise NotFound("key", key_id)
        return _key_from(row)

    async def authenticate(self, secret: str) -> ApiKey | None:
        """Return the key of the secret; None if it is unknown, expired or revoked."""
        head, _, rest = secret.partition("_")
        prefix, _, random = rest.partition("_")
        if head != SECRET_PREFIX or not random or not secret.isascii() or "\0" in secret:
            return None
        query = (
            f"SELECT {_COLUMNS}, secret_hash, last_used_at IS NULL OR "
            f"last_used_at < now() - interval '{USED_EVERY}' AS stale FROM api_keys "
            "WHERE prefix = $1 AND revoked_at IS NULL "
            "AND (expires_at IS NULL OR expires_at > now())"
        )
        pool = self._database.pool
        with translated():
            row = await pool.fetchrow(query, prefix)
            if row is None or not hmac.compare_digest(row["secret_hash"], _hash(secret)):
                return None
            if row["stale"]:
                await pool.execute(
                    "UPDATE api_keys SET last_used_at = now() WHERE id = $1 AND (last_used_at "
                    f"IS NULL OR last_used_at < now() - interval '{USED_EVERY}')",
                    row["id"],
                )
        return _key_from(row)

    async def any(self) -> bool:
        """Tell whether a key was ever created; revoking the last does not open the door."""
        with translated():
            found: bool = await self._database.pool.fetchval("SELECT EXISTS (TABLE api_keys)")
        return found


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _key_from(row: Mapping[str, Any]) -> ApiKey:
    return ApiKey(
        id=row["id"],
        project_id=row["project_id"],
        name=row["name"],
        prefix=row["prefix"],
        scopes=frozenset(row["scopes"]),
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
        created_at=row["created_at"],
    )
