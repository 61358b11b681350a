"""The towers as ONNX Runtime computes them, beside PyTorch's modules."""

from __future__ import annotations

import itertools
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from app.encoders.architecture import BertShape
from app.encoders.bundled import load_bundled
from app.encoders.minilm import TextTower
from app.encoders.model_files import AUDIO_FILE, IMAGE_FILE, ModelFilesError, Weights
from app.encoders.modules import add_channel, encoder, load_modules, scale_pixels
from app.encoders.onnx_towers import audio_tower, image_tower, text_tower
from app.settings import ROOT, Precision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from app.encoders.modules import TowerModules

MODEL = Path(__file__).parents[2] / "models" / "multimodal-embedding-v1"
SHAPE = BertShape(
    vocab_size=50,
    hidden_size=72,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=100,
    max_position_embeddings=16,
)
DIMENSIONS = 24


@pytest.fixture(scope="module")
def modules() -> TowerModules:
    return load_modules(MODEL)


@pytest.fixture
def module() -> TextTower:
    torch.manual_seed(1)
    tower = TextTower(SHAPE, DIMENSIONS, SHAPE.max_position_embeddings)
    for parameter in tower.requires_grad_(requires_grad=False).parameters():
        parameter.normal_(0, 0.3)  # so that norms and biases do something
    return tower


@pytest.fixture
def saved(module: TextTower, tmp_path: Path) -> Path:
    path = tmp_path / "text.safetensors"
    save_file(module.state_dict(), path)
    return path


def some_ids() -> Iterator[NDArray[np.int64]]:
    """Texts of all shapes, without padding and with it."""
    source = np.random.default_rng(1)
    for texts, length in itertools.product((1, 2, 5), (1, 2, 7, 16)):
        ids = source.integers(1, SHAPE.vocab_size, (texts, length))
        yield ids
        padded = ids.copy()
        padded[0, 1:] = 0
        yield padded


def cosines(these: NDArray[np.float32], those: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(these, axis=1) * np.linalg.norm(those, axis=1)
    return (these * those).sum(1) / lengths


def test_texts_have_the_vectors_of_the_module(module: TextTower, saved: Path) -> None:
    tower = text_tower(Weights(saved), SHAPE, DIMENSIONS)
    plain = encoder(module, "cpu", torch.float32)
    for ids in some_ids():
        np.testing.assert_allclose(tower(ids), plain(ids), atol=2e-5, rtol=1e-4)


def test_8_bits_are_near_and_do_not_depend_on_neighbours(module: TextTower, saved: Path) -> None:
    tower = text_tower(Weights(saved), SHAPE, DIMENSIONS, int8=True)
    plain = encoder(module, "cpu", torch.float32)
    for ids in some_ids():
        vectors = tower(ids)
        assert cosines(vectors, plain(ids)).min() > 0.999
        for row, vector in zip(ids, vectors, strict=True):
            np.testing.assert_array_equal(tower(row[row > 0][None])[0], vector)


def test_bundled_texts_of_8_bits_are_near_the_exact_ones() -> None:
    exact, quick = load_bundled(MODEL, precision=Precision.FLOAT32), load_bundled(MODEL)
    texts = ["dog", "a red bicycle leaning on a wall", "guitars " * 30, "", "42", "ein Fahrrad"]
    tokens = exact.tokenize(texts)
    assert cosines(quick.encode_texts(tokens), exact.encode_texts(tokens)).min() > 0.996
    alone = np.concatenate([quick.encode_texts([row]) for row in tokens])
    np.testing.assert_allclose(quick.encode_texts(tokens), alone, atol=1e-7)


@pytest.mark.parametrize("rows", [1, 3])
def test_images_have_the_vectors_of_the_module(modules: TowerModules, rows: int) -> None:
    source = np.random.default_rng(rows)
    pixels = source.integers(0, 256, (rows, 225, 225, 3), dtype=np.uint8)
    tower = image_tower(Weights(MODEL / IMAGE_FILE), 384, 1024)
    plain = encoder(modules.image, "cpu", torch.float32, scale_pixels)
    np.testing.assert_allclose(tower(pixels), plain(pixels), atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 3])
def test_sounds_have_the_vectors_of_the_module(modules: TowerModules, rows: int) -> None:
    windows = np.random.default_rng(rows).normal(size=(rows, 96, 64)).astype(np.float32)
    tower = audio_tower(Weights(MODEL / AUDIO_FILE), 1024)
    plain = encoder(modules.audio, "cpu", torch.float32, add_channel)
    np.testing.assert_allclose(tower(windows), plain(windows), atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"proj.weight": None}, "lacks proj.weight"),
        ({"proj.weight": torch.zeros(3, 4)}, r"proj.weight is \[3, 4\], not \[24, 72\]"),
        ({"other.weight": torch.zeros(3)}, "has other.weight besides"),
    ],
)
def test_weights_of_another_network_are_refused(
    module: TextTower, saved: Path, change: dict[str, torch.Tensor | None], reason: str
) -> None:
    state = {
        name: tensor
        for name, tensor in (module.state_dict() | change).items()
        if tensor is not None
    }
    save_file(state, saved)
    with pytest.raises(ModelFilesError, match=reason):
        text_tower(Weights(saved), SHAPE, DIMENSIONS)


def test_idle_threads_sleep(saved: Path) -> None:
    tower = text_tower(Weights(saved), SHAPE, DIMENSIONS, threads=4)
    for ids in some_ids():
        tower(ids)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.1


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_cpu_needs_no_pytorch(device: str) -> None:
    if device == "auto" and torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    program = f"""
import sys
from app.encoders.registry import Registry
from app.settings import Device, ModelSettings
towers = Registry(ModelSettings(device=Device({device!r}))).load("multimodal-embedding-v1").towers
assert towers.encode_texts(towers.tokenize(["a dog"])).shape == (1, 1024)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
