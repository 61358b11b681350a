"""OpenCLIP checkpoints, small and random, in the layouts of real ones."""

from __future__ import annotations

import json
import weakref
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file

from app.domain.media import Interpolation, Resize
from app.encoders.cards import ImageTower, OpenClip, TextTower
from app.encoders.checkpoints import card_of_checkpoint
from app.encoders.openclip import OpenClipTowers, load_openclip
from app.encoders.registry import Registry
from app.errors import Unavailable
from app.settings import ModelSettings, Precision
from tests.encoders.factories import OPENCLIP_CONFIG, tiny_settings, write_checkpoint

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXTS = ["a red guitar", "Ünïcode!", "", "word " * 100, "! ! !"]

CUSTOM_TEXT = deepcopy(OPENCLIP_CONFIG)
CUSTOM_TEXT["model_cfg"]["custom_text"] = True

BIDIRECTIONAL = deepcopy(CUSTOM_TEXT)
BIDIRECTIONAL["model_cfg"]["text_cfg"]["no_causal_mask"] = True

TIMM = deepcopy(CUSTOM_TEXT)
TIMM["model_cfg"]["vision_cfg"] = {
    "image_size": 64,
    "timm_model_name": "repvgg_a0",
    "timm_model_pretrained": False,
    "timm_pool": "",
    "timm_proj": "linear",
}

LAYOUTS = {
    "clip": OPENCLIP_CONFIG,
    "custom text": CUSTOM_TEXT,
    "bidirectional text": BIDIRECTIONAL,
    "timm": TIMM,
}


@pytest.fixture(scope="module", params=LAYOUTS.values(), ids=LAYOUTS.keys())
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "mine", request.param)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "mine")


def load(directory: Path, precision: Precision = Precision.FLOAT32) -> OpenClipTowers:
    card = card_of_checkpoint(directory)
    return load_openclip(card, [directory], device="cpu", precision=precision)


def original(directory: Path) -> Any:
    return open_clip.create_model(f"local-dir:{directory}", pretrained_text=False).eval()


def pixels(count: int, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def test_texts_are_encoded_as_openclip_does(checkpoint: Path) -> None:
    towers = load(checkpoint)
    vectors = towers.encode_texts(towers.tokenize(TEXTS))
    tokenizer = open_clip.get_tokenizer(f"local-dir:{checkpoint}")
    with torch.inference_mode():
        expected = original(checkpoint).encode_text(tokenizer(TEXTS), normalize=True)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected.numpy(), atol=1e-5)


def test_images_are_encoded_as_openclip_does(checkpoint: Path) -> None:
    towers = load(checkpoint)
    images = pixels(3, towers.size)
    model = original(checkpoint)
    preprocess = image_transform_v2(PreprocessCfg(**model.visual.preprocess_cfg), is_train=False)
    batch = torch.stack([preprocess(Image.fromarray(each)) for each in images])
    with torch.inference_mode():
        expected = model.encode_image(batch, normalize=True)
    np.testing.assert_allclose(towers.encode_images(images), expected.numpy(), atol=1e-4)


def test_tokens_are_the_real_ones(clip: Path) -> None:
    tokens = load(clip).tokenize(["", "cat", "! !", "word " * 100])
    assert [len(ids) for ids in tokens] == [2, 3, 4, 16]
    assert all(ids[0] == 49406 and ids[-1] == 49407 for ids in tokens)


def test_word_that_no_language_has_costs_no_seconds(clip: Path) -> None:
    word = "".join(np.random.default_rng(0).choice(list("abcdefghijklmnopqrstuvwxyz"), 8192))
    towers = load(clip)
    (tokens,) = towers.tokenize([word])
    assert len(tokens) == 16
    assert len(max(towers._tokenizer.cache, key=len)) < 200


@pytest.mark.parametrize("precision", [Precision.BFLOAT16, Precision.FLOAT16])
def test_half_precision_is_near(clip: Path, precision: Precision) -> None:
    exact, half = load(clip), load(clip, precision)
    images = pixels(2, 32)
    for one, other in (
        (exact.encode_images(images), half.encode_images(images)),
        (
            exact.encode_texts(exact.tokenize(TEXTS)),
            half.encode_texts(half.tokenize(TEXTS)),
        ),
    ):
        assert other.dtype == np.float32
        assert ((one * other).sum(axis=1) > 0.99).all()


def test_preprocessing_comes_from_the_checkpoint(clip: Path) -> None:
    towers = load(clip)
    assert towers.size == 32
    assert towers.resize is Resize.SQUASH
    assert towers.interpolation is Interpolation.BILINEAR
    assert towers.dimensions == 24


