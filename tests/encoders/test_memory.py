"""What the allocator keeps while towers work, seen in a process of its own."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from app.settings import ROOT

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="speaks of glibc's heaps")

# As a tower does: a thread takes more than one heap holds, and lets go of it, again and again.
WORK = """
import resource, sys, threading
import numpy as np
from app.encoders.memory import give_memory_back, keep_memory

def work():
    kept = [np.ones(5_000_000, np.float32) for _ in range(4)]

def faults():
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    for _ in range(5):
        work()
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def main():
    work()
    print(faults())
    keep_memory()
    work()
    print(faults())
    held = resident()
    give_memory_back()
    print(held - resident())

thread = threading.Thread(target=main)
thread.start()
thread.join()
"""


def measured(**environment: str) -> list[int]:
    """Page faults before and after memory is kept, and the bytes that are then given back."""
    done = subprocess.run(
        [sys.executable, "-c", WORK],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "NUMPY_MADVISE_HUGEPAGE": "0"} | environment,
        capture_output=True,
        check=True,
        text=True,
    )
    return [int(line) for line in done.stdout.split()]


def test_a_thread_keeps_what_it_freed_until_it_is_given_back() -> None:
    before, after, returned = measured()
    assert before > 1_000
    assert after < before / 100
    assert returned > 50_000_000


def test_who_sets_up_the_allocator_by_hand_is_left_alone() -> None:
    before, after, _ = measured(MALLOC_TOP_PAD_="131072")
    assert after > before / 2
