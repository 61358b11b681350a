"""Build the bundled model from the model kit.

    python -m models.recipe --kit DIR [--out models/multimodal-embedding-v1] [--minutes 25]

The corpus and the trained heads are kept in the work directory and not made again; training end to
end goes on from its last checkpoint there. What changes the corpus needs another work directory.
"""

from __future__ import annotations

import argparse
import pickle
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
from models.recipe.concepts import concept
from models.recipe.evaluate import embed, embed_texts, evaluate
from models.recipe.figures import BUNDLED, update_card
from models.recipe.files import save_model
from models.recipe.fit import balanced_mean, calibrate
from models.recipe.start import Start
from models.recipe.train import Trainer, average, copy_state, gather

if TYPE_CHECKING:
    from collections.abc import Callable

    from models.recipe.corpus import Part

STARTED = time.monotonic()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kit", type=Path, required=True, help="the model kit's directory")
    parser.add_argument("--out", type=Path, default=BUNDLED)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "omnivec-recipe")
    parser.add_argument("--minutes", type=float, default=25.0, help="of training end to end")
    parser.add_argument("--head-steps", type=int, default=600)
    parser.add_argument("--examples", type=int, default=6000, help="of each source, at most")
    parser.add_argument(
        "--trained-share", type=float, default=0.75, help="of the weights; the start has the rest"
    )
    parser.add_argument("--seed", type=int, default=1)
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
        towers = (begin.modules.image, begin.modules.audio)
        untrained = [copy_state(tower) for tower in towers]
        train(begin, options)
        for tower, state in zip(towers, untrained, strict=True):
            average(tower, state, options.trained_share)
        save_model(begin.modules, begin.tokenizer, options.out)
        say(f"wrote the towers to {options.out}")
    finish(options)


def train(begin: Start, options: argparse.Namespace) -> None:
    """Train the start's towers in place."""
    seed = options.seed
    pictures = [
        _stage(options, "clothing", lambda: corpus.clothing(options.kit, ("train",))),
        _stage(options, "grocery", lambda: corpus.grocery(options.kit, ("train",))),
        _stage(options, "emoji", lambda: corpus.emoji(options.kit, seed, 3)),
        _stage(options, "scenes", lambda: corpus.scenes(seed, 6000)),
        _stage(options, "words", lambda: corpus.written_words(options.kit, seed, 1500)),
    ]
    heard = [
        _stage(options, "digits", lambda: corpus.digits(options.kit, ("train",), held_out=False)),
        _stage(
            options, "speech", lambda: corpus.spoken_words(options.kit, corpus.TRAIN_VOICES, 700)
        ),
        _stage(options, "sounds", lambda: corpus.sounds(seed, 60)),
    ]
    captions: dict[str, int] = {}
    modules = begin.modules
    images = gather(pictures, modules.image, captions, options.work / "seen.pt")
    say(f"the start has seen {len(images.inputs)} pictures")
    audio = gather(heard, modules.audio, captions, options.work / "heard.pt")
    say(f"the start has heard {len(audio.inputs)} sounds")
    classes = {"image": begin.image_names, "audio": begin.audio_names}
    trainer = Trainer(modules, begin.tokenizer, images, audio, list(captions), classes, seed)
    say(f"the start has read {len(captions)} captions")
    heads = options.work / "heads.pt"
    towers = {"image": modules.image, "audio": modules.audio}
    if heads.exists():
        for name, state in torch.load(heads).items():
            towers[name].head.load_state_dict(state)
    else:
        trainer.heads(options.head_steps, 768, say)
        torch.save({name: tower.head.state_dict() for name, tower in towers.items()}, heads)
    until = time.time() + 60 * options.minutes
    trainer.together(until, {"image": 40, "audio": 96}, options.work / "towers.pt", say)


def finish(options: argparse.Namespace) -> None:
    """Fit the gap and the calibration of the towers in `out`, measure, and write the card."""
    kit, out, seed = options.kit, options.out, options.seed
    towers = load_bundled(out)
    held = held_out(kit, seed + 1)
    names = {
        str(kind): [concept(part.source, group) for part in parts for group in part.groups]
        for kind, parts in held.items()
    }
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
    means = {kind: balanced_mean(vectors[kind], names[kind]) for kind in vectors}
    save_file(means, out / GAP_FILE)
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
    figures = evaluate(towers, kit, Start(kit, seed))
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
            corpus.spoken_words(kit, corpus.CALIBRATION_VOICES, 300),
            corpus.sounds(seed, 20),
        ],
    }


def _stage(options: argparse.Namespace, name: str, make: Callable[[], Part]) -> Part:
    """Make a part of the corpus, or read it as it was made before."""
    path = options.work / f"{name}.pickle"
    if path.exists():
        with path.open("rb") as file:
            part: Part = pickle.load(file)  # noqa: S301 - our own file
    else:
        part = make()
        draft = path.with_suffix(".draft")
        draft.write_bytes(pickle.dumps(part, protocol=5))
        draft.rename(path)
    part = part.sample(options.seed, options.examples)
    say(f"{name}: {len(part)} examples")
    return part


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.0f} s] {text}", flush=True)


if __name__ == "__main__":
    main()
