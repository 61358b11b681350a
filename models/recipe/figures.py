"""What was measured: written into the model's card, and from the card into the README's table.

python -m models.recipe.figures    # brings the table in models/README.md up to date
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.encoders.calibration import GAP_FILE
from app.encoders.cards import CARD_FILE
from app.encoders.model_files import AUDIO_FILE, IMAGE_FILE, TEXT_FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

MODELS = Path(__file__).resolve().parents[1]
BUNDLED = MODELS / "multimodal-embedding-v1"
README = MODELS / "README.md"
WEIGHTS = (IMAGE_FILE, TEXT_FILE, AUDIO_FILE, GAP_FILE)
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"


def update_card(out: Path, curves: dict[str, dict[str, float]], figures: dict[str, float]) -> None:
    """Write what was measured into the card; what people wrote in it stays.

    A calibration error that is among the figures, measured on other data than the curves were
    fitted with, counts for more than the one that came with the curve.
    """
    path = out / CARD_FILE
    card = json.loads(path.read_text(encoding="utf-8"))
    card["calibration"] = {
        pair: {"slope": curve["slope"], "intercept": curve["intercept"]}
        for pair, curve in curves.items()
    }
    errors = {
        f"expected calibration error, {pair}": curve["error"] for pair, curve in curves.items()
    }
    rounded = {name: round(value, 4 if name in errors else 3) for name, value in figures.items()}
    card["evaluation"] = rounded | {
        name: error for name, error in errors.items() if name not in rounded
    }
    card["files"] = {name: {"sha256": sha256(out / name)} for name in WEIGHTS}
    path.write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def table(card: Mapping[str, Any]) -> str:
    """The figures of a parsed card as a Markdown table."""
    if not card["evaluation"]:
        return "The card holds no figures yet.\n"
    rows = [f"| {name} | {value:g} |" for name, value in card["evaluation"].items()]
    return "\n".join(["| figure | value |", "|---|---|", *rows]) + "\n"


def with_table(text: str, card: Mapping[str, Any]) -> str:
    """The README's text with the card's figures in their marked place."""
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}\n{table(card)}\n{END}{after}"


def main() -> None:
    card = json.loads((BUNDLED / CARD_FILE).read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    README.write_text(with_table(text, card), encoding="utf-8")
    print(table(card), end="")


if __name__ == "__main__":
    main()
