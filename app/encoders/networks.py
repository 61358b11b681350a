"""The bundled model's image and audio networks: convolutional trunks and their heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.architecture import AUDIO_HIDDEN_PER_DIMENSION, CLASSES, IMAGE_HIDDEN
from app.encoders.mobilenet import MobileNetV1, MobileNetV2Early, MobileNetV2Late


class MlpHead(nn.Module):
    """Features [n, f] → [n, d] through one layer of hidden units."""

    def __init__(self, features: int, hidden: int, dimensions: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(features, hidden)
        self.fc2 = nn.Linear(hidden, dimensions, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class ClassHead(nn.Module):
    """A classifier's features [n, f] → [n, d], the mean of its classes' names by their shares.

    ConSE (Norouzi et al. 2014, arXiv 1312.5650).
    """

    def __init__(self, features: int, classes: int, dimensions: int) -> None:
        super().__init__()
        self.classifier = nn.Linear(features, classes)
        self.names = nn.Linear(classes, dimensions, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.names(self.classifier(x).softmax(1))
        return out


class ImageHead(nn.Module):
    """What is known and what was learnt, features [n, 2 f], added up: [n, d].

    Both speak in the text tower's own `width` dimensions, and are projected as its texts are.
    """

    def __init__(self, features: int, width: int, dimensions: int) -> None:
        super().__init__()
        self.known = ClassHead(features, CLASSES, width)
        self.learnt = MlpHead(features, IMAGE_HIDDEN, width)
        self.proj = nn.Linear(width, dimensions, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        known, learnt = x.chunk(2, dim=1)
        out: Tensor = self.proj(self.known(known) + self.learnt(learnt))
        return out


class ImageTower(nn.Module):
    """MobileNetV2 whose late stages are there twice: RGB in [-1, 1], [n, 3, h, w] → [n, d].

    `known` and its head are those of an ImageNet classifier, so that nothing of what that knows is
    lost; `learnt` has learnt all else. The early stages, two thirds of the work, serve both.
    """

    def __init__(self, width: int, dimensions: int) -> None:
        """`width` is that of the text tower."""
        super().__init__()
        self.early = MobileNetV2Early()
        self.known = MobileNetV2Late()
        self.learnt = MobileNetV2Late()
        self.head = ImageHead(MobileNetV2Late.features, width, dimensions)

    def late(self, x: Tensor) -> Tensor:
        """From what the early stages give to the features of both ends: [n, 2 f]."""
        return torch.cat([self.known(x), self.learnt(x)], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.late(self.early(x)))
        return out


class AudioTower(nn.Module):
    """MobileNetV1 and an MLP: log-mel windows [n, 1, 96, 64] → [n, d]."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions
        self.trunk = MobileNetV1()
        self.head = MlpHead(
            MobileNetV1.features, AUDIO_HIDDEN_PER_DIMENSION * dimensions, dimensions
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.trunk(x))
        return out
