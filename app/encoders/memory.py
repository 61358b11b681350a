"""Memory that the towers used and that nobody needs any more."""

from __future__ import annotations

import ctypes
import sys


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
