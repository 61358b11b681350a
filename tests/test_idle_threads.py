"""What the threads of PyTorch and numpy do when there is nothing to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.settings import ROOT


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
