"""What a card may say, and what is said about a card that is wrong."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from app.domain.media import ImageInput, Interpolation, Resize
from app.domain.modality import Modality
from app.encoders.cards import AudioTower, Loader, Logistic, parse_pair, read_card
from app.encoders.registry import SHIPPED
from app.errors import InvalidInput
from tests.encoders.factories import CARD, write_card

if TYPE_CHECKING:
    from pathlib import Path

LINE = {"slope": 1, "intercept": 0}


def test_card_says_what_the_towers_take(tmp_path: Path) -> None:
    image = {"size": 225, "tokens": 64, "resize": "squash", "interpolation": "bilinear"}
    card = read_card(write_card(tmp_path, image=image))
    assert card.image is not None
    assert card.image.input() == ImageInput(225, Resize.SQUASH, Interpolation.BILINEAR)
    assert card.audio is not None
    assert card.audio.input().sample_rate == 100
    assert card.types == (Modality.IMAGE, Modality.TEXT, Modality.AUDIO)
    assert card.loader is Loader.BUNDLED


def test_calibration_is_read_by_pair(tmp_path: Path) -> None:
    curve = {"slope": 12, "intercept": -4.5}
    card = read_card(write_card(tmp_path, calibration={"text-image": curve}))
    assert card.calibration == {"text-image": Logistic(12.0, -4.5)}
    assert parse_pair("text-image") == parse_pair("image-text") == (Modality.IMAGE, Modality.TEXT)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"licence": "MIT"}, "unknown field `licence`"),
        ({"dimensions": 0}, ">= 1"),
        ({"dimensions": "8"}, "Expected `int`, got `str` - at `$.dimensions`"),
        ({"types": []}, "length >= 1"),
        ({"types": ["image", "text", "video"]}, "Invalid enum value 'video'"),
        ({"types": ["image", "text"]}, "`audio` contradict each other"),
        ({"audio": None}, "`audio` contradict each other"),
        ({"types": ["image", "text", "audio", "text"]}, "names a modality twice"),
        ({"metric": "EUCLIDEAN"}, "Invalid enum value"),
        ({"loader": "onnx"}, "Invalid enum value 'onnx'"),
        ({"loader": "openclip"}, "needs the part `openclip`"),
        ({"image": {"size": 8, "tokens": 1, "resize": "stretch"}}, "`$.image.resize`"),
        ({"calibration": {"image-smell": LINE}}, "'image-smell'"),
        ({"calibration": {"image": LINE}}, "no pair of modalities"),
        ({"calibration": {"image-text": {"slope": -1, "intercept": 0}}}, "> 0"),
        ({"calibration": {"image-text": LINE, "text-image": LINE}}, "a pair of modalities twice"),
    ],
)
def test_wrong_card_is_refused_by_name_of_file_and_field(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    directory = write_card(tmp_path, **change)
    with pytest.raises(InvalidInput) as refused:
        read_card(directory)
    assert said in refused.value.message
    assert str(directory / "card.json") in refused.value.message


def test_id_is_the_directory(tmp_path: Path) -> None:
    directory = write_card(tmp_path)
    other = directory.rename(tmp_path / "other")
    with pytest.raises(InvalidInput, match="'tiny', but the directory is 'other'"):
        read_card(other)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe"])
def test_file_that_is_no_card_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"card\.json"):
        read_card(tmp_path)


def test_missing_field_is_named(tmp_path: Path) -> None:
    directory = write_card(tmp_path)
    card = {name: value for name, value in CARD.items() if name != "license"}
    (directory / "card.json").write_text(json.dumps(card))
    with pytest.raises(InvalidInput, match="`license`"):
        read_card(directory)


@pytest.mark.parametrize(
    ("seconds", "windows"), [(0.0, 1), (0.96, 1), (1.0, 2), (1.44, 2), (1.45, 3), (600, 1249)]
)
def test_windows_are_counted(seconds: float, windows: int) -> None:
    audio = AudioTower(
        sample_rate=16_000, window_seconds=0.96, hop_seconds=0.48, tokens_per_window=96
    )
    assert audio.windows(round(seconds * 16_000)) == windows


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*/card.json")), ids=lambda p: p.parent.name)
def test_shipped_cards_are_complete(path: Path) -> None:
    card = read_card(path.parent)
    assert card.name
    assert card.description
    assert card.license
    if card.loader is Loader.OPENCLIP:
        assert card.sources
        assert card.limitations
        assert card.cost.keys() >= {"parameters", "image_gflops", "text_gflops"}
