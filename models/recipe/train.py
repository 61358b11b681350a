"""Training: each tower's late stages and head, then the heads at length.

Pictures and sounds learn to pick their caption among thousands of the text tower's, which stays as
it is; what the starting classifiers knew is distilled: their classes' shares into the ranking of
the classes' names, their logits into the late stages, and, for classes of which the corpus holds no
example, from features made up for them. An image classifier is a part of its tower that does not
learn, beside which the other part must not drown it.

All of it runs on PyTorch's default device, where the towers must be.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from app.encoders.architecture import CLASSES
from app.encoders.networks import ImageHead
from models.recipe.examples import half_precision, late, learning, taken
from models.recipe.losses import (
    CLASS_TEMPERATURE,
    keep_logits,
    keep_names,
    likely,
    pick,
    pool_all,
)
from models.recipe.start import SHARPNESS, encode_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from app.encoders.minilm import TextTower
    from models.recipe.examples import Examples, Tower
    from models.recipe.files import Classifier

LATE_RATES, HEAD_RATE = {"image": 3e-4, "audio": 3e-4}, 1e-3
WARM_UP = 100
# What is kept of the start, against picking captions.
NAMES_KEPT = {"image": 1.0, "audio": 0.6}
# The same for the heads at length, and how sharp the start's logits are then: pictures are to be
# nearest to the name of their likeliest class, which what was learnt of captions drowns in one of
# twelve photos otherwise.
NAMES_KEPT_AT_LAST = {"image": 8.0, "audio": 0.6}
SHARPNESS_AT_LAST = {"image": SHARPNESS, "audio": 1.0}
# Of photos that it did not learn from, what the image head has learnt is to say little.
QUIET = 2.0
LOGITS_KEPT = 2.0  # for sounds: what reads the image classifier's logits stays as it is
MADE_UP_KEPT = 0.5
FINAL_HEAD_RATE = 5e-4
SHOWN = 3.0  # of sounds, against picking captions: few of them are of what there are pictures of
MOST_DISTURBED = 0.6  # standard deviation of a made-up feature's logarithm
RIVALS = 3000  # captions drawn in each step beside those of the batch and all names
MADE_UP = 64
CHECKPOINT_STEPS = 200
HEADS_AT_ONCE = 4096


@dataclass
class Lesson:
    """A tower, its examples, and what of the start is kept of it.

    `names` float32 [classes, d]: the classes' names; `classifier`: the start's last layer.
    """

    tower: Tower
    examples: Examples
    classifier: Classifier
    names: Tensor


class Shown:
    """What there are pictures of: how a concept's pictures, taken together, rank all the others."""

    def __init__(self, vectors: Tensor, concepts: Sequence[str]) -> None:
        """`vectors` float32 [n, d], unit length, of pictures, and what each of them is of."""
        self._places = {name: place for place, name in enumerate(dict.fromkeys(concepts))}
        owner = torch.tensor([self._places[name] for name in concepts])
        sums = torch.zeros(len(self._places), vectors.shape[1]).index_add(0, owner, vectors)
        self._means = functional.normalize(sums, dim=1)

    def loss(self, vectors: Tensor, concepts: Sequence[str]) -> Tensor:
        """How badly unit vectors [n, d] rank the pictures; what no picture is of costs nothing."""
        own = self._means[[self._places.get(name, 0) for name in concepts]]
        shares = (own @ self._means.T / CLASS_TEMPERATURE).softmax(1)
        known = torch.tensor([float(name in self._places) for name in concepts])
        return keep_names(vectors, self._means, shares, known)


