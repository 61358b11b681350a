from __future__ import annotations

from typing import TYPE_CHECKING

import click.testing
import pytest

from app.cli import main
from tests.servers.app import new_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.servers.postgres import PostgresServer


@pytest.fixture
def omnivec(
    postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., click.testing.Result]:
    """Run the command line on a migrated, empty database of the test's own."""
    monkeypatch.setenv("OMNIVEC_DATABASE_URL", new_database(postgres))
    monkeypatch.setenv("OMNIVEC_DATA_DIR", str(tmp_path / "data"))
    # It is for a whole process, and this one runs other tests.
    monkeypatch.setattr("app.cli.serve.configure_logging", lambda _: None)

    def run(*arguments: str) -> click.testing.Result:
        return click.testing.CliRunner().invoke(main, arguments)

    return run
