"""`omnivec doctor`: what works here, what does not, and how to mend it."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from app.cli.checks import CHECKS, Finding, Verdict
from app.cli.settings import read_settings

if TYPE_CHECKING:
    from app.settings import Settings

COLOURS = {Verdict.OK: "green", Verdict.WARN: "yellow", Verdict.FAIL: "red"}


class Report(msgspec.Struct):
    """`ok` is false as soon as one check fails."""

    ok: bool
    checks: list[Finding]


@click.command()
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def doctor(as_json: bool) -> None:
    """Check the database, the store, the model and the machine.

    The exit code is 1 if anything fails.
    """
    findings = asyncio.run(_examine(read_settings(), quiet=as_json))
    ok = all(finding.verdict is not Verdict.FAIL for finding in findings)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(Report(ok, findings))))
    if not ok:
        sys.exit(1)


async def _examine(settings: Settings, *, quiet: bool) -> list[Finding]:
    findings = []
    for check in CHECKS:
        for finding in await check(settings):
            findings.append(finding)
            if not quiet:
                _tell(finding)
    return findings


def _tell(finding: Finding) -> None:
    verdict = click.style(f"{finding.verdict:<4}", fg=COLOURS[finding.verdict])
    click.echo(f"{verdict}  {finding.name}: {finding.detail}")
    if finding.mend:
        click.echo(f"      → {finding.mend}")
