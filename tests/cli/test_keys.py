from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result


def test_create_list_and_revoke(omnivec: Callable[..., Result]) -> None:
    assert "There is no key" in omnivec("keys", "list").stderr
    made = omnivec("keys", "create", "laptop")
    assert made.exit_code == 0
    secret = made.stdout.strip()
    assert re.fullmatch(r"ov_[a-z2-7]{8}_[a-z2-7]{32}", secret)

    listed = omnivec("keys", "list")
    assert "laptop" in listed.stdout
    assert "active" in listed.stdout
    assert "read,write" in listed.stdout
    assert secret not in listed.stdout

    [key] = json.loads(omnivec("keys", "list", "--json").stdout)
    assert "secret" not in json.dumps(key)
    revoked = omnivec("keys", "revoke", key["id"])
    assert revoked.exit_code == 0
    assert "revoked" in revoked.stdout
    assert "revoked" in omnivec("keys", "list").stdout


def test_scopes_and_lifetime(omnivec: Callable[..., Result]) -> None:
    omnivec("keys", "create", "reader", "--scope", "read", "--expires", "30d")
    [key] = json.loads(omnivec("keys", "list", "--json").stdout)
    assert key["scopes"] == ["read"]
    left = datetime.fromisoformat(key["expires_at"]) - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left < timedelta(days=30)
    assert "expires" in omnivec("keys", "list").stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("create",),
        ("create", "x", "--scope", "all"),
        ("create", "x", "--expires", "0d"),
        ("create", "x", "--expires", "soon"),
        ("revoke",),
    ],
)
def test_wrong_usage(omnivec: Callable[..., Result], arguments: tuple[str, ...]) -> None:
    answer = omnivec("keys", *arguments)
    assert answer.exit_code == 2
    assert "Usage" in answer.stderr


def test_revoking_an_unknown_key(omnivec: Callable[..., Result]) -> None:
    answer = omnivec("keys", "revoke", "key_no")
    assert answer.exit_code == 1
    assert "key_no" in answer.stderr
    assert "Traceback" not in answer.stderr
