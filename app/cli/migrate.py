"""`omnivec migrate`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from app.cli.database import administered
from app.cli.settings import read_settings, run
from app.store import migrate as schema

if TYPE_CHECKING:
    from app.settings import Settings


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date.

    `serve` does so too unless OMNIVEC_MIGRATE is off. Any number may run at once.
    """
    run(_migrate(read_settings()))


async def _migrate(settings: Settings) -> None:
    async with administered(settings) as engine:
        before = await schema.current(engine)
        await schema.migrate(engine)
        after = await schema.current(engine)
    if before == after:
        click.echo(f"The schema is up to date: revision {after}.")
    else:
        click.echo(f"The schema went from revision {before or 'none'} to {after}.")
