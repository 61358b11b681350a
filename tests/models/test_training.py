"""The losses, the analytic start and the pooling that training shares with the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn import functional

from app.encoders.architecture import CLASSES, BertShape
from app.encoders.minilm import TextTower
from app.encoders.mobilenet import MobileNetV1, MobileNetV2Late
from app.encoders.networks import AudioTower, ImageHead, ImageTower, MlpHead
from models.recipe import examples as recipe_examples
from models.recipe import train
from models.recipe.corpus import Part
from models.recipe.examples import early, features, gather, late, learning, taken
from models.recipe.losses import keep_logits, keep_names, likely, pick, pool_all
from models.recipe.start import install_classes, install_head, tensor_of
from models.recipe.train import Lesson, Shown, Trainer, vectors_of

if TYPE_CHECKING:
    from pathlib import Path

    from models.recipe.examples import Examples


def silent(_: str) -> None:
    pass


def unit(rows: int, dimensions: int, seed: int = 1) -> torch.Tensor:
    source = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(rows, dimensions, generator=source), dim=1)


def test_pick_has_no_rival_in_what_also_fits() -> None:
    texts = unit(4, 32)
    vectors, right = texts[:2], torch.tensor([0, 1])
    none = torch.zeros(2, 4, dtype=torch.bool)
    assert pick(vectors, texts, right, none) < 0.01
    assert pick(vectors, texts, right.roll(1), none) > 5
    # The first caption fits both, so that it is no rival of the second for either.
    fits = none.clone()
    fits[:, 0] = True
    same = texts[[0, 0]]
    assert pick(same, texts, torch.tensor([0, 0]), fits) < 0.01
    assert pick(same, texts[:2], torch.tensor([1, 1]), fits[:, :2]) == pytest.approx(0, abs=1e-6)


def test_keep_names_is_zero_where_cosines_rank_as_the_shares() -> None:
    names = torch.eye(20, 32)
    vectors = unit(8, 32)
    shares = (vectors @ names.T / 0.05).softmax(1)
    weights = torch.ones(8)
    assert keep_names(vectors, names, shares, weights) == pytest.approx(0, abs=1e-5)
    near = functional.normalize(vectors + 0.1 * unit(8, 32, seed=3), dim=1)
    far = unit(8, 32, seed=4)
    little, much = (keep_names(one, names, shares, weights) for one in (near, far))
    assert 0 < little < much
    assert keep_names(far, names, shares, torch.zeros(8)) == 0


@pytest.mark.parametrize("classes", [521, 1000])
def test_keep_logits_grows_with_the_distance_from_the_start(classes: int) -> None:
    then = torch.randn(4, classes, generator=torch.Generator().manual_seed(1))
    weights = torch.ones(4)
    assert keep_logits(then, then, weights) == pytest.approx(0, abs=1e-3)
    little, much = (
        keep_logits(then + shift * unit(4, classes), then, weights) for shift in (9, 90)
    )
    assert 0 < little < much
    assert likely(then).sum(1) == pytest.approx(1, abs=1e-5)


def test_analytic_head_embeds_near_the_names_of_likely_classes() -> None:
    features, dimensions, classes = 12, 32, 6
    torch.manual_seed(5)
    head = MlpHead(features, 2 * dimensions, dimensions)
    weight, bias = 3 * torch.eye(classes, features), torch.zeros(classes)
    names = unit(classes, dimensions, seed=6)
    install_head(head, (weight, bias), names, scale=2.0, threshold=7.0)
    # Logits 9 and 6 for two classes and none for the others: ConSE's order is that of the logits.
    example = torch.zeros(1, features)
    example[0, 2], example[0, 4] = 3.0, 2.0
    with torch.no_grad():
        cosines = (functional.normalize(head(example), dim=1) @ names.T)[0]
    logits = (example @ weight.T + bias)[0]
    conse = functional.normalize(logits.softmax(0) @ names, dim=0) @ names.T
    assert cosines.argsort(descending=True)[:2].tolist() == [2, 4]
    assert conse.argmax() == 2
    assert cosines[2] > 0.85


def test_hidden_units_that_the_start_leaves_over_say_nothing() -> None:
    head = MlpHead(12, 64, 32)
    install_head(head, (torch.ones(6, 12), torch.zeros(6)), unit(6, 32), 2.0, 7.0)
    assert torch.count_nonzero(head.fc2.weight[:, 6:]) == 0
    assert torch.count_nonzero(head.fc1.weight[6:]) > 0


def test_inputs_are_stacked_as_the_trunks_take_them() -> None:
    pictures = [np.full((4, 4, 3), value, dtype=np.uint8) for value in (0, 255)]
    batch = tensor_of(pictures)
    assert batch.shape == (2, 3, 4, 4)
    assert (batch.min(), batch.max()) == (-1, 1)
    sounds = [np.zeros((count, 96, 64), dtype=np.float16) for count in (1, 3)]
    assert tensor_of(sounds).shape == (4, 1, 96, 64)


def test_sounds_of_several_windows_are_pooled_one_by_one() -> None:
    vectors = torch.randn(5, 16, generator=torch.Generator().manual_seed(7))
    together = pool_all(vectors, [1, 3, 1])
    alone = [functional.normalize(part, dim=1).mean(0) for part in vectors.split([1, 3, 1])]
    torch.testing.assert_close(together, functional.normalize(torch.stack(alone), dim=1))


def orthonormal(rows: int, columns: int) -> torch.Tensor:
    return torch.nn.init.orthogonal_(torch.empty(rows, columns))


@torch.no_grad()
def test_image_head_starts_as_the_mean_of_likely_classes_names() -> None:
    torch.manual_seed(6)
    head, projection = ImageHead(12, 8, 16), orthonormal(16, 8)
    classifier = (torch.randn(CLASSES, 12), torch.randn(CLASSES))
    names = functional.normalize(unit(CLASSES, 8) @ projection.T, dim=1)
    install_classes(head, classifier, names, projection)
    features = torch.randn(5, 12)
    shares = (3 * functional.linear(features, *classifier)).softmax(1)
    learnt = torch.randn(5, 12)  # of which nothing is heard yet
    torch.testing.assert_close(head(torch.cat([features, learnt], dim=1)), shares @ names)
    assert torch.count_nonzero(head.learnt.fc1.weight) > 0


@pytest.mark.parametrize(
    ("tower", "shape"),
    [(ImageTower(8, 16), (2, 3, 225, 225)), (AudioTower(16), (2, 1, 96, 64))],
)
def test_early_and_late_stages_and_the_head_are_the_tower(
    tower: AudioTower | ImageTower, shape: tuple[int, ...]
) -> None:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(9))
    with torch.no_grad():
        torch.testing.assert_close(tower.head(late(tower, early(tower, x))), tower(x))


def sounding(tmp_path: Path, captions: dict[str, int]) -> tuple[AudioTower, Examples]:
    """An untrained tower and three examples of two sources, the second of three windows."""
    torch.manual_seed(8)
    tower = AudioTower(16)
    digits, sounds = Part("digits"), Part("sounds")
    random = np.random.default_rng(8)
    loud, long, soft = (
        random.normal(size=(windows, 96, 64)).astype(np.float16) for windows in (1, 3, 1)
    )
    digits.add(loud, ("one", "a voice"), "said one")
    digits.add(long, ("two",), "said two")
    sounds.add(soft, ("rain",), "rain")
    classifier = (torch.randn(521, MobileNetV1.features), torch.zeros(521))
    return tower, gather([digits, sounds], tower, classifier, captions, tmp_path / "audio", silent)


def test_gathering_joins_captions_rows_and_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe_examples, "SHARES", {"digits": 1.5, "sounds": 1.5})
    captions: dict[str, int] = {}
    _, examples = sounding(tmp_path, captions)
    assert list(captions) == ["one", "a voice", "two", "rain"]
    assert examples.caption_ids == [[0, 1], [2], [3]]
    assert examples.concepts == ["one", "two", "cloud with rain"]
    rows, counts = examples.of(np.array([2, 1]))
    assert (rows.tolist(), counts) == ([4, 1, 2, 3], [1, 3])
    assert taken(examples.rows[rows]).shape == (4, 256, 12, 8)
    assert examples.logits.shape == (5, 521)
    # Both sources are drawn alike, whatever their number.
    np.testing.assert_allclose(examples.weights, [0.25, 0.25, 0.5])


def teach(name: str, lesson: Lesson, captions: dict[str, int]) -> Trainer:
    """A trainer of one tower, with a tiny text tower that knows a few words."""
    shape = BertShape(vocab_size=60, hidden_size=12, num_hidden_layers=1, num_attention_heads=2)
    text = TextTower(shape, 16, 16)
    tokenizer = Tokenizer(
        WordLevel({"[UNK]": 1, **{w: 2 + n for n, w in enumerate(WORDS)}}, "[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    return Trainer(text, tokenizer, {name: lesson}, list(captions), 1, silent)


def trained(tmp_path: Path, steps: int) -> dict[str, torch.Tensor]:
    """A tiny model's audio tower after so many steps, resumed from what `tmp_path` holds."""
    captions: dict[str, int] = {}
    tower, examples = sounding(tmp_path, captions)
    classifier = (torch.randn(521, MobileNetV1.features), torch.zeros(521))
    lesson = Lesson(tower, examples, classifier, unit(521, 16))
    trainer = teach("audio", lesson, captions)
    trainer.tower("audio", steps, 3, tmp_path / "audio.pt")
    return {name: tensor.clone() for name, tensor in tower.state_dict().items()}


