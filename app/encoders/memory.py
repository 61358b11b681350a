"""Memory that the towers use again and again, and that nobody needs while they rest."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

# `mallopt`'s parameters, from glibc's malloc.h, and bytes: blocks below the first are cut from
# heaps, the end of a heap is not given back below the second, and a second heap is kept while
# less than the third is free of the first. A heap of a thread holds 64 MiB.
_REUSED: Final = {-3: 32 << 20, -1: 1 << 30, -2: 64 << 20}
_TUNED_BY_HAND: Final = ("GLIBC_TUNABLES", "MALLOC_")


def keep_memory() -> None:
    """Let threads keep what they freed, until `give_memory_back`.

    A tower's activations are tens of megabytes. As glibc comes, a tower's thread returned and
    fetched them for every piece of a batch in some processes and in others not, depending on how
    its heap had been cut up before: of a picture's time up to 6 % were page faults. Does nothing
    where the environment sets up the allocator.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc
    if mallopt is None or any(name.startswith(_TUNED_BY_HAND) for name in os.environ):
        return
    for parameter, size in _REUSED.items():
        mallopt(parameter, size)


def give_memory_back() -> None:
    """Return what is free to the system: the allocators keep it, tens of megabytes after a batch.

    Takes milliseconds, and none of them with the interpreter's lock held.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc
    if trim is not None:
        trim(0)
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
