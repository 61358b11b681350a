"""PyPI's `cloudflare`, both major versions, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.clients.conftest import Account

SCRIPT = """
import json, sys
from cloudflare import APIStatusError, BadRequestError, Cloudflare, NotFoundError
from cloudflare import __version__ as version

base_url, account = sys.argv[1:]
client = Cloudflare(api_token="anything", base_url=base_url, max_retries=0)
other = Cloudflare(api_email="a@example.com", api_key="anything", base_url=base_url, max_retries=0)
indexes = client.vectorize.indexes
told = {"version": version}
as_bytes = str if version.startswith("4.") else str.encode  # version 4 cannot send bytes

def tell(name, value):
    told[name] = json.loads(json.dumps(value, default=lambda v: v.to_dict() if hasattr(v, "to_dict")
                                       else str(v)))

def refused(kind, call):
    try:
        call()
    except kind as error:
        return [error.status_code, [e.code for e in getattr(error, "errors", [])]
                or [e["code"] for e in error.body["errors"]]]

config = {"dimensions": 3, "metric": "cosine"}
tell("created", indexes.create(account_id=account, name="sdk", config=config, description="d"))
tell("preset", indexes.create(account_id=account, name="preset",
                              config={"preset": "@cf/baai/bge-small-en-v1.5"}))
tell("listed", [index.name for index in other.vectorize.indexes.list(account_id=account)])
tell("read", indexes.get("sdk", account_id=account))
metadata = indexes.metadata_index
tell("made", metadata.create("sdk", account_id=account, property_name="kind",
                             index_type="string").mutation_id)
tell("fields", metadata.list("sdk", account_id=account))
lines = "\\n".join(json.dumps({"id": str(n), "values": [n, 1, 0], "metadata": {"kind": "k"}})
                  for n in range(3))
tell("bytes", indexes.insert("sdk", account_id=account, body=as_bytes(lines)).mutation_id)
tell("str", indexes.upsert("sdk", account_id=account, body=lines).mutation_id)
tell("info", indexes.info("sdk", account_id=account))
tell("found", indexes.query("sdk", account_id=account, vector=[2, 1, 0], top_k=2,
                            return_values=True, return_metadata="all", filter={"kind": "k"}))
tell("got", indexes.get_by_ids("sdk", account_id=account, ids=["1"]))
tell("nothing", indexes.get_by_ids("sdk", account_id=account))
tell("deleted", indexes.delete_by_ids("sdk", account_id=account, ids=["1"]).mutation_id)
if hasattr(indexes, "list_vectors"):
    tell("ids", indexes.list_vectors("sdk", account_id=account, count=10))
tell("unmade", metadata.delete("sdk", account_id=account, property_name="kind").mutation_id)
tell("missing", refused(NotFoundError, lambda: indexes.get("nope", account_id=account)))
tell("taken", refused(BadRequestError,
                      lambda: indexes.create(account_id=account, name="sdk", config=config)))
tell("broken", refused(BadRequestError,
                       lambda: indexes.insert("sdk", account_id=account, body=as_bytes("{"))))
tell("gone", indexes.delete("sdk", account_id=account))
print(json.dumps(told))
"""


def run(python_path: Path | str, account: Account) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, account.base_url, account.id],
        env={**os.environ, "PYTHONPATH": str(python_path), "PYTHONWARNINGS": "ignore"},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def check(told: dict[str, Any]) -> None:
    assert told["created"]["config"] == {"dimensions": 3, "metric": "cosine"}
    assert told["created"]["description"] == "d"
    assert told["preset"]["config"] == {"dimensions": 384, "metric": "cosine"}
    assert told["listed"] == ["sdk", "preset"]
    assert told["read"]["name"] == "sdk"
    fields = told["fields"]["metadataIndexes"]
    assert fields == [{"indexType": "string", "propertyName": "kind"}]
    assert told["info"]["vectorCount"] == 3
    assert told["info"]["processedUpToMutation"] == told["str"]
    assert told["made"] < told["bytes"] < told["str"] < told["deleted"] < told["unmade"]
    assert told["found"]["count"] == 2
    best = told["found"]["matches"][0]
    assert best["id"] == "2"
    assert best["score"] == pytest.approx(1)
    assert best["values"] == [2, 1, 0]
    assert best["metadata"] == {"kind": "k"}
    assert [vector["id"] for vector in told["got"]] == ["1"]
    assert told["nothing"] == []
    assert told["missing"] == [404, [3000]]
    assert told["taken"] == [400, [3002]]
    assert told["broken"] == [400, [40023]]


def test_the_python_sdk_works_unmodified(python_clients: Path, account: Account) -> None:
    told = run(python_clients, account)
    assert told["version"] == "5.9.0"
    check(told)
    assert [vector["id"] for vector in told["ids"]["vectors"]] == ["0", "2"]


def test_the_older_python_sdk_works_unmodified(python_clients_4: str, account: Account) -> None:
    told = run(python_clients_4, account)
    assert told["version"] == "4.3.1"
    check(told)
