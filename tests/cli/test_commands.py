"""`migrate`, `models` and `doctor`."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from tests.servers.postgres import PostgresServer

CHECKS = [
    "database",
    "pgvector",
    "schema",
    "store",
    "model",
    "audio",
    "images",
    "disk",
    "limits",
]


def test_migrate_an_empty_database(
    omnivec: Callable[..., Result], postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIVEC_DATABASE_URL", asyncio.run(postgres.create_database()))
    first = omnivec("migrate")
    assert first.exit_code == 0, first.output
    assert "from revision none to" in first.stdout
    assert "up to date" in omnivec("migrate").stdout


def test_an_unreachable_database_is_told_plainly(
    omnivec: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMNIVEC_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    for command in (["migrate"], ["keys", "list"], ["serve", "--port", "0"]):
        answer = omnivec(*command)
        assert answer.exit_code == 1
        assert answer.stderr.startswith("Error: ")
        assert "Traceback" not in answer.output


def test_list_models(omnivec: Callable[..., Result]) -> None:
    answer = omnivec("models", "list")
    assert answer.exit_code == 0
    first = answer.stdout.splitlines()[0]
    assert first.startswith("multimodal-embedding-v1  1024 dimensions")
    assert "default, available" in first
    [model] = [
        model
        for model in json.loads(omnivec("models", "list", "--json").stdout)
        if model["default"]
    ]
    assert model["types"] == ["image", "text", "audio"]


def test_show_a_model(omnivec: Callable[..., Result]) -> None:
    card = json.loads(omnivec("models", "show", "multimodal-embedding-v1").stdout)
    assert card["id"] == "multimodal-embedding-v1"
    answer = omnivec("models", "show", "nope")
    assert answer.exit_code == 1
    assert "nope" in answer.stderr


def test_doctor_finds_all_well(omnivec: Callable[..., Result]) -> None:
    answer = omnivec("doctor", "--json")
    report = json.loads(answer.stdout)
    assert answer.exit_code == 0, report
    assert report["ok"]
    assert [check["name"] for check in report["checks"]] == CHECKS
    assert not [check for check in report["checks"] if check["verdict"] == "fail"]


def test_doctor_says_how_to_mend(
    omnivec: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OMNIVEC_DATABASE_URL", "postgresql://127.0.0.1:1/nothing")
    monkeypatch.setenv("OMNIVEC_DATA_DIR", str(tmp_path / "file" / "below"))
    monkeypatch.setenv("OMNIVEC_PRELOAD_MODELS", "none")
    monkeypatch.setenv("OMNIVEC_DEFAULT_MODEL", "nope")
    answer = omnivec("doctor")
    assert answer.exit_code == 1
    for name, mend in (
        ("database", "OMNIVEC_DATABASE_URL"),
        ("store", "OMNIVEC_DATA_DIR"),
        ("model", "omnivec models list"),
    ):
        assert f"fail  {name}:" in answer.stdout
        assert mend in answer.stdout
    assert "Traceback" not in answer.output


@pytest.mark.parametrize(("migrate", "verdict"), [("true", "warn"), ("false", "fail")])
def test_doctor_sees_an_old_schema(
    omnivec: Callable[..., Result],
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    migrate: str,
    verdict: str,
) -> None:
    monkeypatch.setenv("OMNIVEC_DATABASE_URL", asyncio.run(postgres.create_database()))
    monkeypatch.setenv("OMNIVEC_MIGRATE", migrate)
    report = json.loads(omnivec("doctor", "--json").stdout)
    [schema] = [check for check in report["checks"] if check["name"] == "schema"]
    assert schema["verdict"] == verdict
    assert report["ok"] == (verdict == "warn")
