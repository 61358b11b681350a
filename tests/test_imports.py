"""The house: imports go down only, as pyproject.toml's import-linter contract says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

HOUSE = (
    "app/api/faces.py",
    "app/application.py",
    "app/cli/main.py",
    "app/domain/items.py",
    "app/encoders/towers.py",
    "app/engine/search.py",
    "app/errors.py",
    "app/knobs.py",
    "app/media/fetch.py",
    "app/settings.py",
    "app/store/tables.py",
)


def check_imports(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run the contract on the package `app` in `directory`, in a process that has not loaded it."""
    check = (
        "import sys; from importlinter.cli import lint_imports;"
        "sys.exit(lint_imports(no_logo=True, no_cache=True))"
    )
    return subprocess.run(
        [sys.executable, "-c", check],
        cwd=directory,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Build a package with the house's floors and not one import, under the real contract."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in HOUSE:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.touch()
    return tmp_path


def test_imports_go_down_only() -> None:
    result = check_imports(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("app/cli/main.py", "app.application"),
        ("app/application.py", "app.api.faces"),
        ("app/api/faces.py", "app.engine.search"),
        ("app/engine/search.py", "app.encoders.towers"),
        ("app/engine/search.py", "app.media.fetch"),
        ("app/engine/search.py", "app.store.tables"),
        ("app/store/tables.py", "app.domain.items"),
        ("app/media/fetch.py", "app.settings"),
        ("app/domain/items.py", "app.errors"),
        ("app/settings.py", "app.errors"),
    ],
)
def test_an_import_downwards_is_kept(house: Path, module: str, imported: str) -> None:
    (house / module).write_text(f"import {imported}\n")
    result = check_imports(house)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "imported"),
    [
        ("app/api/faces.py", "app.application"),
        ("app/api/faces.py", "app.cli.main"),
        ("app/engine/search.py", "app.api.faces"),
        ("app/encoders/towers.py", "app.media.fetch"),
        ("app/media/fetch.py", "app.store.tables"),
        ("app/store/tables.py", "app.encoders.towers"),
        ("app/store/tables.py", "app.engine.search"),
        ("app/domain/items.py", "app.store.tables"),
        ("app/domain/items.py", "app.settings"),
        ("app/settings.py", "app.domain.items"),
        ("app/errors.py", "app.settings"),
    ],
)
def test_an_import_upwards_or_sideways_is_broken(house: Path, module: str, imported: str) -> None:
    (house / module).write_text(f"import {imported}\n")
    result = check_imports(house)
    assert result.returncode == 1
    assert "Imports go down only BROKEN" in result.stdout


def test_an_import_for_types_alone_counts(house: Path) -> None:
    guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import app.api.faces\n"
    (house / "app/store/tables.py").write_text(guarded)
    assert check_imports(house).returncode == 1


def test_a_module_outside_the_house_is_refused(house: Path) -> None:
    (house / "app/utils.py").touch()
    result = check_imports(house)
    assert result.returncode == 1
    assert "app.utils" in result.stdout
