"""Build the bundled model from the model kit.

    python -m models.recipe --kit DIR [--out models/multimodal-embedding-v1]

The corpus is kept in the work directory and not made again, and training goes on from its last
checkpoint there. What changes the corpus or the steps needs another work directory.
"""

from __future__ import annotations

import argparse
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.numpy import save_file

from app.domain.modality import Modality
from app.encoders.bundled import load_bundled
from app.encoders.calibration import GAP_FILE, Gap
from app.encoders.cards import CARD_FILE
from models.recipe import corpus
from models.recipe.concepts import concepts
from models.recipe.evaluate import embed, embed_texts, evaluate
from models.recipe.examples import features, gather
from models.recipe.figures import BUNDLED, update_card
from models.recipe.files import save_model
from models.recipe.fit import calibrate, gap_means
from models.recipe.stages import load, make, pictures, recordings
from models.recipe.start import Start
from models.recipe.train import Lesson, Shown, Trainer, vectors_of

if TYPE_CHECKING:
    from torch import Tensor

    from models.recipe.corpus import Part

STARTED = time.monotonic()
SIZES = {"image": 64, "audio": 96}  # examples in a step of a tower
SIZES_OF_HEADS = {"image": 512, "audio": 256}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kit", type=Path, required=True, help="the model kit's directory")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "omnivec-recipe")
    parser.add_argument("--image-steps", type=int, default=2600, help="of the image tower")
    parser.add_argument("--audio-steps", type=int, default=2000, help="of the audio tower")
    parser.add_argument("--head-steps", type=int, default=1000, help="of the image head, at last")
    parser.add_argument("--ear-steps", type=int, default=2000, help="of the audio head, after that")
    parser.add_argument("--examples", type=int, default=20_000, help="of each source, at most")
    parser.add_argument(
        "--only",
        choices=("image", "audio"),
        help="train one tower and stop, so that two can train side by side",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--device",
        type=usable_device,
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="where to train: %(default)s, unless another is given",
    )
    parser.add_argument(
        "--measure-only", action="store_true", help="calibrate and measure the towers in OUT"
    )
    options = parser.parse_args()
    if not (options.out / CARD_FILE).is_file():
        parser.error(f"{options.out} holds no {CARD_FILE} to write the figures into")
    if not options.measure_only:
        options.work.mkdir(parents=True, exist_ok=True)
        begin = Start(options.kit, options.seed)
        say("the start is built")
        with options.device:
            begin.move(options.device)
            train(begin, options)
        save_model(begin.modules, begin.tokenizer, options.out)
        say(f"wrote the towers to {options.out}")
    finish(options)


def usable_device(name: str) -> torch.device:
    """Read `cpu` or `cuda`, with a number or without, of a device that is there."""
    try:
        device = torch.empty(0, device=name).device
    except (AssertionError, RuntimeError) as error:
        message = str(error).partition("\n")[0]
        raise argparse.ArgumentTypeError(message) from None
    if device.type not in {"cpu", "cuda"}:
        raise argparse.ArgumentTypeError(f"{name} is neither cpu nor cuda")
    return device


def train(begin: Start, options: argparse.Namespace) -> None:
    """Train the start's towers in place."""
    captions: dict[str, int] = {}
    modules, lessons = begin.modules, {}
    for name, tower, names, classifier, kinds in (
        ("image", modules.image, begin.image_names, begin.image_classifier, pictures),
        ("audio", modules.audio, begin.audio_names, begin.audio_classifier, recordings),
    ):
        if options.only in {None, name}:
            plan = kinds(options.kit, options.seed)
            make(plan, options.work, options.examples, options.seed, say)
            parts = [load(options.work, kind) for kind in plan]
            examples = gather(parts, tower, classifier, captions, options.work / name, say)
            lessons[name] = Lesson(tower, examples, classifier, names)
            say(f"{name}: {len(examples)} examples")
    trainer = Trainer(modules.text, begin.tokenizer, lessons, list(captions), options.seed, say)
    say(f"the start has read {len(captions)} captions")
    steps = {"image": options.image_steps, "audio": options.audio_steps}
    for name in lessons:
        trainer.tower(name, steps[name], SIZES[name], options.work / f"{name}.pt")
    if options.only:
        raise SystemExit(f"the {options.only} tower is trained; now the other, or both")
    seen = finish_head(trainer, "image", lessons["image"], options.head_steps, options.work)
    shown = Shown(vectors_of(modules.image.head, seen), lessons["image"].examples.concepts)
    finish_head(trainer, "audio", lessons["audio"], options.ear_steps, options.work, shown)


def finish_head(
    trainer: Trainer, name: str, lesson: Lesson, steps: int, work: Path, shown: Shown | None = None
) -> Tensor:
    """Train a head on what its finished tower sees, float32 [rows, f], and return that."""
    seen = features(lesson.tower, lesson.examples.rows)
    trainer.head(name, seen, steps, SIZES_OF_HEADS[name], work / f"{name}-head.pt", shown)
    return seen


def finish(options: argparse.Namespace) -> None:
    """Fit the gap and the calibration of the towers in `out`, measure, and write the card."""
    kit, out, seed = options.kit, options.out, options.seed
    towers = load_bundled(out)
    held = held_out(kit, seed + 1)
    names = {str(kind): concepts(parts) for kind, parts in held.items()}
    vectors = {
        str(kind): np.concatenate([embed(towers, part) for part in parts])
        for kind, parts in held.items()
    }
    texts = [
        captions[number % len(captions)]
        for part in chain(*held.values())
        for number, captions in enumerate(part.captions)
    ]
    names[str(Modality.TEXT)] = list(chain(*names.values()))
    vectors[str(Modality.TEXT)] = embed_texts(towers, texts)
    save_file(gap_means(vectors, names), out / GAP_FILE)
    (out / GAP_FILE).chmod(0o644)
    gap = Gap.read(out, towers.dimensions)
    known: dict[str, int] = {}
    groups = {
        kind: np.array([known.setdefault(name, len(known)) for name in names[kind]])
        for kind in names
    }
    closed = {kind: gap.close(Modality(kind), vectors[kind]) for kind in vectors}
    curves = calibrate(closed, groups)
    say(f"calibration: {curves}")
    figures = evaluate(towers, kit, Start(kit, seed), gap=gap, curves=curves, directory=out)
    for name, value in figures.items():
        print(f"{name:50} {value:9.3f}")
    update_card(out, curves, figures)
    say("wrote the card")


def held_out(kit: Path, seed: int) -> dict[Modality, list[Part]]:
    """What the gap and the calibration are fitted on: neither trained on nor measured with."""
    return {
        Modality.IMAGE: [
            corpus.clothing(kit, ("val",)),
            corpus.grocery(kit, ("val",)),
            corpus.emoji(kit, seed, 1),
            corpus.scenes(seed, 700),
        ],
        Modality.AUDIO: [
            corpus.digits(kit, ("train",), held_out=True),
            corpus.spoken_words(kit, corpus.CALIBRATION_VOICES, 500),
            corpus.sounds(seed, 20),
        ],
    }


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.0f} s] {text}", flush=True)


if __name__ == "__main__":
    main()