WORDS = ("[UNK]", "one", "two", "a", "voice", "rain", "shirt", "shoe", "star")


FEATURES = MobileNetV2Late.features
PICTURES = np.random.default_rng(7).integers(0, 256, (6, 225, 225, 3), dtype=np.uint8)


def seeing(tmp_path: Path) -> tuple[Lesson, Trainer]:
    """An untrained image tower and its trainer, with four photos and two emoji."""
    torch.manual_seed(7)
    captions: dict[str, int] = {}
    tower = ImageTower(8, 16).to(memory_format=torch.channels_last)
    photos, emoji = Part("clothing"), Part("emoji")
    for number, word in enumerate(("shirt", "shoe", "shirt", "shoe", "star", "star")):
        part = emoji if word == "star" else photos
        part.add(PICTURES[number], (word,), word)
    weight = functional.pad(torch.randn(CLASSES, FEATURES), (0, FEATURES))
    classifier = (weight, torch.zeros(CLASSES))
    examples = gather([photos, emoji], tower, classifier, captions, tmp_path / "image", silent)
    lesson = Lesson(tower, examples, classifier, unit(CLASSES, 16))
    return lesson, teach("image", lesson, captions)


def test_the_early_stages_of_the_audio_tower_stay(tmp_path: Path) -> None:
    tower, _ = sounding(tmp_path, {})
    before = {name: tensor.clone() for name, tensor in tower.state_dict().items()}
    after = trained(tmp_path, 2)
    changed = {name for name, tensor in after.items() if not torch.equal(tensor, before[name])}
    learns = ("trunk.blocks.3.", "trunk.blocks.4.", "head.")
    assert changed == {name for name in before if name.startswith(learns)}


