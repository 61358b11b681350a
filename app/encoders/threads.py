"""A batch on several cores: pieces of it side by side, each on one thread from end to end.

Within an operator the work can be split, too, but a tower is a hundred operators, most of them too
short for it, and all threads wait for the last at the end of each: a batch of pictures takes a
third longer so.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from threading import local
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_LEAST_LENGTH = 1e-12


class TowerRunner:
    """Runs towers on a device, on a CPU in pieces side by side.

    Each thread that calls has its own threads: a search does not wait for the pieces of others.
    """

    def __init__(self, device: str, threads: int = 0) -> None:
        """`threads` of a CPU, 0 for one per core."""
        self._kind = device.partition(":")[0]
        self.threads = (threads or _cores()) if self._kind == "cpu" else 1
        self._caller = local()

    def run(
        self,
        encode: Callable[[slice], NDArray[Any]],
        count: int,
        dimensions: int,
        at_once: Mapping[str, int],
    ) -> NDArray[np.float32]:
        """Encode so many inputs, and scale to unit length: float32 [count, dimensions].

        `at_once` says how many a kind of device takes in one piece. What a piece raises comes out.
        """
        out = np.empty((count, dimensions), np.float32)

        def run(piece: slice) -> None:
            out[piece] = unit(encode(piece))

        pieces = _pieces(count, at_once[self._kind], self.threads)
        if self.threads == 1 or len(pieces) == 1:
            for piece in pieces:
                run(piece)
        else:
            for _ in self._pool().map(run, pieces):
                pass
        return out

    def _pool(self) -> ThreadPoolExecutor:
        if not hasattr(self._caller, "pool"):
            self._caller.pool = ThreadPoolExecutor(self.threads, "tower")
        pool: ThreadPoolExecutor = self._caller.pool
        return pool


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row to unit length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.maximum(lengths, _LEAST_LENGTH)
    return scaled


def _pieces(count: int, at_once: int, threads: int) -> list[slice]:
    """Cut a batch so that every thread gets as much to do as the others."""
    number = min(count, threads * math.ceil(count / (at_once * threads)))
    ends = [count * part // number for part in range(number + 1)] if number else []
    return [slice(*both) for both in pairwise(ends)]


def _cores() -> int:
    """Return how many cores this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
