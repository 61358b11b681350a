"""A tower on several cores: pieces of a batch side by side, each on one thread from end to end.

Within an operation PyTorch splits the work over OpenMP threads, which wait for each other at the
end of each of a tower's hundred operations. Where other processes want the cores as well, and the
decoders always do, all of them wait each time for the one that is not running. Small pieces stay
in a core's cache besides.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import TYPE_CHECKING, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")

# More would wait for the interpreter's lock: with more cores each takes several of them instead.
MOST_THREADS = 8


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


def _use_threads(count: int, all_set: Barrier) -> None:
    torch.get_num_threads()  # takes the common number for this thread, once and for all
    torch.set_num_threads(count)
    all_set.wait()
