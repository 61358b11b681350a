"""The bundled model as it is committed: its files, its contract and what it knows."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional

from app.encoders.bundled import BundledTowers, load_bundled
from app.encoders.model_files import (
    AUDIO_FILE,
    CONFIG_FILE,
    IMAGE_FILE,
    TEXT_FILE,
    ModelFilesError,
)
from app.settings import Precision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

MODEL = Path(__file__).parents[2] / "models" / "multimodal-embedding-v1"
SIZE = 225


@pytest.fixture(scope="module")
def towers() -> BundledTowers:
    return load_bundled(MODEL)


def texts(towers: BundledTowers, *words: str) -> NDArray[np.float32]:
    return towers.encode_texts(towers.tokenize(words))


def pixels(count: int, seed: int = 1) -> NDArray[np.uint8]:
    source = np.random.default_rng(seed)
    return source.integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def noise(seconds: float, seed: int = 1) -> NDArray[np.float32]:
    source = np.random.default_rng(seed)
    return source.normal(0, 0.1, int(seconds * 16_000)).astype(np.float32)


def photo(name: str) -> NDArray[np.uint8]:
    """A photograph that scikit-image carries, squashed to the model's size."""
    from PIL import Image  # noqa: PLC0415
    from skimage import data  # noqa: PLC0415

    picture = Image.fromarray(getattr(data, name)())
    return np.asarray(picture.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC))


def best(vector: NDArray[np.float32], towers: BundledTowers, candidates: Sequence[str]) -> str:
    return candidates[int((texts(towers, *candidates) @ vector).argmax())]


def assert_unit(vectors: NDArray[np.float32], count: int) -> None:
    assert vectors.dtype == np.float32
    assert vectors.shape == (count, 1024)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_vectors_are_of_unit_length(towers: BundledTowers) -> None:
    assert towers.dimensions == 1024
    assert_unit(texts(towers, "a dog", ""), 2)
    assert_unit(towers.encode_images(pixels(3)), 3)
    windows = towers.audio_windows(noise(2))
    assert_unit(towers.encode_audio(windows), len(windows))


def test_nothing_in_nothing_out(towers: BundledTowers) -> None:
    assert towers.encode_texts([]).shape == (0, 1024)
    assert towers.encode_images(pixels(0)).shape == (0, 1024)
    assert towers.encode_audio(np.zeros((0, 96, 64), np.float32)).shape == (0, 1024)


def test_encoding_twice_gives_the_same(towers: BundledTowers) -> None:
    batch = pixels(2)
    np.testing.assert_array_equal(towers.encode_images(batch), towers.encode_images(batch))
    windows = towers.audio_windows(noise(1))
    np.testing.assert_array_equal(towers.encode_audio(windows), towers.encode_audio(windows))


def test_vectors_do_not_depend_on_the_batch(towers: BundledTowers) -> None:
    sentences = ["dog", "a red bicycle leaning on a wall", "guitars " * 30]
    together = texts(towers, *sentences)
    alone = np.concatenate([texts(towers, sentence) for sentence in sentences])
    np.testing.assert_allclose(together, alone, atol=1e-4)

    batch = pixels(19)  # more than go through the tower at once
    np.testing.assert_allclose(
        towers.encode_images(batch)[[0, 18]], towers.encode_images(batch[[0, 18]]), atol=1e-4
    )


def test_long_text_is_cut_to_the_context_length(towers: BundledTowers) -> None:
    (tokens,) = towers.tokenize(["word " * 1000])
    assert len(tokens) == 256
    assert [len(row) for row in towers.tokenize(["dog", ""])] == [3, 2]


def test_bfloat16_stays_close(towers: BundledTowers) -> None:
    low = load_bundled(MODEL, precision=Precision.BFLOAT16)
    cosines = (texts(low, "a dog", "a guitar") * texts(towers, "a dog", "a guitar")).sum(1)
    assert cosines.min() > 0.99
    images = (low.encode_images(pixels(2)) * towers.encode_images(pixels(2))).sum(1)
    assert images.min() > 0.98


