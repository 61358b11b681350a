"""Training: first the heads on what the trunks see, then all towers end to end.

Contrastive learning pulls each picture or sound to its captions and away from the others' (Radford
et al. 2021); what fits several captions is not pushed away from any of them. Distillation keeps
the start: a photo's likeness to ImageNet's classes, a sound's to AudioSet's, a text's direction.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.minilm import pad_tokens
from models.recipe.start import encode_texts, tensor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from app.encoders.bundled import ConvTower, TowerModules
    from models.recipe.corpus import Part

TEMPERATURE = 0.05
CLASS_TEMPERATURE = 0.05
# How often each source is drawn, and how strongly it is held to the start.
SHARES = {
    "clothing": 2.0,
    "grocery": 2.0,
    "emoji": 3.0,
    "scenes": 3.0,
    "words": 1.0,
    "digits": 1.5,
    "speech": 3.0,
    "sounds": 2.0,
}
KEPT = {"clothing": 1.0, "grocery": 1.0, "emoji": 0.1, "words": 0.1, "sounds": 0.1}
TEXT_KEPT = 20.0
AT_ONCE = 16  # larger batches of pictures leave the processor's cache


@dataclass
class Set:
    """Examples of one modality, ready to draw from.

    `inputs[i]` is a picture or a sound's windows, `features[i]` float32 [windows, f] what the
    start's trunk makes of it, `start[i]` [d] the start's vector, `caption_ids[i]` rows of the
    texts that fit.
    """

    inputs: list[NDArray[Any]]
    features: list[Tensor]
    start: Tensor
    caption_ids: list[list[int]]
    groups: list[int]
    kept: Tensor
    weights: NDArray[np.float64]

    def draw(self, source: np.random.Generator, size: int) -> NDArray[np.intp]:
        return source.choice(len(self.weights), min(size, len(self.weights)), False, self.weights)


@dataclass
class Texts:
    """Every caption once: token ids, and float32 [n, d] unit vectors of the start."""

    tokens: list[Tensor]
    start: Tensor


def gather(parts: Sequence[Part], tower: ConvTower, captions: dict[str, int], cache: Path) -> Set:
    """Put parts of one modality together and run the start's tower over them.

    What the trunk makes of them is kept in the file `cache`.
    """
    inputs = [content for part in parts for content in part.content]
    if cache.exists():
        features = list(torch.load(cache).split(window_counts(inputs)))
    else:
        features = trunk_features(tower, inputs)
        torch.save(torch.cat(features), cache)
    with torch.no_grad():
        start = torch.stack([pool(tower, part) for part in features])
    names: dict[str, int] = {}
    groups = [names.setdefault(group, len(names)) for part in parts for group in part.groups]
    weights = np.concatenate([np.full(len(p), SHARES[p.source] / len(p)) for p in parts])
    return Set(
        inputs=inputs,
        features=features,
        start=start,
        caption_ids=[
            [captions.setdefault(text, len(captions)) for text in texts]
            for part in parts
            for texts in part.captions
        ],
        groups=groups,
        kept=torch.tensor([KEPT.get(p.source, 0.0) for p in parts for _ in range(len(p))]),
        weights=weights / weights.sum(),
    )


@torch.no_grad()
def trunk_features(tower: ConvTower, inputs: Sequence[NDArray[Any]]) -> list[Tensor]:
    """What the trunk makes of each input: float32 [windows, f], one window for a picture."""
    out: list[Tensor] = []
    for start in range(0, len(inputs), AT_ONCE):
        part = inputs[start : start + AT_ONCE]
        out += tower.trunk(tensor_of(part)).split(window_counts(part))
    return out


def window_counts(inputs: Iterable[NDArray[Any]]) -> list[int]:
    return [1 if one.dtype == np.uint8 else len(one) for one in inputs]


def pool(tower: ConvTower, features: Tensor) -> Tensor:
    """[windows, f] → the unit vector [d] of the whole, as the service makes it."""
    vectors = functional.normalize(tower.head["mlp"](features), dim=1)
    return functional.normalize(vectors.mean(0), dim=0)


def pool_all(tower: ConvTower, features: Tensor, counts: Sequence[int]) -> Tensor:
    """[all windows, f] → unit vectors [n, d] of examples with so many windows each."""
    vectors = functional.normalize(tower.head["mlp"](features), dim=1)
    owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    sums = torch.zeros(len(counts), vectors.shape[1]).index_add(0, owner, vectors.float())
    return functional.normalize(sums, dim=1)


def contrast(one: Tensor, other: Tensor, fits: Tensor) -> Tensor:
    """InfoNCE in both directions over unit vectors [n, d]; `fits` [n, n] says what is a match."""
    logits = one @ other.T / TEMPERATURE
    targets = fits.float()
    losses = [
        -(t / t.sum(1, keepdim=True) * scores.log_softmax(1)).sum(1).mean()
        for t, scores in ((targets, logits), (targets.T, logits.T))
    ]
    return (losses[0] + losses[1]) / 2


def keep_classes(vectors: Tensor, start: Tensor, classes: Tensor, weights: Tensor) -> Tensor:
    """How far vectors have moved among the classes' names since the start, KL divergence."""
    if not bool(weights.any()):
        return vectors.sum() * 0
    now = (vectors @ classes.T / CLASS_TEMPERATURE).log_softmax(1)
    then = (start @ classes.T / CLASS_TEMPERATURE).log_softmax(1)
    moved = (then.exp() * (then - now)).sum(1)
    return (weights * moved).mean()