def test_pickled_weights_are_read_as_data_only(clip: Path, tmp_path: Path) -> None:
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "open_clip_config.json").write_bytes((clip / "open_clip_config.json").read_bytes())
    weights = directory / "open_clip_pytorch_model.bin"
    torch.save(load_file(clip / "open_clip_model.safetensors"), weights)
    tokens = load(clip).tokenize(TEXTS)
    np.testing.assert_array_equal(
        load(directory).encode_texts(tokens), load(clip).encode_texts(tokens)
    )
    torch.save({"path": Path("/")}, weights)
    with pytest.raises(Unavailable, match="mine cannot be loaded"):
        load(directory)


def test_missing_files_say_what_to_fetch_and_where_to_put_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(Unavailable) as missing:
        Registry(ModelSettings(directory=tmp_path)).load("PE-Core-B-16")
    assert missing.value.message.endswith(
        "Put open_clip_config.json and open_clip_model.safetensors from "
        f"https://huggingface.co/timm/PE-Core-B-16 into {tmp_path / 'PE-Core-B-16'}."
    )


def test_checkpoint_without_weights_is_unavailable(clip: Path, tmp_path: Path) -> None:
    directory = tmp_path / "mine"
    directory.mkdir()
    (directory / "open_clip_config.json").write_bytes((clip / "open_clip_config.json").read_bytes())
    registry = Registry(tiny_settings(tmp_path))
    with pytest.raises(Unavailable, match=rf"not there\. Put .* into {directory}\."):
        registry.load("mine")


def damage_cut(directory: Path) -> None:
    weights = directory / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def damage_lacking(directory: Path) -> None:
    weights = directory / "open_clip_model.safetensors"
    tensors = load_file(weights)
    del tensors["visual.proj"]
    save_file(tensors, weights)


def damage_misshapen(directory: Path) -> None:
    weights = directory / "open_clip_model.safetensors"
    tensors = load_file(weights)
    tensors["visual.proj"] = tensors["visual.proj"][:, :-1].contiguous()
    save_file(tensors, weights)


def damage_config(directory: Path) -> None:
    config = deepcopy(OPENCLIP_CONFIG)
    config["model_cfg"]["vision_cfg"]["colour"] = "blue"
    (directory / "open_clip_config.json").write_text(json.dumps(config))


@pytest.mark.parametrize("damage", [damage_cut, damage_lacking, damage_misshapen, damage_config])
def test_damaged_checkpoint_is_unavailable(tmp_path: Path, damage: Any) -> None:
    directory = write_checkpoint(tmp_path / "mine")
    damage(directory)
    with pytest.raises(Unavailable, match="the model mine cannot be loaded"):
        load(directory)


def test_checkpoint_that_its_card_does_not_describe_is_refused(clip: Path) -> None:
    card = card_of_checkpoint(clip)
    wrong = msgspec.structs.replace(card, dimensions=512)
    with pytest.raises(Unavailable, match="dimensions 512, the checkpoint 24"):
        load_openclip(wrong, [clip], device="cpu", precision=Precision.FLOAT32)


def test_other_resizing_than_the_cards_is_told(
    clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    card = card_of_checkpoint(clip)
    assert card.image is not None
    image = msgspec.structs.replace(card.image, resize=Resize.CROP)
    changed = msgspec.structs.replace(card, image=image)
    load_openclip(changed, [clip], device="cpu", precision=Precision.FLOAT32)
    assert "resizes by crop, bilinear, but its checkpoint was trained with squash" in caplog.text


def test_unloaded_towers_are_gone_without_a_collection(clip: Path) -> None:
    towers = load(clip)
    gone = weakref.ref(towers._model)
    del towers
    assert gone() is None


def test_built_in_model_is_named_with_its_weights(clip: Path, tmp_path: Path) -> None:
    """`model` and `pretrained`, where the latter may be a file."""
    model = open_clip.create_model("ViT-S-32-alt")
    weights = tmp_path / "weights.safetensors"
    save_file({name: t.contiguous().clone() for name, t in model.state_dict().items()}, weights)
    card = msgspec.structs.replace(
        card_of_checkpoint(clip),
        dimensions=256,
        image=ImageTower(size=224, tokens=49),
        text=TextTower(77),
        openclip=OpenClip(model="ViT-S-32-alt", pretrained=str(weights)),
    )
    towers = load_openclip(card, [tmp_path], device="cpu", precision=Precision.FLOAT32)
    assert towers.dimensions == 256
