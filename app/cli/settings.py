"""What the commands share: settings from the environment, and errors told without a traceback."""

from __future__ import annotations

import asyncio
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from app.errors import InvalidInput, OmnivecError
from app.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping

T = TypeVar("T")


def read_settings(options: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings; `options`, by the names of their variables, override what is set.

    The overrides go into the environment, where the server's other processes read them too.
    """
    given = {name: str(value) for name, value in (options or {}).items() if value is not None}
    os.environ.update(given)
    try:
        return Settings.from_env()
    except InvalidInput as error:
        lines = "\n".join(f"  {violation.message}" for violation in error.violations)
        raise click.ClickException(f"the settings are wrong:\n{lines}") from None


@contextmanager
def told_plainly() -> Iterator[None]:
    """Turn our own errors into one line and exit code 1."""
    try:
        yield
    except OmnivecError as error:
        raise click.ClickException(error.message) from None
    except ExceptionGroup as group:  # litestar's lifespan runs in a task group
        causes = group.exceptions
        if len(causes) == 1 and isinstance(causes[0], OmnivecError):
            raise click.ClickException(causes[0].message) from None
        raise


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, telling our own errors plainly."""
    with told_plainly():
        return asyncio.run(work)
