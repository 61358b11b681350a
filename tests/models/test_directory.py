"""The bundled model's directory: card, sizes, checksums, and writing one like it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from app.encoders.architecture import BertShape
from app.encoders.cards import CARD_FILE, parse_pair, read_card
from app.encoders.minilm import TextTower
from app.encoders.model_files import load_tokenizer
from app.encoders.modules import TowerModules, load_modules
from app.encoders.networks import AudioTower, ImageTower
from models.recipe.figures import BUNDLED, README, sha256, table, update_card, with_table
from models.recipe.files import CONTEXT_LENGTH, DIMENSIONS, save_model
from models.recipe.shapes import SIZE

if TYPE_CHECKING:
    from pathlib import Path

WEIGHTS = sorted(BUNDLED.glob("*.safetensors"))


def test_card_describes_what_the_recipe_builds() -> None:
    card = read_card(BUNDLED)
    assert card.default
    assert card.dimensions == DIMENSIONS
    assert card.image is not None
    assert card.image.size == SIZE
    assert card.text is not None
    assert card.text.context_length == CONTEXT_LENGTH


def test_card_names_sources_licences_and_limits() -> None:
    card = read_card(BUNDLED)
    assert card.description
    assert card.limitations
    for source in card.sources:
        assert set(source) == {"name", "license", "what"}
        assert all(source.values())


def test_card_calibrates_every_pair_of_kinds() -> None:
    curves = read_card(BUNDLED).calibration
    assert len({parse_pair(name) for name in curves}) == 6


def test_weights_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in WEIGHTS}
    assert sum(sizes.values()) <= 75_000_000, sizes
    assert max(sizes.values()) <= 60_000_000, sizes


def test_weights_are_those_of_the_card() -> None:
    files = read_card(BUNDLED).files
    assert set(files) == {path.name for path in WEIGHTS}
    assert {path.name: sha256(path) for path in WEIGHTS} == {
        name: entry["sha256"] for name, entry in files.items()
    }


def test_readme_shows_the_card_s_figures() -> None:
    card = json.loads((BUNDLED / CARD_FILE).read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    assert text == with_table(text, card), "run: python -m models.recipe.figures"


def test_table_of_figures() -> None:
    assert "no figures" in table({"evaluation": {}})
    assert "| photos, R@1 | 0.75 |\n" in table({"evaluation": {"photos, R@1": 0.75}})


def test_figures_leave_what_people_wrote(tmp_path: Path) -> None:
    card = json.loads((BUNDLED / CARD_FILE).read_text(encoding="utf-8"))
    (tmp_path / CARD_FILE).write_text(json.dumps(card), encoding="utf-8")
    for name in ("image", "text", "audio", "gap"):
        (tmp_path / f"{name}.safetensors").write_bytes(name.encode())
    curves = {"image-text": {"slope": 20.0, "intercept": -8.0, "error": 0.02}}
    update_card(tmp_path, curves, {"photos, R@1": 0.12345})
    written = json.loads((tmp_path / CARD_FILE).read_text(encoding="utf-8"))
    assert written["calibration"] == {"image-text": {"slope": 20.0, "intercept": -8.0}}
    assert written["evaluation"] == {
        "photos, R@1": 0.123,
        "expected calibration error, image-text": 0.02,
    }
    measured = {"expected calibration error, image-text": 0.03456}
    update_card(tmp_path, curves, measured)
    again = json.loads((tmp_path / CARD_FILE).read_text(encoding="utf-8"))
    assert again["evaluation"] == {"expected calibration error, image-text": 0.0346}
    assert written["files"]["gap.safetensors"]["sha256"] == sha256(tmp_path / "gap.safetensors")
    changed = {"calibration", "evaluation", "files"}
    assert {k: v for k, v in written.items() if k not in changed} == {
        k: v for k, v in card.items() if k not in changed
    }


@torch.no_grad()
def test_saved_model_loads_as_it_was(tmp_path: Path) -> None:
    torch.manual_seed(1)
    modules = TowerModules(
        ImageTower(BertShape().hidden_size, DIMENSIONS),
        TextTower(BertShape(), DIMENSIONS, CONTEXT_LENGTH),
        AudioTower(DIMENSIONS),
    )
    words = Tokenizer(WordLevel({"[UNK]": 0, "dog": 1}, unk_token="[UNK]"))
    save_model(modules, words, tmp_path)
    loaded = load_modules(tmp_path)
    for one, other in (
        (modules.image, loaded.image),
        (modules.text, loaded.text),
        (modules.audio, loaded.audio),
    ):
        state = one.state_dict()
        assert set(state) == set(other.state_dict())
        for name, tensor in other.state_dict().items():
            assert tensor.dtype == torch.float32
            lost = (tensor - state[name]).abs().max()
            assert lost <= 1e-3 * state[name].abs().max(), name
    tokens = torch.tensor([[101, 3899, 102]])
    torch.testing.assert_close(loaded.text(tokens), modules.text(tokens), rtol=0.05, atol=0.01)
    assert load_tokenizer(tmp_path, CONTEXT_LENGTH).encode("dog").ids == [1]
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("*.safetensors")}
    assert sum(sizes.values()) <= 75_000_000, sizes