def _descend(
    optimiser: torch.optim.Optimizer, loss: Tensor, clipped: Sequence[nn.Module] = ()
) -> None:
    """Take one step; the gradients of the `clipped` modules are at most 1 long."""
    optimiser.zero_grad()
    torch.autograd.backward(loss)
    for module in clipped:
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimiser.step()


def copy_state(tower: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tower.state_dict().items()}


def average(tower: nn.Module, start: Mapping[str, Tensor], trained_share: float) -> None:
    """Move a trained tower back towards its start, weight by weight.

    What was not trained on is remembered better so, and little of what was learnt is lost
    (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
    """
    trained = tower.state_dict()
    tower.load_state_dict(
        {
            name: trained_share * tensor + (1 - trained_share) * start[name]
            for name, tensor in trained.items()
        }
    )


class Trainer:
    """Trains the towers of a model in place."""

    def __init__(
        self,
        modules: TowerModules,
        tokenizer: Tokenizer,
        images: Set,
        audio: Set,
        captions: Sequence[str],
        classes: dict[str, Tensor],
        seed: int,
    ) -> None:
        """`classes` holds the start's class vectors [classes, d] of "image" and "audio"."""
        self._modules = modules
        self._sets = {"image": (modules.image, images), "audio": (modules.audio, audio)}
        self._classes = classes
        tokens = [torch.tensor(entry.ids) for entry in tokenizer.encode_batch(list(captions))]
        self._texts = Texts(tokens, encode_texts(modules.text, tokenizer, captions))
        self._source = np.random.default_rng(seed)
        self._pick = random.Random(seed)

    def heads(self, steps: int, batch: int, say: Callable[[str], None]) -> None:
        """Train both heads on the start's features against the start's text vectors."""
        for name, (tower, examples) in self._sets.items():
            head = tower.head
            optimiser = torch.optim.AdamW(head.parameters(), 3e-4, weight_decay=0.01)
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, steps)
            for step in range(steps):
                rows = examples.draw(self._source, batch)
                texts, fits = self._targets(examples, rows)
                part = [examples.features[row] for row in rows]
                vectors = pool_all(tower, torch.cat(part), [len(one) for one in part])
                loss = contrast(vectors, self._texts.start[texts], fits) + self._kept(
                    name, vectors, examples, rows
                )
                _descend(optimiser, loss)
                schedule.step()
                if step % 50 == 0:
                    say(f"{name} head, step {step} of {steps}: loss {loss.item():.3f}")

    def together(
        self, until: float, sizes: dict[str, int], checkpoint: Path, say: Callable[[str], None]
    ) -> None:
        """Train all towers until the clock says so; goes on from `checkpoint` if there is one."""
        modules = self._modules
        groups = [
            {"params": tower.trunk.parameters(), "lr": 3e-5} for tower, _ in self._sets.values()
        ]
        groups += [
            {"params": tower.head.parameters(), "lr": 2e-4} for tower, _ in self._sets.values()
        ]
        groups.append({"params": modules.text.parameters(), "lr": 5e-6})
        optimiser = torch.optim.AdamW(groups, weight_decay=0.0)
        towers = {"image": modules.image, "audio": modules.audio, "text": modules.text}
        begun = time.time()
        if checkpoint.exists():
            saved = torch.load(checkpoint)
            for name, tower in towers.items():
                tower.load_state_dict(saved[name])
            optimiser.load_state_dict(saved["optimiser"])
            say(f"going on from {checkpoint.name}")
        rates = [group["lr"] for group in optimiser.param_groups]
        step = 0
        while (now := time.time()) < until:
            left = (until - now) / (until - begun)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * min(1.0, (step + 1) / 20) * min(1.0, left / 0.5)
            loss = self._step(sizes)
            _descend(optimiser, loss, (modules.image, modules.audio))
            if step % 10 == 0:
                say(f"all towers, step {step}, {until - now:.0f} s left: loss {loss.item():.3f}")
            if step % 50 == 49:
                torch.save(
                    {name: tower.state_dict() for name, tower in towers.items()}
                    | {"optimiser": optimiser.state_dict()},
                    checkpoint,
                )
            step += 1

    def _step(self, sizes: dict[str, int]) -> Tensor:
        loss = torch.zeros(())
        for name, (tower, examples) in self._sets.items():
            rows = examples.draw(self._source, sizes[name])
            texts, fits = self._targets(examples, rows)
            part = [examples.inputs[row] for row in rows]
            vectors = pool_all(tower, tower.trunk(tensor_of(part)), window_counts(part))
            written = self._written(texts)
            loss = loss + contrast(vectors, written, fits)
            loss = loss + self._kept(name, vectors, examples, rows)
            moved = 1 - (written * self._texts.start[texts]).sum(1)
            loss = loss + TEXT_KEPT * moved.mean()
        return loss

    def _kept(self, name: str, vectors: Tensor, examples: Set, rows: NDArray[np.intp]) -> Tensor:
        chosen = torch.from_numpy(rows)
        return keep_classes(
            vectors, examples.start[chosen], self._classes[name], examples.kept[chosen]
        )

    def _targets(self, examples: Set, rows: NDArray[np.intp]) -> tuple[list[int], Tensor]:
        """A caption for each example, and which of them fit which examples: [n, n]."""
        texts = [self._pick.choice(examples.caption_ids[row]) for row in rows]
        groups = torch.tensor([examples.groups[row] for row in rows])
        fits = groups[:, None] == groups[None, :]
        owned = [set(examples.caption_ids[row]) for row in rows]
        fits |= torch.tensor([[text in known for text in texts] for known in owned])
        return texts, fits

    def _written(self, texts: Sequence[int]) -> Tensor:
        tokens = pad_tokens([self._texts.tokens[text] for text in texts])
        return functional.normalize(self._modules.text(tokens), dim=1)
