"""What is measured, with which examples, and what is said when something is missing."""

from __future__ import annotations

import io
import json
import tarfile
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file

from app.cli.recipe import SUITES as OFFERED
from app.domain.modality import Modality
from app.encoders.calibration import Gap
from app.encoders.cards import Logistic, pair_of
from app.errors import InvalidInput
from models.recipe import kit as kit_files
from models.recipe.corpus import Part
from models.recipe.evaluate import Measured, evaluate, measure
from models.recipe.evaluation.examples import Examples
from models.recipe.evaluation.kept import (
    agreement,
    class_vectors,
    text_pairs,
    texts,
    top_classes,
)
from models.recipe.evaluation.measures import concept_recall, same_kind, share_of_texts
from models.recipe.evaluation.ranking import calibration, directions, mixed
from models.recipe.evaluation.report import as_json, table
from models.recipe.evaluation.subject import Subject, embed, weights_of
from models.recipe.evaluation.suites import SUITES
from tests.encoders.factories import DIMENSIONS, TinyTowers, vector
from tests.models.recordings import wav

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CURVES = {pair_of(one, other): Logistic(4.0, -1.0) for one in Modality for other in Modality}


def subject(**changes: Any) -> Subject:
    fields = {"name": "tiny", "towers": TinyTowers(), "gap": Gap({}), "curves": CURVES}
    return Subject(**(fields | changes))


def write_tar(path: Path, files: Mapping[str, bytes], records: list[dict[str, Any]]) -> None:
    listing = "\n".join(json.dumps(record) for record in records).encode()
    with tarfile.open(path, "w") as tar:
        for name, data in {**files, "captions.jsonl": listing}.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def picture(value: int, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(value).integers(0, 256, (16, 16, len(mode)), dtype=np.uint8)
    Image.fromarray(pixels, mode).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model kit of a handful of pictures and digits, in the real one's layout."""
    kit = tmp_path_factory.mktemp("kit")
    files, records = {}, []
    for number, label in enumerate(["dress", "hat", "T-Shirt", "dress"]):
        files[f"c{number}.png"] = picture(number)
        records.append({"file": f"c{number}.png", "split": "test", "labels": [label]})
    write_tar(kit / kit_files.CLOTHING, files, records)
    files, records = {}, []
    for number, (split, name) in enumerate([("val", "lime"), ("test", "lime"), ("test", "leek")]):
        files[f"g{number}.png"] = picture(10 + number)
        labels = ["food", "citrus" if name == "lime" else "leek", name]
        record = {"file": f"g{number}.png", "split": split, "labels": labels}
        records.append(record | {"description": f"A {name}. Green."})
    write_tar(kit / kit_files.GROCERY, files, records)
    files, records = {}, []
    for number, names in enumerate([["dog"], ["cat"], ["bell", "ring"], ["lime"], []]):
        files[f"e{number}.png"] = picture(20 + number, "RGBA")
        records.append({"file": f"e{number}.png", "names": names})
    write_tar(kit / kit_files.EMOJI, files, records)
    files, records = {}, []
    tone = np.sin(np.arange(16_000) / 9).astype(np.float32) / 2
    for number, speaker in enumerate(["theo", "theo", "jackson", "jackson"]):
        files[f"d{number}.wav"] = wav(tone * (number + 1) / 4)
        record = {"file": f"d{number}.wav", "split": "test", "speaker": speaker}
        records.append(record | {"digit": number % 2})
    write_tar(kit / kit_files.DIGITS, files, records)
    return kit


@pytest.fixture
def examples(kit: Path) -> Examples:
    return Examples(kit, limit=2)


# Measures


def test_concept_recall_takes_anything_of_the_concept() -> None:
    gallery = np.eye(4, dtype=np.float32)
    held = ["cat", "dog", "dog", "cow"]
    queries = np.array([[0, 0.1, 0.9, 0], [0, 0, 0.2, 0.9], [1, 0, 0, 0]], dtype=np.float32)
    asked = ["dog", "dog", "bird"]
    assert concept_recall(queries, asked, gallery, held, (1, 2)) == [
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
    ]


def test_same_kind_leaves_out_the_example_itself() -> None:
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1]], dtype=np.float32)
    assert same_kind(vectors, [0, 0, 1], 1) == pytest.approx(2 / 3)