def test_only_what_is_to_learn_changes(tmp_path: Path) -> None:
    lesson, trainer = seeing(tmp_path)
    learns = {id(parameter) for part in learning(lesson.tower) for parameter in part}
    before = {name: p.detach().clone() for name, p in lesson.tower.named_parameters()}
    trainer.tower("image", 2, 3, tmp_path / "image.pt")
    changed = {n for n, p in lesson.tower.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {n for n, p in lesson.tower.named_parameters() if id(p) in learns}
    assert {name.split(".")[0] for name in changed} == {"learnt", "head"}
    assert not any(name.startswith(("head.known", "head.proj")) for name in changed)


def test_a_head_learns_from_what_its_finished_tower_sees(tmp_path: Path) -> None:
    lesson, trainer = seeing(tmp_path)
    state = {name: tensor.clone() for name, tensor in lesson.tower.state_dict().items()}
    seen = features(lesson.tower, lesson.examples.rows)
    with torch.no_grad():
        exact = late(lesson.tower, early(lesson.tower, tensor_of(PICTURES)))
    torch.testing.assert_close(seen, exact, atol=0.1 * float(exact.std()), rtol=0.1)

    seen = torch.rand(seen.shape, generator=torch.Generator().manual_seed(2))

    def surprise() -> float:
        """How unlikely the pictures' own captions are."""
        with torch.no_grad():
            vectors = functional.normalize(lesson.tower.head(seen), dim=1)
            every = np.arange(len(seen))
            return float(trainer._captions("image", vectors, every, np.random.default_rng(1)))

    before = surprise()
    trainer.head("image", seen, 40, 6, tmp_path / "head.pt")
    assert surprise() < 0.5 * before
    for name, tensor in lesson.tower.state_dict().items():
        if not name.startswith("head.learnt."):
            torch.testing.assert_close(tensor, state[name])


def test_sounds_learn_to_rank_pictures_as_a_picture_of_the_same_does(tmp_path: Path) -> None:
    captions: dict[str, int] = {}
    tower, examples = sounding(tmp_path, captions)
    classifier = (torch.randn(521, MobileNetV1.features), torch.zeros(521))
    trainer = teach("audio", Lesson(tower, examples, classifier, unit(521, 16)), captions)
    pictures, of = unit(4, 16, seed=11), ["cloud with rain", "two", "cloud with rain", "moon"]
    shown = Shown(pictures, of)
    seen = torch.rand(5, MobileNetV1.features, generator=torch.Generator().manual_seed(2))

    def heard() -> torch.Tensor:
        with torch.no_grad():
            return pool_all(tower.head(seen), [1, 3, 1])

    with torch.no_grad():
        before = float(shown.loss(heard(), examples.concepts))
        # There is no picture of "one": whatever it sounds like costs nothing.
        other = heard()
        other[0] = pictures[3]
        assert float(shown.loss(other, examples.concepts)) == pytest.approx(before)
    trainer.head("audio", seen, 150, 3, tmp_path / "head.pt", shown)
    with torch.no_grad():
        assert float(shown.loss(heard(), examples.concepts)) < 0.5 * before
    cosines = heard() @ functional.normalize(pictures, dim=1).T
    assert int(cosines[1].argmax()) == 1
    assert int(cosines[2].argmax()) in {0, 2}


def test_a_batch_of_which_there_is_no_picture_costs_nothing() -> None:
    shown = Shown(unit(2, 16), ["rain", "moon"])
    assert shown.loss(unit(3, 16, seed=2), ["one", "two", "three"]) == 0


def test_a_lesson_stays_on_its_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without the device as well: fake tensors know where they would be."""
    lesson, _ = seeing(tmp_path)
    losses: dict[str, torch.device] = {}

    def one_step(*arguments: Any) -> None:
        _, title, _, _, loss, *_ = arguments
        losses[title] = loss(np.random.default_rng(1)).device

    monkeypatch.setattr(Trainer, "_descend", one_step)
    with FakeTensorMode(), torch.device("cuda"):
        tower, names = ImageTower(8, 16), torch.randn(CLASSES, 16)
        classifier = (torch.randn(CLASSES, 2 * FEATURES), torch.zeros(CLASSES))
        there = Lesson(tower, lesson.examples, classifier, names)
        trainer = teach("image", there, {"shirt": 0, "shoe": 1, "star": 2})
        trainer.tower("image", 1, 3, tmp_path / "image.pt")
        seen = features(tower, lesson.examples.rows)
        shown = Shown(vectors_of(tower.head, seen), lesson.examples.concepts)
        trainer.head("image", seen, 1, 6, tmp_path / "head.pt", shown)
    assert {title: device.type for title, device in losses.items()} == {
        "the image tower": "cuda",
        "the image head": "cuda",
    }


def test_an_interrupted_training_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerCutError(Exception):
        pass

    save = train._save

    def save_once(*arguments: Any) -> None:
        save(*arguments)
        monkeypatch.setattr(train, "_save", save)
        raise PowerCutError

    monkeypatch.setattr(train, "CHECKPOINT_STEPS", 1)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for directory in (whole, broken):
        directory.mkdir()
    expected = trained(whole, 3)
    monkeypatch.setattr(train, "_save", save_once)
    with pytest.raises(PowerCutError):
        trained(broken, 3)
    for name, tensor in trained(broken, 3).items():
        torch.testing.assert_close(tensor, expected[name])
