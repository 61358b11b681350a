from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import asyncpg
import httpx
import pytest

from tests.api.factories import COLLECTIONS, new_collection, new_name, problem
from tests.servers.app import Service, clean_environment, new_database, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.servers.postgres import PostgresServer

LEAST = {"OMNIVEC_PRELOAD_MODELS": "none"}


def omnivec(url: str, *arguments: str) -> str:
    """Run the command line on a database and return what it prints."""
    environment = clean_environment() | {"OMNIVEC_DATABASE_URL": url}
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def database(postgres: PostgresServer) -> str:
    url = new_database(postgres)

    async def add_project() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute("INSERT INTO projects (id) VALUES ('other')")
        await connection.close()

    asyncio.run(add_project())
    return url


@pytest.fixture(scope="module")
def locked(database: str) -> Iterator[Service]:
    """A service for which keys exist."""
    omnivec(database, "keys", "create", "first")
    with running({"OMNIVEC_DATABASE_URL": database} | LEAST) as service:
        yield service


@pytest.fixture
def key(database: str) -> Callable[..., str]:
    def create(*options: str) -> str:
        return omnivec(database, "keys", "create", "test", *options)

    return create


def test_without_a_key(locked: Service) -> None:
    with locked.client() as api:
        answer = api.get(COLLECTIONS)
        problem(answer, 401, "unauthenticated")
        assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize(
    "header",
    [
        "Bearer",
        "Bearer nonsense",
        "Bearer ov_aaaaaaaa_bbbb",
        "Basic b3Y6eA==",
        "ov_aaaaaaaa_bbbb",
        "Bearer " + "x" * 5000,
        "Bearer ov_\xff_x",
    ],
)
def test_what_is_no_key(locked: Service, header: str) -> None:
    raw = header.encode("latin-1")
    answer = httpx.get(f"{locked.url}{COLLECTIONS}", headers={b"Authorization": raw})
    problem(answer, 401, "unauthenticated")


def test_everything_that_is_public(locked: Service) -> None:
    with locked.client() as api:
        for path in ("/healthz", "/readyz", "/docs", "/schema/openapi.json"):
            assert api.get(path).status_code == 200


def test_every_documented_call_needs_a_key(locked: Service) -> None:
    document = httpx.get(f"{locked.url}/schema/openapi.json").json()
    asked = 0
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if operation.get("security") == []:
                continue
            url = locked.url + path.replace("{", "").replace("}", "")
            answer = httpx.request(method, url, json={})
            assert answer.status_code == 401, (method, path)
            asked += 1
    assert asked >= 12


def test_scopes(locked: Service, key: Callable[..., str]) -> None:
    with locked.client(key()) as both:
        path = new_collection(both)
    with locked.client(key("--scope", "read")) as reader:
        assert reader.get(path).status_code == 200
        assert "write" in problem(reader.delete(path), 403, "forbidden")["detail"]
        problem(reader.post(COLLECTIONS, json={"name": "x"}), 403, "forbidden")
    with locked.client(key("--scope", "write")) as writer:
        problem(writer.get(path), 403, "forbidden")
        problem(writer.post(f"{path}/search", json={"text": "x"}), 403, "forbidden")
        assert writer.post(COLLECTIONS, json={"name": new_name()}).status_code == 201
    with locked.client(key("--scope", "admin")) as admin:
        assert admin.get(path).status_code == 200
        assert admin.delete(path).status_code == 200


def test_another_projects_collections_are_not_there(
    locked: Service, key: Callable[..., str]
) -> None:
    name = new_name()
    with locked.client(key()) as ours, locked.client(key("--project", "other")) as theirs:
        path = f"{COLLECTIONS}/{ours.post(COLLECTIONS, json={'name': name}).json()['id']}"
        body: dict[str, Any] = {"items": [{"text": "x"}], "on_error": "skip"}
        for answer in (
            theirs.get(path),
            theirs.patch(path, json={"description": "x"}),
            theirs.delete(path),
            theirs.get(f"{path}/items"),
            theirs.get(f"{path}/items/x"),
            theirs.post(f"{path}/index", json=body),
            theirs.post(f"{path}/items/delete", json={"ids": ["x"]}),
            theirs.post(f"{path}/search", json={"text": "x"}),
        ):
            problem(answer, 404, "not_found")
        assert theirs.get(COLLECTIONS).json()["total"] == 0
        assert theirs.post(COLLECTIONS, json={"name": name}).status_code == 201
        assert ours.get(path).json()["description"] is None


def test_a_revoked_key_ends_within_a_second(
    locked: Service, database: str, key: Callable[..., str]
) -> None:
    secret = key()
    with locked.client(secret) as api:
        assert api.get(COLLECTIONS).status_code == 200
        listed = json.loads(omnivec(database, "keys", "list", "--json"))
        [entry] = [entry for entry in listed if f"_{entry['prefix']}_" in secret]
        omnivec(database, "keys", "revoke", entry["id"])
        time.sleep(1.1)
        problem(api.get(COLLECTIONS), 401, "unauthenticated")


def test_auto_is_open_to_this_machine_until_a_key_exists(postgres: PostgresServer) -> None:
    url = new_database(postgres)
    with running({"OMNIVEC_DATABASE_URL": url} | LEAST) as service, service.client() as api:
        path = new_collection(api)
        ignored = {"Authorization": "Bearer whatever the client insists on"}
        assert api.get(path, headers=ignored).status_code == 200
        for headers in (
            {"X-Forwarded-For": "203.0.113.5"},
            {"X-Forwarded-For": "127.0.0.1"},
            {"Forwarded": "for=127.0.0.1"},
            {"Host": "rebound.example.com"},
        ):
            answer = api.get(path, headers=headers)
            assert "omnivec keys create" in problem(answer, 401, "unauthenticated")["detail"]
        for host in ("localhost", "localhost:8000", "127.0.0.1", "[::1]:80"):
            assert api.get(path, headers={"Host": host}).status_code == 200

        secret = omnivec(url, "keys", "create", "first")
        time.sleep(1.1)
        problem(api.get(path), 401, "unauthenticated")
        assert api.get(path, headers={"Authorization": f"Bearer {secret}"}).status_code == 200


def test_required_needs_a_key_from_the_start(postgres: PostgresServer) -> None:
    environment = {"OMNIVEC_DATABASE_URL": new_database(postgres), "OMNIVEC_AUTH": "required"}
    with running(environment | LEAST) as service, service.client() as api:
        problem(api.get(COLLECTIONS), 401, "unauthenticated")


def test_off_needs_none_although_keys_exist(locked: Service, database: str) -> None:
    environment = {"OMNIVEC_DATABASE_URL": database, "OMNIVEC_AUTH": "off"}
    with running(environment | LEAST) as service, service.client("nonsense") as api:
        assert api.get(COLLECTIONS).status_code == 200
