"""Memory that the towers use again and again, and that nobody needs while they rest."""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Final

# `mallopt`'s parameters, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3
# In bytes: smaller blocks are cut from heaps, the free end of a heap is kept up to this, and a
# second heap (a thread's holds 64 MiB) while less than this is free of the first.
_REUSED: Final = {
    _M_MMAP_THRESHOLD: 32 << 20,
    _M_TRIM_THRESHOLD: 1 << 30,
    _M_TOP_PAD: 64 << 20,
}
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