class Trainer:
    """Trains the towers of a model in place."""

    def __init__(
        self,
        text: TextTower,
        tokenizer: Tokenizer,
        lessons: Mapping[str, Lesson],
        captions: Sequence[str],
        seed: int,
        say: Callable[[str], None],
    ) -> None:
        """`lessons` are those of "image" and "audio"."""
        self._lessons = lessons
        self._texts = encode_texts(text, tokenizer, captions)
        self._seed = seed
        self._say = say
        for lesson in lessons.values():
            lesson.tower.requires_grad_(requires_grad=False)
            for parameter in chain(*learning(lesson.tower)):
                parameter.requires_grad_()
        self._always = {
            name: np.unique([ids[0] for ids in lesson.examples.caption_ids])
            for name, lesson in lessons.items()
        }
        self._all = {
            name: np.unique(list(chain(*lesson.examples.caption_ids)))
            for name, lesson in lessons.items()
        }

    def tower(self, name: str, steps: int, size: int, checkpoint: Path) -> None:
        """Train a tower's late stages and head; resumable."""
        tower = self._lessons[name].tower
        late_stages, head = learning(tower)
        groups = [
            {"params": late_stages, "lr": LATE_RATES[name]},
            {"params": head, "lr": HEAD_RATE},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=0.01)

        def loss(source: np.random.Generator) -> Tensor:
            return self._late_loss(name, size, source)

        self._descend(f"the {name} tower", optimiser, tower, loss, steps, checkpoint)

    def head(
        self,
        name: str,
        seen: Tensor,
        steps: int,
        size: int,
        checkpoint: Path,
        shown: Shown | None = None,
    ) -> None:
        """Train a head at length on what its finished tower sees, float32 [rows, f]; resumable.

        Without the late stages a step costs little, and what the start's last layer says of any
        features, mixed or disturbed, is known without looking at an example. With `shown`,
        examples of what there are pictures of rank all pictures as those pictures do, too.
        """
        lesson = self._lessons[name]
        head, examples = lesson.tower.head, lesson.examples
        _, parameters = learning(lesson.tower)
        logits = SHARPNESS_AT_LAST[name] * torch.as_tensor(examples.logits).float()
        # Of drawings, shapes and speech, for which the start was not made, nothing is kept now.
        kept = (examples.kept == 1).astype(np.float32)
        kept_rows = np.flatnonzero(np.repeat(kept, np.diff(examples.starts)))
        optimiser = torch.optim.AdamW(parameters, lr=FINAL_HEAD_RATE, weight_decay=0.01)

        def mixtures(source: np.random.Generator) -> tuple[Tensor, Tensor]:
            one, other = (source.choice(kept_rows, size) for _ in range(2))
            share = torch.as_tensor(source.uniform(0.5, 1, (size, 1))).float()
            mixed = share * seen[one] + (1 - share) * seen[other]
            said = share * logits[one] + (1 - share) * logits[other]
            noise = source.normal(0, 1, mixed.shape) * source.uniform(0, MOST_DISTURBED, (size, 1))
            disturbed = mixed * torch.as_tensor(np.exp(noise)).float()
            moved = functional.linear(disturbed - mixed, lesson.classifier[0])
            return disturbed, said + SHARPNESS_AT_LAST[name] * moved

        def loss(source: np.random.Generator) -> Tensor:
            chosen = examples.draw(source, size)
            rows, counts = examples.of(chosen)
            made, said = mixtures(source)
            with half_precision():
                out = head(torch.cat([seen[rows], made]))
            vectors = pool_all(out[: len(rows)], counts)
            shares = _means(likely(logits[rows]), counts)
            weights = torch.as_tensor(kept[chosen])
            known = keep_names(vectors, lesson.names, shares, weights)
            mixed = functional.normalize(out[len(rows) :].float(), dim=1)
            known = known + keep_names(mixed, lesson.names, likely(said), torch.ones(size))
            learnt = self._captions(name, vectors, chosen, source)
            if isinstance(head, ImageHead):
                learnt = learnt + QUIET * _loudness(head, made)
            if shown is not None:
                learnt = learnt + SHOWN * shown.loss(
                    vectors, [examples.concepts[one] for one in chosen]
                )
            return learnt + NAMES_KEPT_AT_LAST[name] * known

        self._descend(f"the {name} head", optimiser, head, loss, steps, checkpoint)

    def _descend(
        self,
        title: str,
        optimiser: torch.optim.Optimizer,
        module: nn.Module,
        loss: Callable[[np.random.Generator], Tensor],
        steps: int,
        checkpoint: Path,
    ) -> None:
        """Take so many steps down the loss, from the checkpoint if there is one.

        Every step's random numbers come from its own seed, so that a resumed run is the same run.
        """
        first = 0
        if checkpoint.exists():
            saved = torch.load(checkpoint, map_location="cpu")  # training may go on elsewhere
            module.load_state_dict(saved["module"])
            optimiser.load_state_dict(saved["optimiser"])
            first = saved["steps"]
            self._say(f"{title}: going on from step {first}")
        warm_up = min(WARM_UP, math.ceil(steps / 4))
        rates = [group.setdefault("first_lr", group["lr"]) for group in optimiser.param_groups]
        for step in range(first, steps):
            pace = min(1.0, (step + 1) / warm_up) * (1 + math.cos(math.pi * step / steps)) / 2
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * pace
            value = loss(np.random.default_rng((self._seed, step)))
            optimiser.zero_grad()
            torch.autograd.backward(value)
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            if step % 50 == 0:
                self._say(f"{title}, step {step} of {steps}: loss {value.item():.3f}")
            if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
                _save(checkpoint, module, optimiser, step + 1)

    def _late_loss(self, name: str, size: int, source: np.random.Generator) -> Tensor:
        """The loss of some examples, from what the early stages made of them."""
        lesson = self._lessons[name]
        tower, examples = lesson.tower, lesson.examples
        chosen = examples.draw(source, size)
        rows, counts = examples.of(chosen)
        with half_precision():
            features = late(tower, taken(examples.rows[rows]))
        features = features.float()
        vectors = pool_all(tower.head(features), counts)
        kept = examples.kept[chosen]
        by_row = torch.as_tensor(np.repeat(kept, counts))
        then = torch.as_tensor(examples.logits[rows]).float()
        shares = _means(likely(then), counts)
        known = NAMES_KEPT[name] * keep_names(vectors, lesson.names, shares, torch.as_tensor(kept))
        now = functional.linear(features, *lesson.classifier)
        known = known + LOGITS_KEPT * keep_logits(now, then, by_row)
        known = known + MADE_UP_KEPT * self._made_up(lesson, features.detach(), source)
        return known + self._captions(name, vectors, chosen, source)

    def _captions(
        self, name: str, vectors: Tensor, chosen: NDArray[np.intp], source: np.random.Generator
    ) -> Tensor:
        """Pick one of each example's captions among all names and a sample of other captions."""
        fit = [self._lessons[name].examples.caption_ids[one] for one in chosen]
        others = source.choice(self._all[name], min(RIVALS, len(self._all[name])), replace=False)
        own = np.array(list(chain(*fit)))
        candidates = np.unique(np.concatenate([self._always[name], others, own]))
        places = [np.searchsorted(candidates, ids) for ids in fit]
        also = np.zeros((len(fit), len(candidates)), dtype=np.bool_)
        for row, place in enumerate(places):
            also[row, place] = True
        right = torch.tensor([int(source.choice(place)) for place in places])
        candidate_texts = self._texts[torch.as_tensor(candidates)]
        return pick(vectors, candidate_texts, right, torch.as_tensor(also))

    def _made_up(self, lesson: Lesson, features: Tensor, source: np.random.Generator) -> Tensor:
        """Keep the head's knowledge of all classes, on features made up for some of them.

        A real example's features are moved along a class's row of the classifier until it says
        that class as firmly as it does of a good example.
        """
        weight, bias = lesson.classifier
        classes = torch.as_tensor(source.integers(0, len(weight), MADE_UP))
        base = features[torch.as_tensor(source.integers(0, len(features), MADE_UP))]
        base = base * torch.as_tensor(source.uniform(0.2, 1.0, (MADE_UP, 1))).float()
        towards = weight[classes].clamp(min=0)
        said = (base * weight[classes]).sum(1) + bias[classes]
        low, high = (8.0, 15.0) if len(weight) == CLASSES else (0.0, 4.0)
        wanted = torch.as_tensor(source.uniform(low, high, MADE_UP)).float()
        length = (wanted - said).clamp(min=0) / (towards * weight[classes]).sum(1).clamp(min=1e-6)
        made = base + length[:, None] * towards
        shares = likely(functional.linear(made, weight, bias))
        vectors = functional.normalize(lesson.tower.head(made), dim=1)
        return keep_names(vectors, lesson.names, shares, torch.ones(MADE_UP))


def _loudness(head: ImageHead, features: Tensor) -> Tensor:
    """The mean square length of what was learnt to say of features [n, 2 f]."""
    _, learnt = features.chunk(2, dim=1)
    loudness: Tensor = head.learnt(learnt).square().sum(1).mean()
    return loudness


@torch.no_grad()
def vectors_of(head: nn.Module, seen: Tensor) -> Tensor:
    """Unit vectors [n, d] of what a tower made of examples, float32 [n, f]."""
    parts = [functional.normalize(head(part), dim=1) for part in torch.split(seen, HEADS_AT_ONCE)]
    return torch.cat(parts)


def _means(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Each example's mean over its rows: [sum of counts, c] → [n, c]."""
    return torch.stack([part.mean(0) for part in torch.split(rows, list(counts))])


def _save(path: Path, module: nn.Module, optimiser: torch.optim.Optimizer, steps: int) -> None:
    draft = path.with_suffix(".draft")
    torch.save(
        {
            "module": module.state_dict(),
            "optimiser": optimiser.state_dict(),
            "steps": steps,
        },
        draft,
    )
    draft.rename(path)
