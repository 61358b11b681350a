from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from app.errors import NotFound
from app.store.keys import KeyStore

if TYPE_CHECKING:
    from app.store.database import Database


@pytest.fixture
def keys(database: Database) -> KeyStore:
    return KeyStore(database)


async def test_a_secret_opens_its_key_and_no_other(keys: KeyStore) -> None:
    assert not await keys.any()
    key, secret = await keys.create("default", "ci", ["read", "write"])
    other, _ = await keys.create("default", "other", [])
    assert await keys.any()
    found = await keys.authenticate(secret)
    assert found is not None
    assert (found.id, found.project_id, found.scopes) == (
        key.id,
        "default",
        frozenset({"read", "write"}),
    )
    assert [k.id for k in await keys.list("default")] == [key.id, other.id]
    head, _, tail = secret.rpartition("_")
    for wrong in (
        "",
        "ov",
        "ov__",
        head,
        f"{head}_",
        f"{head}_{tail[::-1]}",
        f"{secret}x",
        secret.upper(),
        f"ov_{other.prefix}_{tail}",
        "ov_ä_ö",
        "ov_a\0_b",
    ):
        assert await keys.authenticate(wrong) is None


async def test_the_secret_is_not_stored(keys: KeyStore, database: Database) -> None:
    _, secret = await keys.create("default", "ci", [])
    row = await database.pool.fetchval("SELECT api_keys::text FROM api_keys")
    assert secret.rpartition("_")[2] not in row


async def test_expired_and_revoked_keys_open_nothing(keys: KeyStore) -> None:
    now = datetime.now(UTC)
    _, expired = await keys.create("default", "old", [], now - timedelta(seconds=1))
    assert await keys.authenticate(expired) is None
    key, secret = await keys.create("default", "ci", [], now + timedelta(hours=1))
    assert await keys.authenticate(secret) is not None
    revoked = await keys.revoke("default", key.id)
    assert revoked.revoked_at is not None
    assert await keys.authenticate(secret) is None
    assert await keys.revoke("default", key.id) == revoked
    with pytest.raises(NotFound):
        await keys.revoke("other", key.id)


async def test_use_is_noted_at_most_once_a_minute(keys: KeyStore, database: Database) -> None:
    _, secret = await keys.create("default", "ci", [])
    await keys.authenticate(secret)
    (used,) = await keys.list("default")
    assert used.last_used_at is not None
    await keys.authenticate(secret)
    assert await keys.list("default") == [used]
    await database.pool.execute("UPDATE api_keys SET last_used_at = now() - interval '2 minutes'")
    await keys.authenticate(secret)
    (later,) = await keys.list("default")
    assert later.last_used_at is not None
    assert later.last_used_at >= used.last_used_at
