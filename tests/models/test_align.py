"""A checkpoint that is given ears: it hears, is listed and served, and is refused when damaged."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from app.domain.modality import Modality
from app.encoders.cards import read_card
from app.encoders.checkpoints import PROJECTOR_FILE
from app.encoders.registry import Registry
from app.encoders.service import EncoderService
from app.encoders.work import Priority
from app.errors import InvalidInput, NameTaken, NotFound, Unavailable
from app.settings import ModelSettings
from models.recipe.align import held_out
from models.recipe.corpus import Part
from models.recipe.ears import check_names, make_ears
from models.recipe.recordings import read_recordings
from models.recipe.sounds import KINDS, synthesise
from tests.encoders.factories import image, write_checkpoint
from tests.models.recordings import write_sounds

if TYPE_CHECKING:
    from pathlib import Path

    from models.recipe.align import Aligned

KINDS_HEARD, EACH = 5, 20


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with a random checkpoint, `clip`, that `heard` gives ears."""
    root = tmp_path_factory.mktemp("models")
    write_checkpoint(root / "clip")
    return root


@pytest.fixture(scope="module")
def aligned(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Aligned:
    pairs = tmp_path_factory.mktemp("sounds") / "pairs"
    part = read_recordings(write_sounds(pairs, KINDS_HEARD, EACH))
    told: list[str] = []
    home, made = make_ears(
        registry(root), root, "clip", "heard", part, steps=60, seed=1, say=told.append
    )
    assert home == root / "heard"
    assert told[-1].startswith("step 60 of 60: loss ")
    return made


def registry(root: Path) -> Registry:
    return Registry(ModelSettings(directory=root))


def test_held_out_sounds_find_their_captions(aligned: Aligned) -> None:
    (top, first), *_ = aligned.figures.items()
    assert top == "sounds that were kept apart to text, R@1 of 10"
    assert first >= 0.5  # two captions of ten fit: chance is a fifth


@pytest.mark.usefixtures("aligned")
async def test_service_hears_what_it_was_not_trained_on(root: Path) -> None:
    service = EncoderService(ModelSettings(directory=root, preload=()))
    await service.start()
    source = np.random.default_rng(99)
    waves = [synthesise(kind, source)[:16_000] for kind in KINDS[:KINDS_HEARD] for _ in range(3)]
    names = [kind.captions[0] for kind in KINDS[:KINDS_HEARD]]
    try:
        heard = await service.encode_audios("heard", waves, priority=Priority.INDEX)
        said = await service.encode_texts("heard", names, priority=Priority.SEARCH)
        pixels = [np.tile(image(value), (8, 8, 1)) for value in (10, 200)]
        seen = await service.encode_images("heard", pixels, priority=Priority.INDEX)
        alone = await service.encode_images("clip", pixels, priority=Priority.INDEX)
    finally:
        await service.close()
    nearest = (heard.vectors @ said.vectors.T).argmax(1)
    assert (nearest == np.repeat(np.arange(KINDS_HEARD), 3)).mean() >= 0.5
    assert heard.tokens[0] > 0
    np.testing.assert_allclose(seen.vectors, alone.vectors, atol=1e-5)


@pytest.mark.usefixtures("aligned")
def test_card_tells_what_was_made(root: Path) -> None:
    card = read_card(root / "heard")
    assert card.types == (Modality.IMAGE, Modality.TEXT, Modality.AUDIO)
    assert card.openclip is not None
    assert card.openclip.base == "clip"
    assert {"audio-text", "audio-audio"} <= set(card.calibration)
    assert set(card.files) == {"audio.safetensors", "gap.safetensors", "projector.safetensors"}
    assert any(name.startswith("sounds that were kept apart") for name in card.evaluation)
    assert sorted(path.name for path in root.iterdir()) == ["clip", "heard"]
    assert registry(root).available("heard")


@pytest.mark.usefixtures("aligned")
@pytest.mark.parametrize("name", ["audio.safetensors", PROJECTOR_FILE])
def test_missing_file_says_how_to_make_it(root: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    (tmp_path / "heard" / name).unlink()
    models = registry(tmp_path)
    assert not models.available("heard")
    with pytest.raises(Unavailable, match=rf"{name}: is missing: .*omnivec models align-audio"):
        models.load("heard")


@pytest.mark.usefixtures("aligned")
def test_missing_checkpoint_is_that_of_the_base(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "heard", tmp_path / "heard")
    models = registry(tmp_path)
    assert not models.available("heard")
    with pytest.raises(Unavailable, match=rf"Put .* into {tmp_path / 'clip'}\."):
        models.load("heard")


@pytest.mark.usefixtures("aligned")
def test_other_checkpoint_than_the_one_aligned_to_is_refused(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "heard", tmp_path / "heard")
    write_checkpoint(tmp_path / "clip", seed=7)
    with pytest.raises(Unavailable, match="was aligned to another checkpoint"):
        registry(tmp_path).load("heard")


@pytest.mark.usefixtures("aligned")
def test_damaged_projector_is_refused(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "heard" / PROJECTOR_FILE
    state = load_file(path)
    for damaged, reason in (
        ({"fc1.weight": state["fc1.weight"]}, "holds no projector"),
        (state | {"mean": state["mean"][:-1].copy()}, "does not fit the model"),
        (
            state | {"fc1.weight": state["fc1.weight"][:, :9].copy(), "mean": state["mean"][:9]},
            "takes 9 dimensions",
        ),
        (
            state | {"fc2.weight": state["fc2.weight"][:9].copy(), "probe": state["probe"][:9]},
            "leads into 9 dimensions",
        ),
    ):
        save_file({name: np.ascontiguousarray(each) for name, each in damaged.items()}, path)
        with pytest.raises(Unavailable, match=reason):
            registry(tmp_path).load("heard")


def test_names_are_checked_before_anything_is_read(root: Path, tmp_path: Path) -> None:
    models = registry(root)
    with pytest.raises(NotFound, match="no such model: nope"):
        check_names(models, root, "nope", "new")
    with pytest.raises(NameTaken, match="'clip' already exists"):
        check_names(models, root, "clip", "clip")
    with pytest.raises(InvalidInput, match="only an OpenCLIP checkpoint can get ears"):
        check_names(models, root, "multimodal-embedding-v1", "new")
    with pytest.raises(InvalidInput, match=r"--out \.\./new"):
        check_names(models, root, "clip", "../new")
    (tmp_path / "new").mkdir()
    with pytest.raises(InvalidInput, match="exists: name another"):
        check_names(models, tmp_path, "clip", "new")


def test_too_few_recordings_are_refused_and_nothing_is_written(root: Path) -> None:
    part = Part("recordings")
    part.add(np.zeros((1, 96, 64), np.float16), ("rain", "water"), "rain")
    with pytest.raises(InvalidInput, match="1 recordings with 2 captions are too few"):
        make_ears(registry(root), root, "clip", "few", part, steps=1, seed=1, say=lambda _: None)
    assert not (root / "few").exists()


def test_every_group_with_five_recordings_is_held_out() -> None:
    part = Part("recordings")
    for number in range(40):
        part.add(np.zeros((1, 96, 64), np.float16), ("rain",), str(number % 8))
    held = held_out(part, 1)
    assert sorted(part.groups[row] for row in held) == [str(number) for number in range(8)]


def test_card_that_is_its_own_base_is_refused(tmp_path: Path) -> None:
    card = {
        "id": "mine",
        "name": "Mine",
        "types": ["text"],
        "dimensions": 24,
        "loader": "openclip",
        "license": "MIT",
        "text": {"context_length": 16},
        "openclip": {"base": "mine"},
    }
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "card.json").write_text(json.dumps(card))
    with pytest.raises(InvalidInput, match="names the model itself"):
        registry(tmp_path)
