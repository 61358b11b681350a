"""Finding models, telling which can be loaded, loading them."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from app.domain.media import Interpolation, Resize
from app.domain.modality import Modality
from app.encoders.cards import Loader
from app.encoders.registry import SHIPPED, Registry
from app.errors import InvalidInput, NotFound, Unavailable
from app.settings import Device, ModelSettings
from tests.encoders.factories import (
    CARD,
    OPENCLIP_CONFIG,
    TinyTowers,
    tiny_registry,
    tiny_settings,
    vector,
    write_card,
)

if TYPE_CHECKING:
    from pathlib import Path

BUNDLED = "multimodal-embedding-v1"


def test_shipped_models_are_listed_default_first(tmp_path: Path) -> None:
    ids = [card.id for card in Registry(ModelSettings(directory=tmp_path)).cards()]
    assert ids[0] == BUNDLED
    assert ids[1:] == sorted(ids[1:])
    assert {"PE-Core-B-16", "PE-Core-L-14-336", "ViT-H-14", "MobileCLIP2-S2", "ViT-B-32"} < {*ids}


def test_own_models_stand_beside_the_shipped_ones(tmp_path: Path) -> None:
    write_card(tmp_path)
    registry = Registry(tiny_settings(tmp_path))
    assert registry.cards()[0].id == "tiny"
    assert registry.entry(BUNDLED).home == SHIPPED / BUNDLED


def test_own_card_replaces_the_shipped_one(tmp_path: Path) -> None:
    write_card(tmp_path, id=BUNDLED, name="Mine")
    assert Registry(tiny_settings(tmp_path)).entry(BUNDLED).card.name == "Mine"


def test_unknown_model_is_not_found(tmp_path: Path) -> None:
    registry = Registry(tiny_settings(tmp_path))
    for call in (registry.entry, registry.available, registry.load, registry.calibration):
        with pytest.raises(NotFound, match="no such model: nope"):
            call("nope")


def test_every_wrong_card_is_named(tmp_path: Path) -> None:
    write_card(tmp_path, id="one", metric="L2")
    write_card(tmp_path, id="two", dimensions=-1)
    with pytest.raises(InvalidInput) as refused:
        Registry(tiny_settings(tmp_path))
    assert [v.path[0] for v in refused.value.violations] == [
        str(tmp_path / name / "card.json") for name in ("one", "two")
    ]


def test_model_dropped_in_is_known_after_refresh(tmp_path: Path) -> None:
    registry = Registry(tiny_settings(tmp_path))
    write_card(tmp_path)
    registry.refresh()
    assert registry.entry("tiny").card.dimensions == CARD["dimensions"]


def test_bundled_model_is_available_when_each_tower_is_there(tmp_path: Path) -> None:
    directory = write_card(tmp_path)
    registry = Registry(tiny_settings(tmp_path))
    for tower in ("image", "text", "audio"):
        assert not registry.available("tiny")
        (directory / f"{tower}.safetensors").touch()
    assert registry.available("tiny")


def test_weights_for_a_shipped_card_lie_in_the_own_directory(tmp_path: Path) -> None:
    registry = Registry(tiny_settings(tmp_path))
    assert not registry.available("ViT-B-32")
    directory = tmp_path / "ViT-B-32"
    directory.mkdir()
    (directory / "open_clip_config.json").write_text(json.dumps(OPENCLIP_CONFIG))
    assert not registry.available("ViT-B-32")
    (directory / "open_clip_pytorch_model.bin").touch()
    assert registry.available("ViT-B-32")
    registry.refresh()
    assert registry.entry("ViT-B-32").card.license == "MIT"


def test_weights_in_the_hub_cache_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    registry = Registry(ModelSettings(directory=tmp_path))
    assert not registry.available("PE-Core-B-16")
    snapshot = tmp_path / "models--timm--PE-Core-B-16" / "snapshots" / "0f1e"
    snapshot.mkdir(parents=True)
    for name in ("open_clip_config.json", "open_clip_model.safetensors"):
        (snapshot / name).touch()
    assert registry.available("PE-Core-B-16")


def test_checkpoint_without_a_card_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "open_clip_config.json").write_text(json.dumps(OPENCLIP_CONFIG))
    card = Registry(tiny_settings(tmp_path)).entry("mine").card
    assert card.loader is Loader.OPENCLIP
    assert card.types == (Modality.IMAGE, Modality.TEXT)
    assert card.dimensions == 24
    assert card.image is not None
    assert (card.image.size, card.image.tokens) == (32, 16)
    assert card.image.resize is Resize.SQUASH
    assert card.image.interpolation is Interpolation.BILINEAR
    assert card.text is not None
    assert card.text.context_length == 16


@pytest.mark.parametrize(
    ("vision", "tokens"),
    [
        ({"image_size": 224, "timm_model_name": "vit_pe_core_base_patch16_224"}, 196),
        ({"image_size": [256, 256], "timm_model_name": "fastvit_mci2"}, 64),
        ({"image_size": 224, "patch_size": 14}, 256),
    ],
)
def test_patches_of_a_checkpoint_are_counted(
    tmp_path: Path, vision: dict[str, object], tokens: int
) -> None:
    model = {**OPENCLIP_CONFIG["model_cfg"], "vision_cfg": vision}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    image = Registry(tiny_settings(tmp_path)).entry("mine").card.image
    assert image is not None
    assert image.tokens == tokens
    assert image.resize is Resize.CROP


@pytest.mark.parametrize("config", ["{", "{}", '{"model_cfg": {"embed_dim": "many"}}'])
def test_checkpoint_with_a_wrong_configuration_is_named(tmp_path: Path, config: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "open_clip_config.json").write_text(config)
    with pytest.raises(InvalidInput, match=r"mine/open_clip_config\.json"):
        Registry(tiny_settings(tmp_path))


def test_oblong_images_are_refused(tmp_path: Path) -> None:
    vision = {**OPENCLIP_CONFIG["model_cfg"]["vision_cfg"], "image_size": [32, 64]}
    model = {**OPENCLIP_CONFIG["model_cfg"], "vision_cfg": vision}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "open_clip_config.json").write_text(json.dumps({"model_cfg": model}))
    with pytest.raises(InvalidInput, match="only square images"):
        Registry(tiny_settings(tmp_path))


def test_loaded_model_closes_the_gap(tmp_path: Path) -> None:
    directory = write_card(tmp_path)
    save_file({"text": vector(3.0)}, directory / "gap.safetensors")
    model = tiny_registry(tiny_settings(tmp_path)).load("tiny")
    vectors = np.stack([vector(1.0), vector(2.0)])
    centred = vectors - vector(3.0)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(model.finish(Modality.TEXT, vectors), expected, rtol=1e-5)
    np.testing.assert_allclose(model.finish(Modality.IMAGE, vectors), vectors, rtol=1e-5)


def test_towers_of_other_dimensions_are_refused(tmp_path: Path) -> None:
    write_card(tmp_path, dimensions=16)
    with pytest.raises(Unavailable, match="has 8 dimensions, but its card says 16"):
        tiny_registry(tiny_settings(tmp_path)).load("tiny")


def test_cuda_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    import torch  # noqa: PLC0415 (slow)

    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    write_card(tmp_path)
    settings = replace(tiny_settings(tmp_path), device=Device.CUDA)
    with pytest.raises(Unavailable, match="OMNIVEC_DEVICE is cuda"):
        tiny_registry(settings).load("tiny")


def test_nothing_keeps_an_unloaded_model(tmp_path: Path) -> None:
    write_card(tmp_path)
    model = tiny_registry(tiny_settings(tmp_path), TinyTowers).load("tiny")
    gone = weakref.ref(model.towers)
    del model
    assert gone() is None


def test_missing_file_of_the_bundled_model_is_named(tmp_path: Path) -> None:
    write_card(tmp_path)
    with pytest.raises(Unavailable, match=str(tmp_path / "tiny")):
        Registry(tiny_settings(tmp_path)).load("tiny")
