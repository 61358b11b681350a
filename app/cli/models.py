"""`omnivec models`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
import msgspec

from app.cli.recipe import align_audio, build, evaluate
from app.cli.settings import read_settings, told_plainly
from app.encoders.registry import Registry

if TYPE_CHECKING:
    from app.domain.modality import Modality
    from app.encoders.cards import Card


class Row(msgspec.Struct):
    id: str
    name: str
    types: tuple[Modality, ...]
    dimensions: int
    license: str
    default: bool
    available: bool


@click.group()
def models() -> None:
    """Show the models there are, build, measure and extend them."""


for command in (build, evaluate, align_audio):
    models.add_command(command)


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_models(as_json: bool) -> None:
    """List the models, the default one first."""
    settings = read_settings().models
    with told_plainly():
        registry = Registry(settings)
    rows = [_row(card, registry.available(card.id), settings.default) for card in registry.cards()]
    if as_json:
        click.echo(msgspec.json.encode(rows))
        return
    for row in rows:
        marks = ["default"] if row.default else []
        marks.append("available" if row.available else "weights missing")
        click.echo(
            f"{row.id}  {row.dimensions} dimensions  {', '.join(row.types)}  ({', '.join(marks)})"
        )


@models.command()
@click.argument("model_id", metavar="ID")
def show(model_id: str) -> None:
    """Print a model's card as JSON."""
    settings = read_settings().models
    with told_plainly():
        card = Registry(settings).entry(model_id).card
    click.echo(msgspec.json.format(msgspec.json.encode(card)))


def _row(card: Card, available: bool, default: str) -> Row:
    return Row(
        id=card.id,
        name=card.name,
        types=card.types,
        dimensions=card.dimensions,
        license=card.license,
        default=card.id == default,
        available=available,
    )
