from __future__ import annotations

import subprocess
import sys
import time
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from app.cli import COMMANDS, main


def test_help_comes_at_once() -> None:
    """Nothing heavy is imported before a command runs."""
    code = "import sys, app.cli; print(sorted({'torch', 'litestar', 'numpy'} & sys.modules.keys()))"
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert time.perf_counter() - started < 5


def test_help_names_every_command() -> None:
    answer = CliRunner().invoke(main, ["--help"])
    assert answer.exit_code == 0
    for name, text in COMMANDS.items():
        assert name in answer.output
        assert text in answer.output


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_agrees(name: str) -> None:
    answer = CliRunner().invoke(main, [name, "--help"])
    assert answer.exit_code == 0
    assert COMMANDS[name].removesuffix(".").split(",")[0] in " ".join(answer.output.split())


def test_version() -> None:
    assert CliRunner().invoke(main, ["--version"]).output.strip().endswith(version("omnivec"))


def test_an_unknown_command() -> None:
    answer = CliRunner().invoke(main, ["sreve"])
    assert answer.exit_code == 2
    assert "sreve" in answer.output


def test_wrong_settings_are_named_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIVEC_PORT", "many")
    monkeypatch.setenv("OMNIVEC_HOTS", "0.0.0.0")
    answer = CliRunner().invoke(main, ["migrate"])
    assert answer.exit_code == 1
    assert "OMNIVEC_PORT" in answer.output
    assert "OMNIVEC_HOTS" in answer.output
    assert "Traceback" not in answer.output
