"""`models build`, `evaluate` and `align-audio`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from app.cli import main
from models.recipe import kit as kit_files
from tests.encoders.factories import write_checkpoint
from tests.models.recordings import write_sounds

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

BUNDLED = "multimodal-embedding-v1"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with a small random checkpoint, `clip`."""
    directory = tmp_path_factory.mktemp("models")
    write_checkpoint(directory / "clip")
    return directory


@pytest.fixture(autouse=True)
def directory(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMNIVEC_MODELS_DIR", str(models))


def omnivec(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["models", *arguments])


def failed(*arguments: str) -> str:
    answer = omnivec(*arguments)
    assert answer.exit_code in {1, 2}
    assert "Traceback" not in answer.output
    return " ".join(answer.stderr.split())


# evaluate


def test_evaluate_prints_a_table_and_writes_json(tmp_path: Path) -> None:
    path = tmp_path / "figures.json"
    answer = omnivec(
        *("evaluate", "clip", "--suite", "scenes", "--suite", "sounds", "--suite", "size"),
        *("--limit", "4", "--json", str(path)),
    )
    assert answer.exit_code == 0, answer.output
    lines = answer.stdout.splitlines()
    assert lines[0].split() == ["figure", "clip"]
    assert lines[1].startswith("colour, count and shape, R@1 of 4 ")
    assert lines[-1] == "clip: left out sounds: clip takes no audio"
    [written] = json.loads(path.read_text())
    assert written["model"] == "clip"
    assert set(written["figures"]) == {"colour, count and shape, R@1 of 4", "megabytes of weights"}
    assert written["figures"]["megabytes of weights"] > 1
    assert "clip: scenes" in answer.stderr


def test_evaluate_shows_two_models_side_by_side() -> None:
    arguments = ("evaluate", "clip", "--against", BUNDLED, "--suite", "size", "--json", "-")
    one, other = json.loads(omnivec(*arguments).stdout)
    assert (one["model"], other["model"]) == ("clip", BUNDLED)
    assert 70 < other["figures"]["megabytes of weights"] < 76
    lines = omnivec(*arguments[:-2]).stdout.splitlines()
    assert lines[0].split() == ["figure", "clip", BUNDLED, "difference"]


def test_evaluate_says_what_is_wrong(tmp_path: Path) -> None:
    assert failed("evaluate", "nope", "--suite", "size") == "Error: no such model: nope"
    assert failed("evaluate", "clip", "--against", "nope") == "Error: no such model: nope"
    assert "'poems' is not one of 'clothing'" in failed("evaluate", "clip", "--suite", "poems")
    missing = failed("evaluate", "clip", "--suite", "clothing")
    assert "suite clothing needs clothing.tar of the model kit: models/README.md" in missing
    assert "--data" in missing
    lost = failed("evaluate", "clip", "--suite", "size", "--json", str(tmp_path / "no" / "file"))
    assert "cannot be written: No such file or directory" in lost
    assert "is not one of" not in lost


def test_evaluate_says_what_weights_to_fetch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    message = failed("evaluate", "ViT-B-32", "--suite", "size")
    assert "Put open_clip_config.json and open_clip_model.safetensors from" in message


# build


def test_build_says_what_the_kit_lacks(tmp_path: Path) -> None:
    (tmp_path / kit_files.EMOJI).touch()
    message = failed("build", BUNDLED, "--data", str(tmp_path))
    assert f"the model kit in {tmp_path} lacks {kit_files.IMAGE_NETWORK}" in message
    assert kit_files.EMOJI not in message
    assert "models/README.md" in message
    assert "'clip' is not" in failed("build", "clip", "--data", str(tmp_path))


def test_build_hands_its_options_to_the_recipe(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in kit_files.ALL:
        (tmp_path / name).touch()
    answer = omnivec("build", BUNDLED, "--data", str(tmp_path), "--head-steps", "soon")
    assert answer.exit_code == 2
    assert "--head-steps: invalid int value: 'soon'" in capfd.readouterr().err


@pytest.mark.parametrize("device", ["toaster", "cuda:99", "meta"])
def test_build_refuses_a_device_that_it_cannot_train_on(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], device: str
) -> None:
    for name in kit_files.ALL:
        (tmp_path / name).touch()
    answer = omnivec("build", BUNDLED, "--data", str(tmp_path), "--device", device)
    assert answer.exit_code == 2
    told = capfd.readouterr().err
    assert "argument --device: " in told
    assert "Traceback" not in told


def test_installation_without_the_recipe_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.cli.recipe.RECIPE", tmp_path / "recipe")
    for arguments in (
        ("build", BUNDLED, "--data", str(tmp_path)),
        ("evaluate", "clip"),
        ("align-audio", "clip", "--pairs", str(tmp_path), "--out", "heard"),
    ):
        assert "the installed package holds the service alone" in failed(*arguments)


# align-audio


def test_align_audio_makes_a_model_that_is_listed(models: Path, tmp_path: Path) -> None:
    pairs = write_sounds(tmp_path / "pairs", kinds=3, each=5)
    arguments = ("align-audio", "clip", "--pairs", str(pairs), "--out", "heard", "--steps", "2")
    answer = omnivec(*arguments)
    assert answer.exit_code == 0, answer.output
    assert "sounds that were kept apart to text, R@1 of 6: " in answer.stdout
    assert f"Wrote {models / 'heard'}." in answer.stdout
    [row] = [row for row in omnivec("list").stdout.splitlines() if row.startswith("heard ")]
    assert "image, text, audio  (available)" in row
    assert json.loads(omnivec("show", "heard").stdout)["openclip"]["base"] == "clip"
    assert "a model named 'heard' already exists" in failed(*arguments)


def test_align_audio_says_what_is_wrong(models: Path, tmp_path: Path) -> None:
    def refused(base: str = "clip", name: str = "new") -> str:
        return failed("align-audio", base, "--pairs", str(tmp_path), "--out", name)

    assert "holds no captions.jsonl" in refused()
    assert "no such model: nope" in refused(base="nope")
    assert "only an OpenCLIP checkpoint can get ears" in refused(base=BUNDLED)
    assert "--out a/b" in refused(name="a/b")
    (tmp_path / "captions.jsonl").write_text('{"file": "a.wav", "captions": ["a"]}')
    assert "line 1: a.wav is not there" in refused()
    assert not (models / "new").exists()
