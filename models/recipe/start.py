"""The analytic start: a classifier's last layer, read as a mean of its classes' names.

ConSE (Norouzi et al. 2014, arXiv 1312.5650): an image is embedded as the mean of the text
embeddings of its likely classes, weighted by their probability. The audio head does so in the units
of its MLP, where GELU is a soft cut: AudioSet's classes do not exclude each other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    from app.encoders.networks import ImageHead, MlpHead
    from models.recipe.files import Classifier

AUDIO_SCALE, AUDIO_THRESHOLD = 1.0, -2.5
# Of the image classifier's logits: of several likely classes the likeliest must be heard best.
SHARPNESS = 3.0


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


@torch.no_grad()
def install_classes(
    head: ImageHead, classifier: Classifier, names: Tensor, projection: Tensor
) -> None:
    """Make an image head say what its classifier knows (weight [classes, f], bias), and no more.

    `names` [classes, d] are unit vectors of the text tower, `projection` [d, width] its last layer,
    whose columns are orthonormal.
    """
    weight, bias = classifier
    head.known.classifier.weight.copy_(SHARPNESS * weight)
    head.known.classifier.bias.copy_(SHARPNESS * bias)
    head.known.names.weight.copy_((names @ projection).T)
    head.proj.weight.copy_(projection)
    torch.nn.init.kaiming_normal_(head.learnt.fc1.weight, nonlinearity="relu")
    head.learnt.fc1.bias.zero_()
    head.learnt.fc2.weight.zero_()


@torch.no_grad()
def install_head(
    head: MlpHead, classifier: Classifier, names: Tensor, scale: float, threshold: float
) -> None:
    """Make a head of a classifier (weight [classes, f], bias) and its names' vectors.

    Hidden units left over start unheard.
    """
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
        batch = torch.as_tensor(np.stack(rows)).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    else:
        batch = torch.as_tensor(np.concatenate(rows).astype(np.float32)).unsqueeze(1)
    return batch.contiguous(memory_format=torch.channels_last)


class Start:
    """The model before any training, which training and measuring compare with."""

    def __init__(self, kit: Path, seed: int) -> None:
        """`seed` turns text's isometry into 1024 dimensions: one seed, one space."""
        torch.manual_seed(seed)
        self.modules, image, audio = start_towers(kit)
        self.tokenizer = start_tokenizer()
        text = self.modules.text
        self.image_names = class_vectors(
            text, self.tokenizer, image_classes(labels(kit, "imagenet"))
        )
        self.audio_names = class_vectors(
            text, self.tokenizer, audio_classes(labels(kit, "audioset"))
        )
        self.audio_classifier = audio
        install_head(self.modules.audio.head, audio, self.audio_names, AUDIO_SCALE, AUDIO_THRESHOLD)
        weight, bias = image[0][1:], image[1][1:]  # without the background class
        install_classes(self.modules.image.head, (weight, bias), self.image_names, text.proj.weight)
        # As the classifier of both ends' features, of which it reads the first.
        self.image_classifier = (functional.pad(weight, (0, weight.shape[1])), bias)
        for tower in (self.modules.image, self.modules.audio):
            tower.to(memory_format=torch.channels_last)

    def move(self, device: torch.device) -> None:
        """Take all networks and vectors to a device."""
        for tower in (self.modules.image, self.modules.text, self.modules.audio):
            tower.to(device)
        self.image_names, self.audio_names = (
            names.to(device) for names in (self.image_names, self.audio_names)
        )
        self.image_classifier, self.audio_classifier = (
            (weight.to(device), bias.to(device))
            for weight, bias in (self.image_classifier, self.audio_classifier)
        )

    def original_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors of the sentence model as it was: projecting it was an isometry."""
        return encode_texts(self.modules.text, self.tokenizer, texts).numpy()
