"""Pieces of a batch side by side."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest

from app.encoders.threads import TowerRunner

if TYPE_CHECKING:
    from numpy.typing import NDArray

WAIT = 10  # seconds, for what never happens


def numbered(piece: slice) -> NDArray[np.float32]:
    numbers = np.arange(piece.start, piece.stop)
    return np.stack([numbers, np.ones_like(numbers)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (1, [1]), (2, [1, 1]), (5, [2, 3]), (8, [4, 4]), (9, [2, 2, 2, 3]), (16, [4] * 4)],
)
def test_every_thread_gets_as_much_to_do_as_the_others(count: int, sizes: list[int]) -> None:
    seen: list[int] = []

    def encode(piece: slice) -> NDArray[np.float32]:
        seen.append(piece.stop - piece.start)
        return numbered(piece)

    vectors = TowerRunner("cpu", 2).run(encode, count, 2, {"cpu": 4})
    assert sorted(seen) == sizes
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), np.ones(count), atol=1e-6)
    np.testing.assert_allclose(vectors[:, 0] / vectors[:, 1], np.arange(count), rtol=1e-5)


def test_pieces_run_side_by_side() -> None:
    together = threading.Barrier(3)

    def encode(piece: slice) -> NDArray[np.float32]:
        together.wait(WAIT)
        return numbered(piece)

    assert TowerRunner("cpu", 3).run(encode, 3, 2, {"cpu": 4}).shape == (3, 2)


@pytest.mark.parametrize(("device", "sizes"), [("cuda", [16, 16]), ("cuda:1", [16, 16])])
def test_another_device_takes_one_piece_after_the_other(device: str, sizes: list[int]) -> None:
    seen: list[tuple[int, int]] = []

    def encode(piece: slice) -> NDArray[np.float32]:
        seen.append((threading.get_ident(), piece.stop - piece.start))
        return numbered(piece)

    TowerRunner(device, 4).run(encode, 32, 2, {"cpu": 4, "cuda": 16})
    assert seen == [(threading.get_ident(), size) for size in sizes]


def test_what_a_piece_raises_comes_out() -> None:
    def fail(piece: slice) -> NDArray[np.float32]:
        raise ValueError(piece.stop)

    with pytest.raises(ValueError, match="1"):
        TowerRunner("cpu", 2).run(fail, 2, 2, {"cpu": 4})


def test_callers_do_not_wait_for_each_other() -> None:
    runner = TowerRunner("cpu", 2)
    entered, gate = threading.Event(), threading.Event()

    def encode_long(piece: slice) -> NDArray[np.float32]:
        entered.set()
        assert gate.wait(WAIT)
        return numbered(piece)

    with ThreadPoolExecutor(1) as other:
        long = other.submit(runner.run, encode_long, 64, 2, {"cpu": 1})
        assert entered.wait(WAIT)
        short = runner.run(numbered, 2, 2, {"cpu": 1})
        assert short.shape == (2, 2)
        assert not long.done()
        gate.set()
        assert long.result().shape == (64, 2)


def test_vectors_of_no_length_stay() -> None:
    nothing = TowerRunner("cpu", 1).run(lambda _: np.zeros((1, 2), np.float32), 1, 2, {"cpu": 4})
    np.testing.assert_array_equal(nothing, np.zeros((1, 2)))
