"""What training minimises, for unit vectors [n, d] of pictures or sounds and [m, d] of texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from app.encoders.architecture import CLASSES

if TYPE_CHECKING:
    from collections.abc import Sequence

TEMPERATURE = 0.04
CLASS_TEMPERATURE = 0.05


def pool_all(vectors: Tensor, counts: Sequence[int]) -> Tensor:
    """Head outputs of all windows [sum of counts, d] → unit vectors [n, d] of the examples.

    As the service pools them: each window's unit vector counts alike.
    """
    units = functional.normalize(vectors.float(), dim=1)
    owner = torch.as_tensor(np.repeat(np.arange(len(counts)), counts), device=units.device)
    sums = units.new_zeros(len(counts), units.shape[1])
    return functional.normalize(sums.index_add(0, owner, units), dim=1)


def pick(vectors: Tensor, texts: Tensor, right: Tensor, also: Tensor) -> Tensor:
    """Cross-entropy of picking caption `right[i]` for example i among all m texts.

    Captions that fit too, `also` [n, m], are no rivals.
    """
    logits = vectors @ texts.T / TEMPERATURE
    rivals = logits.masked_fill(also, float("-inf"))
    rivals = rivals.scatter(1, right[:, None], logits.gather(1, right[:, None]))
    return functional.cross_entropy(rivals, right)


def likely(logits: Tensor) -> Tensor:
    """A classifier's logits [n, classes] as shares of classes that sum to 1."""
    if _exclude_each_other(logits):
        return logits.softmax(1)
    each = logits.sigmoid()
    shares: Tensor = each / each.sum(1, keepdim=True)
    return shares


def keep_names(vectors: Tensor, names: Tensor, shares: Tensor, weights: Tensor) -> Tensor:
    """How badly the classes' names are ranked by their shares: KL divergence, weighted [n].

    This is ConSE's idea as a loss: the likeliest class's name lies nearest.
    """
    scores = (vectors @ names.T / CLASS_TEMPERATURE).log_softmax(1)
    surprise: Tensor = (torch.special.xlogy(shares, shares) - shares * scores).sum(1)
    return (weights * surprise).mean()


def keep_logits(now: Tensor, then: Tensor, weights: Tensor) -> Tensor:
    """How far the trunk has moved from what the starting classifier reads in it, weighted [n]."""
    if _exclude_each_other(now):
        old = then.log_softmax(1)
        moved = (old.exp() * (old - now.log_softmax(1))).sum(1)
    else:
        old = then.sigmoid()
        moved = functional.binary_cross_entropy_with_logits(now, old, reduction="none").sum(1)
        moved = moved - functional.binary_cross_entropy(old, old, reduction="none").sum(1)
    return (weights * moved).mean()


def _exclude_each_other(logits: Tensor) -> bool:
    """Whether logits are of ImageNet's classes; several of AudioSet's 521 may be heard at once."""
    return logits.shape[1] == CLASSES
