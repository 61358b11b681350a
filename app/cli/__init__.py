"""The command line: `omnivec`. Commands are imported when they are called."""

from __future__ import annotations

from importlib import import_module
from typing import cast

import click

COMMANDS = {
    "serve": "Run the service.",
    "migrate": "Bring the database's schema up to date.",
    "models": "Show the models there are, build, measure and extend them.",
    "keys": "Create, list and revoke API keys.",
    "doctor": "Check the database, the store, the model and the machine.",
}


class LazyGroup(click.Group):
    """Knows its commands by name and imports one when it runs: help comes at once."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return cast("click.Command", getattr(import_module(f"app.cli.{cmd_name}"), cmd_name))

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="omnivec", prog_name="omnivec")
def main() -> None:
    """Multimodal semantic search: images, text and audio in one vector space."""
