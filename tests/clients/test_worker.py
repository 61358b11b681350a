"""A Worker's `env.INDEX`, in Cloudflare's own runtime."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.clients.installed import NodeClients
    from tests.servers.app import Service

    Call = Callable[..., Any]

FOLDER = Path(__file__).parent / "worker"
INDEXES = "/client/v4/accounts/default/vectorize/v2/indexes"
SYSTEMS = {("Linux", "x86_64"): "linux-64", ("Linux", "aarch64"): "linux-arm64"}


@pytest.fixture(scope="module")
def worker(node_clients: NodeClients, service: Service) -> Iterator[str]:
    """The URL of a Worker whose bindings are indexes of the service."""
    system = SYSTEMS.get((platform.system(), platform.machine()), "darwin-arm64")
    program = (
        node_clients.folder / "node_modules" / "@cloudflare" / f"workerd-{system}" / "bin/workerd"
    )
    address = service.url.removeprefix("http://")
    process = subprocess.Popen(
        [str(program), "serve", "config.capnp", "--control-fd=1", f"-eomnivec={address}"],
        cwd=FOLDER,
        env={**os.environ, "OMNIVEC_KEY": "anything"},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    try:
        yield f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}"
    finally:
        process.terminate()
        process.communicate(timeout=30)


@pytest.fixture
def call(worker: str, service: Service) -> Iterator[Call]:
    """Call a method of a binding of an index made for the test."""
    with httpx.Client(base_url=f"{service.url}{INDEXES}") as indexes:
        config = {"dimensions": 3, "metric": "dot-product"}
        indexes.post("", json={"name": "worker", "config": config}).raise_for_status()

        def run(binding: str, method: str, *arguments: Any) -> Any:
            told = {"binding": binding, "call": method, "args": arguments}
            answer = httpx.post(worker, json=told, timeout=30).json()
            return answer["error"] if "error" in answer else answer["result"]

        yield run
        indexes.delete("/worker")


VECTORS = [
    {"id": "a", "values": [1, 2, 3], "metadata": {"kind": "x"}},
    {"id": "b", "values": {"float32": [2, 0, 0]}, "namespace": "n"},
]


def test_the_binding_works_in_a_worker(call: Call) -> None:
    assert call("INDEX", "describe") == {"dimensions": 3, "vectorCount": 0}
    inserted = call("INDEX", "insert", VECTORS)
    upserted = call("INDEX", "upsert", VECTORS)
    assert inserted["mutationId"] < upserted["mutationId"]
    described = call("INDEX", "describe")
    assert described["vectorCount"] == 2
    assert described["processedUpToMutation"] == upserted["mutationId"]

    found = call("INDEX", "query", [1, 1, 1], {"topK": 2, "returnMetadata": True})
    assert found == {
        "count": 2,
        "matches": [
            {"id": "a", "score": -6, "metadata": {"kind": "x"}},
            {"id": "b", "score": -2, "namespace": "n"},
        ],
    }
    bare = call("INDEX", "query", {"float32": [1, 1, 1]}, {"returnMetadata": False})
    assert bare["matches"][0] == {"id": "a", "score": -6}
    near = call("INDEX", "queryById", "b", {"namespace": "n", "returnValues": True})
    assert near["matches"] == [{"id": "b", "score": -4, "values": [2, 0, 0], "namespace": "n"}]
    assert call("INDEX", "getByIds", ["b"])[0]["values"] == [2, 0, 0]
    assert call("INDEX", "deleteByIds", ["a"])["mutationId"] > upserted["mutationId"]
    assert call("INDEX", "describe")["vectorCount"] == 1


def test_the_binding_throws_the_code_and_the_message(call: Call) -> None:
    assert call("INDEX", "query", [1]) == (
        "VECTOR_QUERY_ERROR (code = 40006): invalid query vector, expected 3 dimensions, and got "
        "1 dimensions"
    )
    wrong = call("INDEX", "insert", [{"id": "a", "values": [1]}])
    assert wrong.startswith('VECTOR_INSERT_ERROR (code = 40012): invalid vector for id="a"')
    assert "(code = 40007)" in call("INDEX", "getByIds", [str(n) for n in range(21)])


def test_the_first_version_of_the_binding_works(call: Call) -> None:
    described = call("LEGACY", "describe")
    assert described["name"] == "worker"
    assert described["config"] == {"dimensions": 3, "metric": "dot-product"}
    assert described["vectorsCount"] == 0
    assert call("LEGACY", "insert", VECTORS) == {"count": 2, "ids": ["a", "b"]}
    assert call("LEGACY", "insert", VECTORS) == {"count": 0, "ids": []}
    assert call("LEGACY", "upsert", VECTORS)["count"] == 2
    found = call("LEGACY", "query", [1, 1, 1], {"returnMetadata": True})
    assert [match["id"] for match in found["matches"]] == ["a", "b"]
    assert call("LEGACY", "getByIds", ["a"])[0]["id"] == "a"
    assert call("LEGACY", "deleteByIds", ["a", "no"]) == {"count": 2, "ids": ["a", "no"]}
