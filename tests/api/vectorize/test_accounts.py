"""Keys, accounts and permissions."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.api.vectorize.factories import Account, refused, result
from tests.servers.app import Service, clean_environment, new_database, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.postgres import PostgresServer

    NewKey = Callable[..., str]

DEFAULT = "/client/v4/accounts/default/vectorize/v2/indexes"


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> str:
    return new_database(postgres)


@pytest.fixture(scope="module")
def new_key(database: str) -> NewKey:
    def create(*options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "keys", "create", "test", *options],
            env=clean_environment() | {"OMNIVEC_DATABASE_URL": database, "HOME": os.devnull},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    return create


@pytest.fixture(scope="module")
def locked(database: str, new_key: NewKey) -> Iterator[Service]:
    """A service for which a key exists."""
    new_key()
    with running({"OMNIVEC_DATABASE_URL": database, "OMNIVEC_PRELOAD_MODELS": "none"}) as service:
        yield service


@pytest.fixture(scope="module")
def key(new_key: NewKey, locked: Service) -> str:
    return new_key()


@pytest.mark.parametrize("scheme", ["bearer", "pair"])
def test_both_schemes_are_taken(locked: Service, key: str, scheme: str) -> None:
    pair = {"X-Auth-Email": "someone@example.com", "X-Auth-Key": key}
    headers = pair if scheme == "pair" else {"Authorization": f"Bearer {key}"}
    assert result(httpx.get(locked.url + DEFAULT, headers=headers)) == []


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer nonsense"},
        {"X-Auth-Email": "someone@example.com", "X-Auth-Key": "nonsense"},
        {"X-Auth-Key": "alone"},
    ],
)
def test_who_has_no_key_gets_the_envelope(locked: Service, headers: dict[str, str]) -> None:
    answer = httpx.get(locked.url + DEFAULT, headers=headers)
    refused(answer, 401, 10000, "Authentication error")
    bare = httpx.get(f"{locked.url}/binding/v2/any/info", headers=headers)
    assert (bare.status_code, bare.json()["code"]) == (401, 10000)


def test_the_envelope_comes_before_a_large_body_is_read(locked: Service) -> None:
    refused(httpx.post(f"{locked.url}{DEFAULT}/x/insert", content=b"x" * 10**7), 401, 10000)


def test_a_key_is_for_its_own_account(locked: Service, key: str) -> None:
    with locked.client(key) as client:
        refused(Account(client, "another").send("GET", ""), 403, 10001, "'another'")


def test_a_key_needs_the_permission(locked: Service, new_key: NewKey) -> None:
    body = {"name": "mine", "config": {"dimensions": 3, "metric": "cosine"}}
    with locked.client(new_key("--scope", "read")) as client:
        account = Account(client, "default")
        result(account.send("GET", ""))
        refused(account.send("POST", "", json=body), 403, 10002, "write")
    with locked.client(new_key("--scope", "write")) as client:
        account = Account(client, "default")
        result(account.send("POST", "", json=body))
        refused(account.send("GET", ""), 403, 10002, "read")
        result(account.send("DELETE", "/mine"))


def test_a_binding_acts_in_the_project_of_its_key(locked: Service, key: str) -> None:
    with locked.client(key) as client:
        index = Account(client, "default").create()
        for path in ("/binding", "/accounts/default/binding"):
            described = client.get(f"{path}/v2/{index.name}/info")
            assert described.json() == {"dimensions": 3, "vectorCount": 0}


def test_an_account_that_is_no_name_is_refused(api: httpx.Client) -> None:
    refused(Account(api, "a" * 33).send("GET", ""), 403, 10001)
