"""A tower on several cores: pieces of a batch side by side, each on one thread from end to end.

Within an operation PyTorch splits the work over OpenMP threads, which wait for each other at the
end of each of a tower's hundred operations. Where other processes want the cores as well, and the
decoders always do, all of them wait each time for the one that is not running. Small pieces stay
in a core's cache besides.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import Barrier, Lock, local
from typing import TYPE_CHECKING, TypeVar, cast

import numpy as np
import torch
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")

# More would wait for the interpreter's lock: with more cores each takes several of them instead.
MOST_THREADS = 8

_STARTING = Lock()  # PyTorch's number of threads is another one meanwhile


class TowerThreads:
    """Threads that share PyTorch's number of threads, as it was when they started, equally."""

    def __init__(self) -> None:
        threads = torch.get_num_threads()
        self.count = min(threads, MOST_THREADS)
        self._pool = ThreadPoolExecutor(
            self.count, "tower", _use_threads, (threads // self.count, Barrier(self.count))
        )
        for started in [self._pool.submit(int) for _ in range(self.count)]:
            started.result()
        torch.set_num_threads(threads)  # for threads to come: it is theirs that was set last

    def map(self, function: Callable[[T], R], pieces: Sequence[T]) -> list[R]:
        """Return the function's results for the pieces, in their order."""
        return list(self._pool.map(function, pieces))


class TowerRunner:
    """Runs a tower to `dimensions` on a device, on a CPU in pieces side by side.

    Each thread that calls has its own threads: a search does not wait for the pieces of others.
    """

    def __init__(self, device: torch.device, dimensions: int) -> None:
        self.device = device
        self._dimensions = dimensions
        self._caller = local()

    @property
    def _threads(self) -> TowerThreads | None:
        if self.device.type != "cpu":
            return None
        if not hasattr(self._caller, "threads"):
            with _STARTING:
                self._caller.threads = TowerThreads()
        return cast("TowerThreads", self._caller.threads)

    def run(
        self,
        encode: Callable[[slice], Tensor],
        count: int,
        at_once: Mapping[str, int],
        *,
        one_thread: bool = False,
    ) -> NDArray[np.float32]:
        """Encode so many inputs and scale to unit length: float32 [count, dimensions].

        `at_once` says how many a type of device takes in one piece. A single piece is split within
        each operation unless it is not worth it.
        """
        out = np.empty((count, self._dimensions), dtype=np.float32)

        @torch.inference_mode()
        def run(piece: slice) -> None:
            vectors = functional.normalize(encode(piece).float(), dim=1)
            out[piece] = vectors.cpu().numpy()

        threads = self._threads
        pieces = _pieces(count, at_once[self.device.type], threads.count if threads else 1)
        if threads and (one_thread or len(pieces) > 1):
            threads.map(run, pieces)
        else:
            for piece in pieces:
                run(piece)
        return out


def _pieces(count: int, at_once: int, threads: int) -> list[slice]:
    """Cut a batch so that every thread gets as much to do as the others."""
    number = min(count, threads * math.ceil(count / (at_once * threads)))
    ends = [count * part // number for part in range(number + 1)] if number else []
    return [slice(*both) for both in pairwise(ends)]


def _use_threads(count: int, all_set: Barrier) -> None:
    torch.get_num_threads()  # takes the common number for this thread, once and for all
    torch.set_num_threads(count)
    all_set.wait()
