"""PyPI's `langchain-cloudflare`, in a process of its own."""

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

HEAD = """
import asyncio, json, sys, threading, time
from langchain_cloudflare.vectorstores import CloudflareVectorize
from langchain_core.embeddings import DeterministicFakeEmbedding

base_url, account = sys.argv[1:]

def open_store(**options):
    return CloudflareVectorize(
        embedding=DeterministicFakeEmbedding(size=8), base_url=base_url, account_id=account,
        vectorize_api_token="anything", include_d1=False, index_name="lc", **options)

store = open_store()
"""

WALK = """
told = {}
store.create_index(index_name="lc", dimensions=8, metric="cosine", wait=True)
store.create_metadata_index(property_name="kind", index_type="string")
told["fields"] = store.list_metadata_indexes()
started = time.monotonic()
told["added"] = store.add_texts(
    ["red", "green", "blue"], metadatas=[{"kind": "warm"}, {"kind": "cold"}, {"kind": "cold"}],
    ids=["r", "g", "b"], namespaces=["n", "n", "m"], wait=True)
told["waited"] = time.monotonic() - started
told["info"] = store.get_index_info("lc")
plain = store.similarity_search("green", k=2)
told["found"] = [[d.id, d.metadata] for d in plain]
told["filtered"] = [[d.id, score] for d, score in store.similarity_search_with_score(
    "green", k=3, md_filter={"kind": "warm"}, return_metadata="all")]
told["namespace"] = [d.id for d in store.similarity_search("green", k=3, namespace="m")]
told["bare"] = [d.metadata for d in store.similarity_search("red", k=1, return_metadata="none")]
told["got"] = [d.id for d in store.get_by_ids(["b", "nope"])]
store.delete(ids=["r"], wait=True)
told["left"] = [d.id for d in asyncio.run(store.asimilarity_search("red", k=5))]
told["listed"] = [index["name"] for index in store.list_indexes()]
store.delete_index(index_name="lc")
print(json.dumps(told, default=str))
"""

TWO_WRITERS = """
store.create_index(index_name="lc", dimensions=8, metric="cosine")
took = {}

def write(name, delay):
    time.sleep(delay)
    started = time.monotonic()
    open_store(default_wait_seconds=5).add_texts(
        [name], ids=[name], wait=True, max_wait_seconds=60)
    took[name] = time.monotonic() - started

threads = [threading.Thread(target=write, args=(name, delay))
           for name, delay in (("first", 0), ("second", 1), ("third", 2))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(took))
"""


def run(python_path: Path, account: Account, script: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script, account.base_url, account.id],
        env={**os.environ, "PYTHONPATH": str(python_path), "PYTHONWARNINGS": "ignore"},
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_langchain_works_unmodified_and_waits_for_its_mutations(
    python_clients: Path, account: Account
) -> None:
    told = run(python_clients, account, WALK)
    assert told["fields"] == [{"propertyName": "kind", "indexType": "string"}]
    assert told["added"] == ["r", "g", "b"]
    assert told["waited"] < 10  # it asks after five seconds, and once
    assert told["info"]["vectorCount"] == 3
    assert told["found"][0][0] == "g"
    assert told["found"][0][1]["kind"] == "cold"
    assert [name for name, _ in told["filtered"]] == ["r"]
    assert told["namespace"] == ["b"]
    assert told["bare"] == [{"_namespace": "n"}]
    assert told["got"] == ["b"]
    assert set(told["left"]) == {"g", "b"}
    assert told["listed"] == ["lc"]


def test_writers_that_wait_at_the_same_time_all_see_their_mutation(
    python_clients: Path, account: Account
) -> None:
    took = run(python_clients, account, TWO_WRITERS)
    assert sorted(took) == ["first", "second", "third"]
    assert max(took.values()) < 60, pytest.fail(f"stranded: {took}")
