"""Towers side by side on their own threads, and what PyTorch's threads do meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
import torch

from app.encoders.threads import MOST_THREADS, TowerRunner, TowerThreads
from app.settings import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def torch_threads() -> Iterator[None]:
    """Put PyTorch's number of threads back afterwards."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("torch_threads")
@pytest.mark.parametrize(
    ("threads", "count", "each"), [(1, 1, 1), (3, 3, 1), (2 * MOST_THREADS + 1, MOST_THREADS, 2)]
)
def test_threads_share_those_of_torch(threads: int, count: int, each: int) -> None:
    torch.set_num_threads(threads)
    towers = TowerThreads()
    assert towers.count == count
    together = threading.Barrier(count)

    def look(_: int) -> tuple[str, int]:
        together.wait(10)
        return threading.current_thread().name, torch.get_num_threads()

    seen = towers.map(look, range(count))
    assert len({name for name, _ in seen}) == count
    assert {number for _, number in seen} == {each}
    with ThreadPoolExecutor(1) as other:
        assert other.submit(torch.get_num_threads).result() == threads
    assert torch.get_num_threads() == threads


def test_results_come_in_the_order_of_the_pieces() -> None:
    assert TowerThreads().map(lambda piece: piece * piece, range(50)) == [n * n for n in range(50)]


def test_what_a_piece_raises_comes_out() -> None:
    def fail(piece: int) -> None:
        raise ValueError(piece)

    with pytest.raises(ValueError, match="7"):
        TowerThreads().map(fail, [7])


@pytest.mark.usefixtures("torch_threads")
@pytest.mark.parametrize(
    ("count", "sizes"),
    [(0, []), (1, [1]), (2, [1, 1]), (5, [2, 3]), (8, [4, 4]), (9, [2, 2, 2, 3]), (16, [4] * 4)],
)
def test_every_thread_gets_as_much_to_do_as_the_others(count: int, sizes: list[int]) -> None:
    torch.set_num_threads(2)
    runner, seen = TowerRunner(torch.device("cpu"), 3), []

    def encode(piece: slice) -> torch.Tensor:
        seen.append((piece.start, piece.stop))
        return torch.arange(piece.start, piece.stop)[:, None] + torch.tensor([1.0, 0.0, 0.0])

    vectors = runner.run(encode, count, {"cpu": 4})
    assert vectors.shape == (count, 3)
    assert sorted(stop - start for start, stop in seen) == sizes
    assert [n for start, stop in sorted(seen) for n in range(start, stop)] == list(range(count))


def test_callers_do_not_wait_for_each_other() -> None:
    runner = TowerRunner(torch.device("cpu"), 3)
    entered, gate = threading.Event(), threading.Event()

    def encode_long(piece: slice) -> torch.Tensor:
        entered.set()
        assert gate.wait(10)
        return torch.ones(piece.stop - piece.start, 3)

    with ThreadPoolExecutor(1) as other:
        long = other.submit(runner.run, encode_long, 64, {"cpu": 1})
        assert entered.wait(10)
        short = runner.run(lambda _: torch.ones(1, 3), 1, {"cpu": 1}, one_thread=True)
        assert short.shape == (1, 3)
        assert not long.done()
        gate.set()
        assert long.result().shape == (64, 3)


@pytest.mark.parametrize(("said", "holds"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_idle_threads_sleep_unless_the_operator_says_otherwise(
    said: str | None, holds: str
) -> None:
    environment = {name: value for name, value in os.environ.items() if "OMP" not in name}
    environment |= {"OMP_DISPLAY_ENV": "TRUE"} | ({"OMP_WAIT_POLICY": said} if said else {})
    told = subprocess.run(
        [sys.executable, "-c", "import app.encoders.registry, torch"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stderr
    assert f"OMP_WAIT_POLICY = '{holds}'" in told


def test_numpy_starts_no_threads() -> None:
    product = "import app, numpy, os; numpy.eye(600) @ numpy.eye(600)"
    environment = {name: value for name, value in os.environ.items() if "OPENBLAS" not in name}
    told = subprocess.run(
        [sys.executable, "-c", f"{product}; print(len(os.listdir('/proc/self/task')))"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert int(told) == 1
