"""`omnivec keys`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click
import msgspec

from app.api.auth import DEFAULT_PROJECT, Scope
from app.cli.database import opened
from app.cli.settings import read_settings, run
from app.store.keys import KeyStore

if TYPE_CHECKING:
    from app.settings import Settings
    from app.store.keys import ApiKey

UNITS = {"h": "hours", "d": "days", "w": "weeks"}

project_option = click.option(
    "--project", default=DEFAULT_PROJECT, show_default=True, help="Whose keys."
)


class Lifetime(click.ParamType[timedelta]):
    name = "12h|30d|52w"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> timedelta:
        found = re.fullmatch(r"([1-9]\d{0,4})([hdw])", str(value))
        if found is None:
            self.fail(f"{value} is no lifetime; write 12h, 30d or 52w", param, ctx)
        return timedelta(**{UNITS[found[2]]: int(found[1])})


@click.group()
def keys() -> None:
    """Create, list and revoke API keys.

    As soon as one exists, every call needs one (unless OMNIVEC_AUTH is off).
    """


@keys.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    default=[Scope.READ.value, Scope.WRITE.value],
    show_default=True,
    help="What it may do; repeat for several. `admin` may do everything.",
)
@click.option("--expires", "lifetime", type=Lifetime(), help="After this long; else never.")
@project_option
def create(name: str, scopes: tuple[str, ...], lifetime: timedelta | None, project: str) -> None:
    """Create a key called NAME and print its secret, once."""
    expires_at = datetime.now(UTC) + lifetime if lifetime else None
    key, secret = run(_create(read_settings(), project, name, scopes, expires_at))
    click.echo(f"{_line(key)}\nThe secret is shown only now:", err=True)
    click.echo(secret)


@keys.command("list")
@project_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_keys(project: str, as_json: bool) -> None:
    """List the keys, oldest first."""
    found = run(_list(read_settings(), project))
    if as_json:
        click.echo(msgspec.json.encode(found))
        return
    for key in found:
        click.echo(_line(key))
    if not found:
        click.echo("There is no key.", err=True)


@keys.command()
@click.argument("key_id", metavar="ID")
@project_option
def revoke(key_id: str, project: str) -> None:
    """Revoke a key; it is refused within a second."""
    click.echo(_line(run(_revoke(read_settings(), project, key_id))))


async def _create(
    settings: Settings,
    project: str,
    name: str,
    scopes: tuple[str, ...],
    expires_at: datetime | None,
) -> tuple[ApiKey, str]:
    async with opened(settings) as database:
        return await KeyStore(database).create(project, name, scopes, expires_at)


async def _list(settings: Settings, project: str) -> list[ApiKey]:
    async with opened(settings) as database:
        return await KeyStore(database).list(project)


async def _revoke(settings: Settings, project: str, key_id: str) -> ApiKey:
    async with opened(settings) as database:
        return await KeyStore(database).revoke(project, key_id)


def _line(key: ApiKey) -> str:
    state = "active"
    if key.revoked_at:
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}"
    elif key.expires_at:
        verb = "expired" if key.expires_at <= datetime.now(UTC) else "expires"
        state = f"{verb} {key.expires_at:%Y-%m-%d %H:%M}"
    used = f"last used {key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never used"
    scopes = ",".join(sorted(key.scopes))
    return f"{key.id}  {key.name}  {key.prefix}…  {scopes}  {state}  {used}"