@pytest.mark.parametrize(
    ("name", "answer"),
    [("chelsea", "a cat"), ("coffee", "a cup of coffee"), ("rocket", "a rocket")],
)
def test_photo_finds_its_name(towers: BundledTowers, name: str, answer: str) -> None:
    candidates = ["a cat", "a cup of coffee", "a rocket", "a dog", "a violin", "a bicycle"]
    (vector,) = towers.encode_images(photo(name)[None])
    assert best(vector, towers, candidates) == answer


def test_sound_finds_its_name(towers: BundledTowers) -> None:
    beat = np.arange(3 * 16_000) / 16_000
    sweep = 900 + 350 * np.sin(2 * np.pi * 0.6 * beat)
    phase = 2 * np.pi * np.cumsum(sweep) / 16_000
    siren = (0.3 * np.sin(phase) + 0.12 * np.sin(2 * phase)).astype(np.float32)
    vector = towers.encode_audio(towers.audio_windows(siren)).mean(0)
    candidates = ["a siren", "a dog barking", "rain", "someone speaking", "a piano"]
    assert best(vector, towers, candidates) == "a siren"


def test_words_of_like_meaning_are_near(towers: BundledTowers) -> None:
    guitar, cello, instrument, truck = texts(
        towers, "electric guitar", "cello", "musical instrument", "garbage truck"
    )
    assert min(guitar @ instrument, cello @ instrument) > truck @ instrument + 0.2


@torch.no_grad()
def test_texts_are_those_of_the_reference_implementation() -> None:
    from transformers import BertConfig, BertModel  # noqa: PLC0415

    config = BertConfig.from_pretrained(MODEL / "text")
    reference = BertModel(config, add_pooling_layer=False).eval()
    state = {name: tensor.float() for name, tensor in load_file(MODEL / TEXT_FILE).items()}
    proj = state.pop("proj.weight")
    bert = {name.removeprefix("transformer."): tensor for name, tensor in state.items()}
    reference.load_state_dict(bert)
    towers = load_bundled(MODEL, precision=Precision.FLOAT32)
    (tokens,) = towers.tokenize(["three red circles"])
    states = reference(torch.from_numpy(tokens)[None]).last_hidden_state
    vector = functional.normalize(states.mean(1) @ proj.T, dim=1)
    np.testing.assert_allclose(towers.encode_texts([tokens]), vector.numpy(), atol=1e-4)


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MODEL, tmp_path / "model"))


@pytest.mark.parametrize(
    "name", [CONFIG_FILE, IMAGE_FILE, TEXT_FILE, AUDIO_FILE, "text/tokenizer.json"]
)
def test_missing_file_is_named(copied: Path, name: str) -> None:
    (copied / name).unlink()
    with pytest.raises(ModelFilesError, match="is missing") as caught:
        load_bundled(copied)
    assert caught.value.path == copied / name


@pytest.mark.parametrize("name", [IMAGE_FILE, AUDIO_FILE, TEXT_FILE])
def test_file_of_another_model_is_refused(copied: Path, name: str) -> None:
    save_file({"visual.something": torch.zeros(2)}, copied / name)
    with pytest.raises(ModelFilesError) as caught:
        load_bundled(copied)
    assert caught.value.path == copied / name


@pytest.mark.parametrize("content", ["{}", "[]", '{"dimensions": "many", "context_length": 256}'])
def test_broken_configuration_is_refused(copied: Path, content: str) -> None:
    (copied / CONFIG_FILE).write_text(content)
    with pytest.raises(ModelFilesError, match="dimensions and context_length") as caught:
        load_bundled(copied)
    assert caught.value.path == copied / CONFIG_FILE


def test_broken_file_is_refused(copied: Path) -> None:
    (copied / IMAGE_FILE).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(ModelFilesError, match="not a safetensors file"):
        load_bundled(copied)


def test_weights_are_small() -> None:
    sizes = [path.stat().st_size for path in MODEL.glob("*.safetensors")]
    assert max(sizes) < 60_000_000
    assert sum(sizes) < 75_000_000
