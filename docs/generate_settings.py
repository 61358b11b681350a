"""Write docs/settings.md from the settings in the code: `python -m docs.generate_settings`."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from app.knobs import knobs
from app.settings import ROOT, Settings

TARGET = Path(__file__).with_name("settings.md")

HEADER = """\
# Settings

Every setting is an environment variable, read once at start. An empty variable counts as unset;
a wrong value or an unknown name that starts with `OMNIVEC_` stops the start with a message that
names it. Paths without a leading `/` are relative to the working directory; the defaults are
relative to the repository.

| Variable | Default | Meaning |
|---|---|---|
"""


def document() -> str:
    """Render the page."""
    rows = (f"| `{knob.env}` | {_default(knob.default)} | {knob.doc} |" for knob in knobs(Settings))
    return HEADER + "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    text = _text(value)
    return f"`{text}`" if text else "(empty)"


def _text(value: Any) -> str:
    """Write a value as its variable would hold it."""
    match value:
        case bool():
            return str(value).lower()
        case Enum():
            return str(value.value)
        case tuple():
            return ",".join(map(str, value))
        case Path() if value.is_relative_to(ROOT):
            return str(value.relative_to(ROOT))
        case _:
            return str(value)


if __name__ == "__main__":
    TARGET.write_text(document(), encoding="utf-8")
