"""The analytic start: a classifier's last layer, read as a mean of its classes' names.

ConSE (Norouzi et al. 2014, arXiv 1312.5650): an image is embedded as the mean of the text
embeddings of its likely classes, weighted by their probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.encoders.minilm import TextTower, pad_tokens
from models.recipe.files import labels, start_tokenizer, start_towers
from models.recipe.names import Weighted, image_class_texts, sound_class_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from app.encoders.bundled import MlpHead, TowerModules
    from models.recipe.files import Classifier

IMAGE_SCALE, IMAGE_THRESHOLD = 2.0, 7.0
AUDIO_SCALE, AUDIO_THRESHOLD = 1.0, -2.5


@torch.no_grad()
def encode_texts(tower: TextTower, tokenizer: Tokenizer, texts: Sequence[str]) -> Tensor:
    """Texts → unit vectors [n, d]."""
    encodings = [torch.tensor(e.ids) for e in tokenizer.encode_batch(list(texts))]
    order = sorted(range(len(texts)), key=lambda index: len(encodings[index]))
    out = torch.empty(len(texts), tower.proj.out_features)
    for start in range(0, len(order), 64):
        part = order[start : start + 64]
        out[part] = functional.normalize(tower(pad_tokens([encodings[i] for i in part])), dim=1)
    return out


def class_vectors(tower: TextTower, tokenizer: Tokenizer, classes: list[Weighted]) -> Tensor:
    """The weighted mean of each class's texts, unit length: [classes, d]."""
    texts = sorted({text for weighted in classes for text, _ in weighted})
    vectors = dict(zip(texts, encode_texts(tower, tokenizer, texts), strict=True))
    means = [
        torch.stack([weight * vectors[text] for text, weight in weighted]).sum(0)
        for weighted in classes
    ]
    return functional.normalize(torch.stack(means), dim=1)


def image_classes(names: list[str]) -> list[Weighted]:
    """Texts of the image network's classes without the background class."""
    return [image_class_texts(label, number) for number, label in enumerate(names[1:])]


def audio_classes(names: list[str]) -> list[Weighted]:
    return [sound_class_texts(label) for label in names]


def install_heads(
    modules: TowerModules,
    image: Classifier,
    audio: Classifier,
    image_names: Tensor,
    audio_names: Tensor,
) -> None:
    """Write the analytic start into the heads; hidden units left over start unheard.

    The image classifier is without the background class.
    """
    image_head = cast("MlpHead", modules.image.head["mlp"])
    audio_head = cast("MlpHead", modules.audio.head["mlp"])
    install_head(image_head, image, image_names, IMAGE_SCALE, IMAGE_THRESHOLD)
    install_head(audio_head, audio, audio_names, AUDIO_SCALE, AUDIO_THRESHOLD)


@torch.no_grad()
def install_head(
    head: MlpHead, classifier: Classifier, names: Tensor, scale: float, threshold: float
) -> None:
    """Make a head of a classifier (weight [classes, f], bias) and its names' vectors."""
    weight, bias = classifier
    count = len(weight)
    torch.nn.init.kaiming_normal_(head.fc1.weight, nonlinearity="relu")
    head.fc1.bias.zero_()
    head.fc2.weight.zero_()
    head.fc1.weight[:count] = scale * weight
    head.fc1.bias[:count] = scale * bias - threshold
    head.fc2.weight[:, :count] = names.T


def tensor_of(inputs: Iterable[NDArray[Any]]) -> Tensor:
    """Stack pictures or windows as a trunk takes them: [n, channels, height, width]."""
    rows = list(inputs)
    if rows[0].dtype == np.uint8:
        batch = torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    else:
        batch = torch.from_numpy(np.concatenate(rows).astype(np.float32)).unsqueeze(1)
    return batch.contiguous(memory_format=torch.channels_last)


class Start:
    """The model before any training, which training and measuring compare with."""

    def __init__(self, kit: Path, seed: int) -> None:
        """`seed` turns text's isometry into 1024 dimensions: one seed, one space."""
        torch.manual_seed(seed)
        self.modules, image, audio = start_towers(kit)
        self.image_classifier = (image[0][1:], image[1][1:])  # without the background class
        self.audio_classifier = audio
        self.tokenizer = start_tokenizer()
        text = self.modules.text
        self.image_names = class_vectors(
            text, self.tokenizer, image_classes(labels(kit, "imagenet"))
        )
        self.audio_names = class_vectors(
            text, self.tokenizer, audio_classes(labels(kit, "audioset"))
        )
        install_heads(
            self.modules,
            self.image_classifier,
            self.audio_classifier,
            self.image_names,
            self.audio_names,
        )
        for tower in (self.modules.image, self.modules.audio):
            tower.to(memory_format=torch.channels_last)

    def original_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of the sentence model as it was: projecting it was an isometry."""
        return encode_texts(self.modules.text, self.tokenizer, texts).numpy()
