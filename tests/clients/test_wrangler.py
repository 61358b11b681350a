"""Cloudflare's command line: each of its fourteen `wrangler vectorize` commands."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.clients.conftest import Account
    from tests.clients.installed import NodeClients

    Wrangler = Callable[..., str]

VECTORS = [
    {"id": "a", "values": [1, 0, 0], "namespace": "left", "metadata": {"kind": "x"}},
    {"id": "b", "values": [0, 1, 0], "metadata": {"kind": "y"}},
    {"id": "c", "values": [0, 0, 1]},
]


@pytest.fixture
def wrangler(node_clients: NodeClients, account: Account, tmp_path: Path) -> Wrangler:
    environment = {
        **os.environ,
        "CLOUDFLARE_API_BASE_URL": account.base_url,
        "CLOUDFLARE_API_TOKEN": "anything",
        "CLOUDFLARE_ACCOUNT_ID": account.id,
        "WRANGLER_SEND_METRICS": "false",
        "WRANGLER_LOG_PATH": str(tmp_path / "logs"),
        "NO_UPDATE_NOTIFIER": "1",
        "HOME": str(tmp_path),
        "CI": "true",
    }
    program = node_clients.folder / "node_modules" / "wrangler" / "bin" / "wrangler.js"

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [node_clients.node, str(program), "vectorize", *arguments],
            env=environment,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            check=False,
            capture_output=True,
            text=True,
            timeout=120,
        )
        output = done.stdout + done.stderr
        assert done.returncode == 0, output
        return output

    return run


def vectors_file(folder: Path) -> str:
    path = folder / "vectors.ndjson"
    path.write_text("".join(json.dumps(vector) + "\n" for vector in VECTORS))
    return f"--file={path}"


def parsed(output: str, opening: str) -> Any:
    """The JSON in a command's output, which may stand between words."""
    start = output.index(opening)
    return json.JSONDecoder().raw_decode(output[start:])[0]


def test_every_command_works(wrangler: Wrangler, account: Account, tmp_path: Path) -> None:
    file = vectors_file(tmp_path)
    created = wrangler("create", "w", "--dimensions=3", "--metric=cosine", "--description=mine")
    assert "Successfully created" in created
    assert "w" in wrangler("list")
    assert parsed(wrangler("get", "w", "--json"), "{")["description"] == "mine"
    wrangler("create-metadata-index", "w", "--property-name=kind", "--type=string")
    fields = parsed(wrangler("list-metadata-index", "w", "--json"), "[")
    assert fields == [{"propertyName": "kind", "indexType": "string"}]

    assert "3" in wrangler("insert", "w", file, "--batch-size=2")
    wrangler("upsert", "w", file)
    info = parsed(wrangler("info", "w", "--json"), "{")
    assert (info["dimensions"], info["vectorCount"]) == (3, 3)
    assert info["processedUpToMutation"]

    found = wrangler(
        *("query", "w", "--vector", "1", "0.5", "0", "--top-k=2", "--return-metadata=all"),
        *("--filter", '{"kind": "x"}', "--namespace=left", "--return-values"),
    )
    assert parsed(found, "{")["matches"][0]["id"] == "a"
    assert parsed(wrangler("query", "w", "--vector-id=c"), "{")["matches"][0]["id"] == "c"
    assert parsed(wrangler("get-vectors", "w", "--ids", "b", "c"), "[")[0]["id"] == "b"

    page = parsed(wrangler("list-vectors", "w", "--count=2", "--json"), "{")
    assert [vector["id"] for vector in page["vectors"]] == ["a", "b"]
    rest = wrangler("list-vectors", "w", "--json", f"--cursor={page['nextCursor']}")
    assert [vector["id"] for vector in parsed(rest, "{")["vectors"]] == ["c"]

    wrangler("delete-vectors", "w", "--ids", "a", "b")
    assert account.http.get("/w/info").json()["result"]["vectorCount"] == 1
    wrangler("delete-metadata-index", "w", "--property-name=kind")
    assert "deleted" in wrangler("delete", "w", "--force").lower()
    assert account.http.get("/w").status_code == 404


def test_the_deprecated_version_works(wrangler: Wrangler, account: Account, tmp_path: Path) -> None:
    legacy = "--deprecated-v1"
    wrangler("create", "old", "--dimensions=3", "--metric=cosine", legacy, "--json")
    wrangler("insert", "old", vectors_file(tmp_path), legacy)
    assert parsed(wrangler("get", "old", legacy, "--json"), "{")["name"] == "old"
    assert "old" in wrangler("list", legacy)
    assert account.http.get("/old/info").json()["result"]["vectorCount"] == 3
    wrangler("delete", "old", legacy, "--force")
