"""Training: each tower's late stages and head alone, then all towers end to end.

Pictures and sounds learn to pick their caption among thousands; what the starting classifiers knew
is distilled: their classes' shares into the ranking of the classes' names, their logits into the
trunk, and, for classes of which the corpus holds no example, from features made up for them.
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

from app.encoders.minilm import pad_tokens
from models.recipe.examples import early, half_precision, late, late_parameters, taken
from models.recipe.losses import (
    CLASS_TEMPERATURE,
    IMAGENET,
    contrast,
    keep_likeness,
    keep_logits,
    keep_names,
    likely,
    pick,
    pool_all,
)
from models.recipe.start import encode_texts, tensor_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    from app.encoders.bundled import ConvTower
    from app.encoders.minilm import TextTower
    from models.recipe.examples import Examples, Trunk
    from models.recipe.files import Classifier

TRUNK_RATES, HEAD_RATE = {"image": 1e-4, "audio": 3e-4}, 1e-3  # of a tower alone
WARM_UP = 100
# All towers end to end: rates, smaller by as much as more may be lost.
END_RATES = {"trunk": 3e-5, "head": 3e-4, "text": 5e-6}
# What is kept of the start, against picking captions: of what photos show there is little in the
# corpus, so that all else that the image trunk sees in them must be held; sounds are many.
NAMES_KEPT = {"image": 1.0, "audio": 0.6}
LOGITS_KEPT = {"image": 10.0, "audio": 2.0}
MADE_UP_KEPT = 0.5
KEPT_AT_THE_END = 3.0  # times as much, when all that is to be learnt has been
# Of mixtures of photos, on which the image tower is to say what its start says of the same.
MIXED_NAMES_KEPT, MIXED_LOGITS_KEPT = 1.0, 10.0
RECALL_RATE = 0.5  # of the rates of a tower alone
FINAL_HEAD_RATE = 5e-4
SHOWN = 3.0  # of sounds, against picking captions: few of them are of what there are pictures of
MOST_DISTURBED = 0.6  # standard deviation of a made-up feature's logarithm
TEXT_KEPT = 200.0
RIVALS = 3000  # captions drawn in each step beside those of the batch and all names
MADE_UP = 64
CHECKPOINT_STEPS = 200
HEADS_AT_ONCE = 4096


@dataclass
class Lesson:
    """A tower, its examples, and what of the start is kept of it.

    `names` float32 [classes, d]: the classes' names; `classifier`: the start's last layer, and
    `start` its trunk, of which mixtures of examples are asked (a tower of which few of the start's
    classes are in the corpus needs it).
    """

    tower: ConvTower
    examples: Examples
    classifier: Classifier
    names: Tensor
    start: Trunk | None = None


@dataclass
class Texts:
    """Every caption once: token ids, and float32 [m, d] unit vectors of the start."""

    tokens: list[Tensor]
    start: Tensor


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
        self._text = text
        self._lessons = lessons
        tokens = [torch.tensor(entry.ids) for entry in tokenizer.encode_batch(list(captions))]
        self._texts = Texts(tokens, encode_texts(text, tokenizer, captions))
        self._seed = seed
        self._say = say
        self._always = {
            name: np.unique([ids[0] for ids in lesson.examples.caption_ids])
            for name, lesson in lessons.items()
        }
        self._all = {
            name: np.unique(list(chain(*lesson.examples.caption_ids)))
            for name, lesson in lessons.items()
        }

    def alone(self, name: str, steps: int, size: int, checkpoint: Path) -> None:
        """Train a tower's late stages and head against the start's texts; resumable."""
        lesson = self._lessons[name]
        optimiser = _late_optimiser(lesson.tower, TRUNK_RATES[name], HEAD_RATE)

        def loss(source: np.random.Generator) -> Tensor:
            return self._late_loss(name, size, source)

        self._descend(f"{name} alone", optimiser, [lesson.tower], loss, steps, checkpoint)

    def recall(self, name: str, steps: int, size: int, checkpoint: Path) -> None:
        """Bring back what a tower alone has forgotten, by mixtures of photos; resumable.

        A photo that was not trained on is more like a mixture than like those that were, and there
        are as many mixtures as wanted (Beyer et al. 2022, "Knowledge distillation: A good teacher
        is patient and consistent", arXiv 2106.05237).
        """
        lesson = self._lessons[name]
        rates = (RECALL_RATE * TRUNK_RATES[name], RECALL_RATE * HEAD_RATE)
        optimiser = _late_optimiser(lesson.tower, *rates)

        def loss(source: np.random.Generator) -> Tensor:
            mixed = self._mixtures(lesson, 2 * size, source)
            return mixed + self._late_loss(name, size, source)

        self._descend(f"{name} recalls", optimiser, [lesson.tower], loss, steps, checkpoint)

    def together(self, steps: int, sizes: Mapping[str, int], checkpoint: Path) -> None:
        """Train all towers, every layer of them; resumable."""
        towers = [lesson.tower for lesson in self._lessons.values()]
        groups = [
            {"params": part.parameters(), "lr": END_RATES[kind]}
            for tower in towers
            for kind, part in (("trunk", tower.trunk), ("head", tower.head))
        ]
        groups.append({"params": self._text.parameters(), "lr": END_RATES["text"]})
        optimiser = torch.optim.AdamW(groups, weight_decay=0.0)

        def loss(source: np.random.Generator) -> Tensor:
            total = torch.zeros(())
            for name, lesson in self._lessons.items():
                examples = lesson.examples
                chosen = examples.draw(source, sizes[name])
                rows, counts = examples.of(chosen)
                x = tensor_of([examples.inputs[one] for one in chosen])
                total = total + self._lesson_loss(
                    name, _whole, x, chosen, rows, counts, source, live=True
                )
            return total

        self._descend("all towers", optimiser, [*towers, self._text], loss, steps, checkpoint)

    def head(
        self,
        name: str,
        seen: Tensor,
        steps: int,
        size: int,
        checkpoint: Path,
        shown: Shown | None = None,
    ) -> None:
        """Train a head at length on what its finished trunk sees, float32 [rows, f]; resumable.

        Without the trunk a step costs little, and what the start's last layer says of any features,
        mixed or disturbed, is known without looking at an example. With `shown`, examples of what
        there are pictures of rank all pictures as those pictures do, too.
        """
        lesson = self._lessons[name]
        head, examples = lesson.tower.head, lesson.examples
        logits = torch.from_numpy(examples.logits)
        kept = np.flatnonzero(np.repeat(examples.kept, np.diff(examples.starts)) == 1)
        optimiser = torch.optim.AdamW(head.parameters(), lr=FINAL_HEAD_RATE, weight_decay=0.01)

        def mixtures(source: np.random.Generator) -> tuple[Tensor, Tensor]:
            one, other = (source.choice(kept, size) for _ in range(2))
            share = torch.from_numpy(source.uniform(0.5, 1, (size, 1))).float()
            mixed = share * seen[one] + (1 - share) * seen[other]
            said = share * logits[one].float() + (1 - share) * logits[other].float()
            noise = source.normal(0, 1, mixed.shape) * source.uniform(0, MOST_DISTURBED, (size, 1))
            disturbed = mixed * torch.from_numpy(np.exp(noise)).float()
            return disturbed, said + functional.linear(disturbed - mixed, lesson.classifier[0])

        def loss(source: np.random.Generator) -> Tensor:
            chosen = examples.draw(source, size)
            rows, counts = examples.of(chosen)
            made, said = mixtures(source)
            with half_precision():
                out = head["mlp"](torch.cat([seen[rows], made]))
            vectors = pool_all(out[: len(rows)], counts)
            shares = _means(likely(logits[rows].float()), counts)
            weights = torch.from_numpy(examples.kept[chosen])
            known = keep_names(vectors, lesson.names, shares, weights)
            mixed = functional.normalize(out[len(rows) :].float(), dim=1)
            known = known + keep_names(mixed, lesson.names, likely(said), torch.ones(size))
            learnt = self._captions(name, vectors, chosen, source)
            if shown is not None:
                learnt = learnt + SHOWN * shown.loss(
                    vectors, [examples.concepts[one] for one in chosen]
                )
            return learnt + NAMES_KEPT[name] * known

        self._descend(f"the {name} head", optimiser, [head], loss, steps, checkpoint)

    def _descend(
        self,
        title: str,
        optimiser: torch.optim.Optimizer,
        modules: Sequence[nn.Module],
        loss: Callable[[np.random.Generator], Tensor],
        steps: int,
        checkpoint: Path,
    ) -> None:
        """Take so many steps down the loss, from the checkpoint if there is one.

        Every step's random numbers come from its own seed, so that a resumed run is the same run.
        """
        first = 0
        if checkpoint.exists():
            saved = torch.load(checkpoint)
            for module, state in zip(modules, saved["modules"], strict=True):
                module.load_state_dict(state)
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
            for module in modules:
                nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            if step % 50 == 0:
                self._say(f"{title}, step {step} of {steps}: loss {value.item():.3f}")
            if (step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == steps:
                _save(checkpoint, modules, optimiser, step + 1)

    def _late_loss(self, name: str, size: int, source: np.random.Generator) -> Tensor:
        """The loss of some examples from what the early stages made of them."""
        examples = self._lessons[name].examples
        chosen = examples.draw(source, size)
        rows, counts = examples.of(chosen)
        return self._lesson_loss(
            name, late, taken(examples.rows[rows]), chosen, rows, counts, source
        )

    def _mixtures(self, lesson: Lesson, size: int, source: np.random.Generator) -> Tensor:
        """How far the tower is from its start on mixtures of two photos each."""
        assert lesson.start is not None
        examples = lesson.examples
        photos = np.flatnonzero(examples.kept == 1)
        share = torch.from_numpy(source.uniform(0.5, 1, (size, 1, 1, 1))).float()
        one, other = (taken(examples.rows[source.choice(photos, size)]) for _ in range(2))
        x = (share * one + (1 - share) * other).contiguous(memory_format=torch.channels_last)
        with half_precision():
            features = late(lesson.tower.trunk, x)
            with torch.no_grad():
                before = late(lesson.start, x)
        features = features.float()
        now, then = (functional.linear(f.float(), *lesson.classifier) for f in (features, before))
        vectors = functional.normalize(lesson.tower.head["mlp"](features), dim=1)
        alike = torch.ones(size)
        named = keep_names(vectors, lesson.names, likely(then), alike)
        return MIXED_NAMES_KEPT * named + MIXED_LOGITS_KEPT * keep_logits(now, then, alike)

    def _lesson_loss(
        self,
        name: str,
        look: Callable[[Trunk, Tensor], Tensor],
        x: Tensor,
        chosen: NDArray[np.intp],
        rows: NDArray[np.intp],
        counts: list[int],
        source: np.random.Generator,
        *,
        live: bool = False,
    ) -> Tensor:
        """The loss of some examples; `live` lets the text tower learn with them."""
        lesson = self._lessons[name]
        tower, examples = lesson.tower, lesson.examples
        with half_precision():
            features = look(tower.trunk, x)
        features = features.float()
        vectors = pool_all(tower.head["mlp"](features), counts)
        kept = torch.from_numpy(examples.kept[chosen])
        by_row = torch.repeat_interleave(kept, torch.tensor(counts))
        then = torch.from_numpy(examples.logits[rows]).float()
        shares = _means(likely(then), counts)
        known = NAMES_KEPT[name] * keep_names(vectors, lesson.names, shares, kept)
        now = functional.linear(features, *lesson.classifier)
        known = known + LOGITS_KEPT[name] * keep_logits(now, then, by_row)
        known = known + MADE_UP_KEPT * self._made_up(lesson, features.detach(), source)
        learnt = self._captions(name, vectors, chosen, source)
        if live:
            return learnt + KEPT_AT_THE_END * known + self._live(vectors, chosen, examples, source)
        return learnt + known

    def _captions(
        self, name: str, vectors: Tensor, chosen: NDArray[np.intp], source: np.random.Generator
    ) -> Tensor:
        """Pick one of each example's captions among all names and a sample of other captions."""
        fit = [self._lessons[name].examples.caption_ids[one] for one in chosen]
        others = source.choice(self._all[name], min(RIVALS, len(self._all[name])), replace=False)
        own = np.array(list(chain(*fit)))
        candidates = np.unique(np.concatenate([self._always[name], others, own]))
        places = [np.searchsorted(candidates, ids) for ids in fit]
        also = torch.zeros(len(fit), len(candidates), dtype=torch.bool)
        for row, place in enumerate(places):
            also[row, torch.from_numpy(place)] = True
        right = torch.tensor([int(source.choice(place)) for place in places])
        return pick(vectors, self._texts.start[torch.from_numpy(candidates)], right, also)

    def _made_up(self, lesson: Lesson, features: Tensor, source: np.random.Generator) -> Tensor:
        """Keep the head's knowledge of all classes, on features made up for some of them.

        A real example's features are moved along a class's row of the classifier until it says
        that class as firmly as it does of a good example.
        """
        weight, bias = lesson.classifier
        classes = torch.from_numpy(source.integers(0, len(weight), MADE_UP))
        base = features[torch.from_numpy(source.integers(0, len(features), MADE_UP))]
        base = base * torch.from_numpy(source.uniform(0.2, 1.0, (MADE_UP, 1))).float()
        towards = weight[classes].clamp(min=0)
        said = (base * weight[classes]).sum(1) + bias[classes]
        low, high = (8.0, 15.0) if len(weight) >= IMAGENET else (0.0, 4.0)
        wanted = torch.from_numpy(source.uniform(low, high, MADE_UP)).float()
        length = (wanted - said).clamp(min=0) / (towards * weight[classes]).sum(1).clamp(min=1e-6)
        made = base + length[:, None] * towards
        shares = likely(functional.linear(made, weight, bias))
        vectors = functional.normalize(lesson.tower.head["mlp"](made), dim=1)
        return keep_names(vectors, lesson.names, shares, torch.ones(MADE_UP))

    def _live(
        self,
        vectors: Tensor,
        chosen: NDArray[np.intp],
        examples: Examples,
        source: np.random.Generator,
    ) -> Tensor:
        """Contrast with captions as the text tower writes them now, kept as alike as they were."""
        owned = [set(examples.caption_ids[one]) for one in chosen]
        texts = [int(source.choice(examples.caption_ids[one])) for one in chosen]
        fits = torch.tensor([[text in known for text in texts] for known in owned])
        tokens = pad_tokens([self._texts.tokens[text] for text in texts])
        written = functional.normalize(self._text(tokens), dim=1)
        start = self._texts.start[texts]
        moved = (written - start).square().sum(1).mean()
        kept = keep_likeness(written, start) + moved
        return contrast(vectors, written, fits | fits.T) + TEXT_KEPT * kept


def _late_optimiser(tower: ConvTower, trunk_rate: float, head_rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        [
            {"params": late_parameters(tower.trunk), "lr": trunk_rate},
            {"params": tower.head.parameters(), "lr": head_rate},
        ],
        weight_decay=0.01,
    )


def average(module: nn.Module, start: Mapping[str, Tensor], trained_share: float) -> None:
    """Move a trained module back towards its start, weight by weight.

    What was not trained on is remembered better so, and little of what was learnt is lost
    (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models", arXiv 2109.01903).
    """
    module.load_state_dict(
        {
            name: trained_share * tensor + (1 - trained_share) * start[name]
            for name, tensor in module.state_dict().items()
        }
    )


@torch.no_grad()
def vectors_of(head: nn.Module, seen: Tensor) -> Tensor:
    """Unit vectors [n, d] of what a trunk made of examples, float32 [n, f]."""
    parts = [functional.normalize(head(part), dim=1) for part in torch.split(seen, HEADS_AT_ONCE)]
    return torch.cat(parts)


def _whole(trunk: Trunk, x: Tensor) -> Tensor:
    return late(trunk, early(trunk, x))


def _means(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Each example's mean over its rows: [sum of counts, c] → [n, c]."""
    return torch.stack([part.mean(0) for part in torch.split(rows, list(counts))])


def _save(
    path: Path, modules: Sequence[nn.Module], optimiser: torch.optim.Optimizer, steps: int
) -> None:
    draft = path.with_suffix(".draft")
    torch.save(
        {
            "modules": [module.state_dict() for module in modules],
            "optimiser": optimiser.state_dict(),
            "steps": steps,
        },
        draft,
    )
    draft.rename(path)
