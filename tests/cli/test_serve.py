from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import httpx

from tests.api.factories import COLLECTIONS, new_collection
from tests.servers.app import Service, clean_environment, new_database, running

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest
    from click.testing import Result

    from tests.servers.postgres import PostgresServer


def test_nothing_but_a_directory_is_needed(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The embedded database: started, used, stopped, and found again."""
    with running({}) as service:
        assert "embedded, in" in service.output
        with service.client() as api:
            path = new_collection(api, {"text": "a dog barks"})
        assert service.stop() == 0
        assert not (service.directory / "data/postgres/postmaster.pid").exists()
        service.start()
        with service.client() as api:
            [item] = api.get(f"{path}/items").json()["items"]
            assert item["text"] == "a dog barks"


def test_it_says_what_it_does_and_where_it_is(service: Service) -> None:
    words = ["starts", "Database:", "Media:", "Models:", "Ready after", "API", "Docs", "Schema"]
    places = [service.output.index(word) for word in words]
    assert places == sorted(places)
    for url in re.findall(r"http\S+(?:docs|json)", service.output):
        assert httpx.get(url).status_code == 200


def test_several_workers(postgres: PostgresServer) -> None:
    environment = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_PRELOAD_MODELS": "none",
    }
    with running(environment, "--workers", "2") as service:
        with service.client() as api:
            path = new_collection(api)
            for _ in range(20):
                answer = api.get(path, headers={"Connection": "close"})
                assert answer.status_code == 200
        assert service.stop() == 0


def test_requests_under_way_are_finished(postgres: PostgresServer) -> None:
    with running({"OMNIVEC_DATABASE_URL": new_database(postgres)}) as service:
        with service.client() as api:
            path = new_collection(api)
            answers = []

            def index() -> None:
                items = [{"text": f"number {n} " * 100} for n in range(100)]
                answers.append(api.post(f"{path}/index", json={"items": items}))

            thread = threading.Thread(target=index)
            thread.start()
            while not any(line.get("path") == COLLECTIONS for line in service.logs):
                pass
            thread.join(0.2)
            assert service.stop() == 0
            thread.join()
        assert answers[0].status_code == 200
        service.start()
        with service.client() as api:
            assert api.get(path).json()["item_count"] == 100


def test_a_port_that_is_taken(omnivec: Callable[..., Result]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        answer = omnivec("serve", "--port", str(other.getsockname()[1]))
    assert answer.exit_code == 1
    assert "cannot listen" in answer.stderr
    assert "OMNIVEC_PORT" in answer.stderr


def test_logs_as_json_alone(postgres: PostgresServer) -> None:
    """Where all output is to be JSON, the progress is, too."""
    environment = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_PRELOAD_MODELS": "none",
        "OMNIVEC_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "app.cli", "serve", "--port", "0"]
    process = subprocess.Popen(
        command,
        env=clean_environment() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    lines = []
    for line in process.stderr:
        lines.append(json.loads(line))
        if lines[-1]["event"] == "ready":
            break
    process.terminate()
    output, _ = process.communicate()
    assert output == ""
    assert lines[0]["event"].startswith("Omnivec")
    assert lines[-1]["docs"].endswith("/docs")


def test_logs_for_people(postgres: PostgresServer) -> None:
    environment = {
        "OMNIVEC_DATABASE_URL": new_database(postgres),
        "OMNIVEC_PRELOAD_MODELS": "none",
        "OMNIVEC_LOG_FORMAT": "console",
    }
    with running(environment) as service, service.client() as api:
        api.get("/nowhere", headers={"X-Request-Id": "here-I-am"})
        while "here-I-am" not in service.log:
            pass
        [line] = [line for line in service.log.splitlines() if "here-I-am" in line]
        assert "request" in line
        assert "status=404" in line
        assert not line.startswith("{")


def test_a_directory_that_cannot_be_used(
    omnivec: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OMNIVEC_DATA_DIR", str(tmp_path / "file"))
    answer = omnivec("serve", "--port", "0")
    assert answer.exit_code == 1
    assert answer.stderr.splitlines()[-1].startswith("Error: ")
