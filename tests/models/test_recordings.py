"""Reading recordings with captions, and saying what is wrong with them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.encoders.audio import SAMPLE_RATE, log_mel_windows
from app.errors import InvalidInput
from models.recipe.recordings import LISTING, MAX_WINDOWS, read_recordings
from tests.models.recordings import as_tar, wav, write_sounds

if TYPE_CHECKING:
    from pathlib import Path

TONE = np.sin(np.arange(SAMPLE_RATE) / 10).astype(np.float32) / 2


def listed(directory: Path, *lines: object) -> Path:
    directory.mkdir(exist_ok=True)
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    (directory / LISTING).write_text(text, encoding="utf-8")
    return directory


def refusal(path: Path) -> str:
    with pytest.raises(InvalidInput) as refused:
        read_recordings(path)
    return refused.value.message


def test_directory_and_tar_hold_the_same(tmp_path: Path) -> None:
    directory = write_sounds(tmp_path / "pairs", kinds=2, each=2)
    one, other = read_recordings(directory), read_recordings(as_tar(directory))
    assert one.captions == other.captions
    assert one.captions[0] == ("a steady tone", "a sine tone")
    assert one.groups == ["a steady tone"] * 2 + ["white noise"] * 2
    for windows, same in zip(one.content, other.content, strict=True):
        np.testing.assert_array_equal(windows, same)


def test_recording_is_heard_as_the_service_hears_it(tmp_path: Path) -> None:
    listed(tmp_path, {"file": "a.wav", "captions": ["a tone"], "group": "tones", "split": "train"})
    (tmp_path / "a.wav").write_bytes(wav(TONE))
    part = read_recordings(tmp_path)
    assert part.groups == ["tones"]
    exact = log_mel_windows((TONE * 32767).astype("<i2").astype(np.float32) / 32768)
    np.testing.assert_allclose(part.content[0], exact, atol=0.02)


def test_long_recording_is_cut(tmp_path: Path) -> None:
    listed(tmp_path, {"file": "a.wav", "captions": ["a tone"]})
    (tmp_path / "a.wav").write_bytes(wav(np.tile(TONE, 30)))
    assert len(read_recordings(tmp_path).content[0]) == MAX_WINDOWS


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("{", "line 2: Input data was truncated"),
        ({"captions": ["rain"]}, "line 2: Object missing required field `file`"),
        ({"file": "a.wav", "captions": []}, r"line 2: Expected `array` of length >= 1"),
        ({"file": "a.wav", "captions": "rain"}, r"line 2: Expected `array`, got `str`"),
        ({"file": "b.wav", "captions": ["rain"]}, "line 2: b.wav is not there"),
        ({"file": "../a.wav", "captions": ["rain"]}, "line 2: ../a.wav is not there"),
        ({"file": "words.wav", "captions": ["rain"]}, "line 2: words.wav: the content is no"),
        ({"file": "cut.wav", "captions": ["rain"]}, "line 2: cut.wav: the audio"),
    ],
)
def test_wrong_line_is_named(tmp_path: Path, line: object, reason: str) -> None:
    pairs = listed(tmp_path / "pairs", {"file": "a.wav", "captions": ["a tone"]}, line)
    for directory in (tmp_path, pairs):
        (directory / "a.wav").write_bytes(wav(TONE))
    (pairs / "words.wav").write_text("no sound at all")
    (pairs / "cut.wav").write_bytes(wav(TONE)[:30])
    assert reason in refusal(pairs)
    if line != {"file": "../a.wav", "captions": ["rain"]}:
        assert reason in refusal(as_tar(pairs))


def test_missing_listing_says_what_it_holds(tmp_path: Path) -> None:
    assert f'holds no {LISTING}: one line of JSON for each recording, {{"file"' in refusal(tmp_path)


def test_what_is_no_directory_and_no_tar_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pairs.tar").write_bytes(b"nothing of the kind" * 100)
    assert "is neither a directory nor a tar" in refusal(tmp_path / "pairs.tar")
