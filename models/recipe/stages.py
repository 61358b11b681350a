"""The parts of the training corpus: made once, side by side, and kept in the work directory."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING

import numpy as np

from models.recipe import corpus

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from models.recipe.corpus import Part


Plan = dict[str, "Callable[[], Part]"]


def pictures(kit: Path, seed: int) -> Plan:
    """How to make each part of the pictures trained on."""
    train = ("train",)
    return {
        "emoji": partial(corpus.emoji, kit, seed, 10, "train"),
        "scenes": partial(corpus.scenes, seed, 14_000),
        "clothing": partial(corpus.clothing, kit, train, 3, seed),
        "grocery": partial(corpus.grocery, kit, train, 3, seed),
        "words": partial(corpus.written_words, kit, seed, 3000),
    }


def recordings(kit: Path, seed: int) -> Plan:
    """How to make each part of the sounds trained on."""
    return {
        "speech": partial(corpus.spoken_differently, kit, seed, 700, 20),
        "digits": partial(corpus.digits, kit, ("train",), held_out=False, views=20, seed=seed),
        "sounds": partial(corpus.sounds, seed, 80),
    }


def make(plan: Plan, work: Path, most: int, seed: int, say: Callable[[str], None]) -> None:
    """Make what the work directory lacks, with at most so many examples of each part."""
    missing = {name: create for name, create in plan.items() if not _index(work, name).exists()}
    if not missing:
        return
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        running = {
            name: pool.submit(_make, create, work, name, most, seed)
            for name, create in missing.items()
        }
        for name, one in running.items():
            say(f"{name}: {one.result()} examples made")


def load(work: Path, name: str) -> Part:
    """Read a part; its pictures stay on disk until they are looked at."""
    with _index(work, name).open("rb") as file:
        part: Part
        part, counts = pickle.load(file)  # noqa: S301 - our own file
    content = np.load(_content(work, name), mmap_mode="r")
    if counts is None:
        part.content = list(np.asarray(content))
    else:
        part.content = np.split(np.asarray(content), np.cumsum(counts)[:-1])
    return part


def _make(create: Callable[[], Part], work: Path, name: str, most: int, seed: int) -> int:
    part = create().sample(seed, most)
    content, part.content = part.content, []
    pictures = content[0].dtype == np.uint8
    rows = len(content) if pictures else sum(map(len, content))
    shape = content[0].shape if pictures else content[0].shape[1:]
    file = np.lib.format.open_memmap(_content(work, name), "w+", content[0].dtype, (rows, *shape))
    at = 0
    for one in content:
        size = 1 if pictures else len(one)
        file[at : at + size] = one
        at += size
    file.flush()
    counts = None if pictures else [len(one) for one in content]
    draft = _index(work, name).with_suffix(".draft")
    draft.write_bytes(pickle.dumps((part, counts), protocol=5))
    draft.rename(_index(work, name))
    return len(content)


def _index(work: Path, name: str) -> Path:
    return work / f"{name}.pickle"


def _content(work: Path, name: str) -> Path:
    return work / f"{name}.npy"