def test_share_of_texts_is_a_half_where_nothing_favours_them() -> None:
    texts = np.array([[9, 7, 1]], dtype=np.float32)
    images = np.array([[8, 6, 0]], dtype=np.float32)
    assert share_of_texts(texts, images, 4) == 0.5
    assert share_of_texts(texts + 10, images, 3) == 1.0


# A model as the service ranks


def test_sound_is_the_mean_of_its_windows_as_in_the_service() -> None:
    part = Part("sounds")
    windows = np.ones((2, 96, 64), dtype=np.float16)
    windows[1] *= 2
    part.add(windows, ("a",), "a")
    expected = (vector(float(windows[0].sum())) + vector(float(windows[1].astype(float).sum()))) / 2
    np.testing.assert_allclose(embed(TinyTowers(), part)[0], expected, atol=1e-5)


def test_vectors_have_the_gap_closed() -> None:
    mean = vector(5.0)
    part = Part("scenes")
    part.add(np.full((4, 4, 3), 7, dtype=np.uint8), ("a",), "a")
    closed = subject(gap=Gap({Modality.IMAGE: mean})).vectors(part)
    expected = vector(4 * 4 * 3 * 7) - mean
    np.testing.assert_allclose(closed[0], expected / np.linalg.norm(expected), atol=1e-5)
    raw = subject().vectors(part)
    np.testing.assert_allclose(raw[0], vector(4 * 4 * 3 * 7), atol=1e-5)


def test_pictures_are_scaled_to_what_the_tower_takes() -> None:
    part = Part("scenes")
    part.add(np.full((225, 225, 3), 7, dtype=np.uint8), ("a",), "a")
    vectors = subject(image_size=4).raw(part)
    np.testing.assert_allclose(vectors[0], vector(4 * 4 * 3 * 7), atol=1e-5)


def test_weights_count_once_wherever_they_lie(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    for directory in (one, other):
        directory.mkdir()
        (directory / "open_clip_model.safetensors").write_bytes(b"12")
    (other / "open_clip_pytorch_model.bin").write_bytes(b"345")
    (other / "audio.safetensors").write_bytes(b"6")
    assert sorted(path.read_bytes() for path in weights_of([one, other])) == [b"12", b"6"]


# Suites


def test_command_offers_every_suite() -> None:
    assert tuple(SUITES) == OFFERED


def test_without_the_kit_the_rest_is_measured_and_the_others_named() -> None:
    measured = measure(subject(), Examples(limit=2))
    assert {"colour, count and shape, R@1 of 2", "images a second"} <= set(measured.figures)
    assert "clothing.tar of the model kit: models/README.md" in measured.left_out["clothing"]
    assert set(measured.left_out) == set(SUITES) - {"scenes", "sounds", "speed", "size"}


def test_named_suite_without_the_kit_is_refused(tmp_path: Path) -> None:
    for examples in (Examples(), Examples(tmp_path)):
        with pytest.raises(InvalidInput, match=r"suite digits needs spoken-digits\.tar .* --data"):
            measure(subject(), examples, ["digits"])


def test_model_without_ears_leaves_sounds_out(examples: Examples) -> None:
    deaf = subject(kinds=frozenset({Modality.IMAGE, Modality.TEXT}))
    measured = measure(deaf, examples, ["sounds", "scenes", "recall"])
    assert measured.left_out == {"sounds": "tiny takes no audio"}
    assert [name for name in measured.figures if name.startswith("image to text, R@1 of ")]
    assert not [name for name in measured.figures if "audio" in name]


def test_program_that_is_missing_is_named(
    examples: Examples, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.recipe.evaluation.suites.shutil.which", lambda _: None)
    with pytest.raises(InvalidInput, match="the suite words needs espeak-ng"):
        measure(subject(), examples, ["words"])


def test_photos_emoji_and_digits_are_measured(examples: Examples) -> None:
    figures = measure(subject(), examples, ["clothing", "grocery", "emoji", "digits"]).figures
    assert list(figures) == [
        "clothing, zero-shot over 10 names",
        "grocery, zero-shot over coarse names",
        "emoji in an unseen rendering, R@5",
        "human digits of known speakers, R@1 of 10",
        "human digits of an unseen speaker, R@1 of 10",
    ]
    assert figures["emoji in an unseen rendering, R@5"] == 1.0  # two names, five places
    assert all(0 <= value <= 1 for value in figures.values())


def test_damaged_kit_is_named(kit: Path, tmp_path: Path) -> None:
    (tmp_path / kit_files.CLOTHING).write_bytes(b"no tar at all")
    with pytest.raises(InvalidInput, match=r"clothing\.tar cannot be read"):
        measure(subject(), Examples(tmp_path), ["clothing"])
    with tarfile.open(tmp_path / kit_files.CLOTHING, "w") as tar:
        member = tarfile.TarInfo("captions.jsonl")
        tar.addfile(member)
    with pytest.raises(InvalidInput, match="holds nothing to measure with"):
        measure(subject(), Examples(tmp_path), ["clothing"])


def perfect_examples() -> Any:
    """Pictures, sounds and captions of three things, which `PerfectSubject` knows by heart."""
    pictures, heard = Part("emoji"), Part("sounds")
    for name in ("dog", "bell", "rain"):
        pictures.add(np.zeros((1, 1, 3), np.uint8), (name, f"an emoji of {name}"), name)
    for name in ("a dog barking", "a bell ringing", "a laser gun"):
        heard.add(np.zeros((1, 96, 64), np.float16), (name,), name)
    empty, spoken = Part("clothing"), Part("speech")
    spoken.add(np.zeros((1, 96, 64), np.float16), ("bell",), "said bell")
    return SimpleNamespace(
        clothes=empty,
        groceries=Part("grocery"),
        emoji=pictures,
        sounds=heard,
        known_speakers=Part("digits"),
        unseen_speaker=Part("digits"),
        words=spoken,
        pictures_for_calibration=[pictures, pictures],
        sounds_for_calibration=[heard, heard],
    )


class PerfectSubject(Subject):
    """One axis for each thing, whatever it is called; texts lie beside a mean of their own."""

    AXES = ("dog", "bell", "rain", "laser")

    def raw(self, part: Part) -> Any:
        rows = np.zeros((len(part), DIMENSIONS), np.float32)
        for row, group in zip(rows, part.groups, strict=True):
            row[self._axis(group)] = 1
        return rows

    def vectors(self, part: Part) -> Any:
        kind = Modality.AUDIO if part.source in {"sounds", "speech", "digits"} else Modality.IMAGE
        return self.gap.close(kind, self.raw(part))

    def raw_texts(self, texts: Any) -> Any:
        rows = np.zeros((len(texts), DIMENSIONS), np.float32)
        rows[:, -1] = 2
        for row, text in zip(rows, texts, strict=True):
            row[self._axis(text)] = 1
        return rows / np.float32(5**0.5)

    def _axis(self, text: str) -> int:
        return next(n for n, name in enumerate(self.AXES) if name in text)


def perfect() -> PerfectSubject:
    mean = np.zeros(DIMENSIONS, np.float32)
    mean[-1] = 2 / 5**0.5
    return PerfectSubject(
        name="perfect",
        towers=TinyTowers(),
        gap=Gap({Modality.TEXT: mean}),
        curves={pair: Logistic(20.0, -10.0) for pair in CURVES},
    )


def test_every_direction_is_measured() -> None:
    figures = directions(perfect(), perfect_examples())
    assert figures == {
        f"{one} to {other}, R@{top} of {size}": 1.0
        for one, other, size in (
            ("image", "text", 3),
            ("text", "image", 3),
            ("audio", "text", 4),
            ("text", "audio", 4),
            ("audio", "image", 2),
            ("image", "audio", 2),
        )
        for top in (1, 5, 10)
    }


def test_texts_no_longer_crowd_out_images_once_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.recipe.evaluation.ranking.MIXED_TOP", 2)
    assert mixed(perfect(), perfect_examples()) == {
        "texts among the 2 nearest to a text, corrected": 0.5,
        "texts among the 2 nearest to a text, not corrected": 1.0,
    }


def test_scores_that_say_what_matches_have_no_calibration_error() -> None:
    errors = calibration(perfect(), perfect_examples())
    assert len(errors) == 6
    assert all(value < 0.001 for value in errors.values()), errors
    wrong = perfect()
    wrong.curves = {pair: Logistic(0.001, 5.0) for pair in CURVES}
    assert all(value > 0.4 for value in calibration(wrong, perfect_examples()).values())


def test_agreement_compares_with_the_original_network(kit: Path, tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = timm.create_model("mobilenetv2_100", num_classes=1001).eval()
    save_file(network.state_dict(), tmp_path / kit_files.IMAGE_NETWORK)
    photos = Examples(kit).clothes.content
    pixels = torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.no_grad():
        expected = network(pixels)[:, 1:].argmax(1).numpy()
    np.testing.assert_array_equal(top_classes(tmp_path, photos), expected)


def test_what_is_kept_is_told_before_and_after_the_correction(
    examples: Examples, tmp_path: Path
) -> None:
    names = [f"thing {number}" for number in range(1001)]
    (tmp_path / kit_files.IMAGE_LABELS).write_text(json.dumps(names))
    network = timm.create_model("mobilenetv2_100", num_classes=1001)
    save_file(network.state_dict(), tmp_path / kit_files.IMAGE_NETWORK)
    still = subject()
    parts = {name: getattr(examples, name) for name in ("clothes", "groceries", "emoji")}
    begin = SimpleNamespace(original_texts=still.raw_texts)
    given: Any = SimpleNamespace(begin=begin, kit=tmp_path, **parts)

    classes = class_vectors(still.raw_texts, tmp_path)

    def seen(part: Part, shift: int) -> Any:
        return classes[(top_classes(tmp_path, part.content) + shift) % len(classes)]

    agreeing: Any = SimpleNamespace(
        raw_texts=still.raw_texts,
        texts=still.raw_texts,
        raw=lambda part: seen(part, 0),
        vectors=lambda part: seen(part, 1),
    )
    figures = agreement(agreeing, given)
    name = "photos, the original network's ImageNet class, R@"
    assert figures[f"{name}1"] == figures[f"{name}5"] == 1.0
    assert figures[f"{name}1, corrected"] == 0.0
    gap = Gap({Modality.TEXT: vector(5.0)})
    kept = texts(subject(gap=gap), given)
    assert kept["texts, Spearman with the start"] == pytest.approx(1)
    assert kept["texts, Spearman with the start, corrected"] < 0.99


def test_damaged_network_is_named(tmp_path: Path) -> None:
    (tmp_path / kit_files.IMAGE_NETWORK).write_bytes(b"none")
    with pytest.raises(InvalidInput, match=rf"{kit_files.IMAGE_NETWORK} cannot be read"):
        top_classes(tmp_path, [])


def test_half_of_the_pairs_of_texts_are_near() -> None:
    left, right = text_pairs({f"thing {number}" for number in range(300)})
    assert len(left) == len(right) == 400
    assert sum(other.endswith(one) for one, other in zip(left, right, strict=True)) >= 200


def test_recipe_measures_with_the_same_call(
    kit: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = {name: SUITES[name] for name in ("clothing", "mixed", "size")}
    monkeypatch.setattr("models.recipe.evaluate.SUITES", chosen)
    begin: Any = None
    figures = evaluate(TinyTowers(), kit, begin)
    assert list(figures) == ["clothing, zero-shot over 10 names"]
    (tmp_path / "image.safetensors").write_bytes(bytes(500_000))
    curves = {"text-text": {"slope": 9.0, "intercept": -3.0, "error": 0.1}}
    curves["text-image"] = curves["text-text"]
    figures = evaluate(TinyTowers(), kit, begin, curves=curves, directory=tmp_path)
    assert figures["megabytes of weights"] == 0.5
    assert "texts among the 10 nearest to a text, corrected" in figures


def test_recipe_is_told_what_is_missing(tmp_path: Path) -> None:
    begin: Any = None
    with pytest.raises(InvalidInput, match=r"needs clothing\.tar of the model kit"):
        evaluate(TinyTowers(), tmp_path, begin)


# The report


def test_table_shows_two_models_side_by_side() -> None:
    one = Measured("one", {"R@1": 0.5, "audio": 0.25}, {"words": "needs espeak-ng"})
    other = Measured("other", {"R@1": 0.25}, {})
    lines = table([one, other]).splitlines()
    assert lines[0].split() == ["figure", "one", "other", "difference"]
    assert lines[1].split() == ["R@1", "0.5", "0.25", "+0.25"]
    assert lines[2].split() == ["audio", "0.25", "-", "-"]
    assert lines[3] == "one: left out words: needs espeak-ng"
    assert json.loads(as_json([other])) == [
        {"model": "other", "figures": {"R@1": 0.25}, "left_out": {}}
    ]
