from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from subprocess import run
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import asyncpg
import psutil
import pytest

from app.errors import Unavailable
from app.settings import ROOT
from app.store.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def data_dir() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="omnivec-embedded-"))
    yield directory
    EmbeddedServer(directory).stop()
    shutil.rmtree(directory)


def postmaster(data_dir: Path) -> int | None:
    try:
        pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


async def query(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url.replace("/omnivec?", "/postgres?"))
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_the_last_to_leave_stops_the_server(data_dir: Path) -> None:
    first, second = EmbeddedServer(data_dir), EmbeddedServer(data_dir)
    url = first.start()
    assert second.start() == url
    pid = postmaster(data_dir)
    first.stop()
    assert postmaster(data_dir) == pid
    assert await query(url, "SELECT 1") == 1
    second.stop()
    assert postmaster(data_dir) is None


async def test_durability_is_not_traded_for_speed(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    url = server.start()
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert await query(url, f"SHOW {setting}") == "on"
    server.stop()


async def test_commits_survive_the_death_of_service_and_server(data_dir: Path) -> None:
    program = """
import asyncio, os, signal, sys
from dataclasses import replace
from pathlib import Path
from subprocess import run
from app.settings import Settings
from app.store.database import Database

async def main():
    database = await Database.open(replace(Settings(), data_dir=Path(sys.argv[1])))
    await database.pool.execute("INSERT INTO projects (id) VALUES ('survivor')")
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    arguments = [sys.executable, "-W", "ignore", "-c", program, str(data_dir)]
    died = await asyncio.to_thread(run, arguments, cwd=ROOT, check=False)
    assert died.returncode == -signal.SIGKILL
    pid = postmaster(data_dir)
    assert pid is not None  # the server outlives the service
    killed = psutil.Process(pid)
    killed.kill()
    await asyncio.to_thread(killed.wait, timeout=20)  # a signal is sent before it is obeyed
    server = EmbeddedServer(data_dir)
    connection = await asyncpg.connect(server.start())
    assert await connection.fetchval("SELECT count(*) FROM projects WHERE id = 'survivor'") == 1
    await connection.close()
    server.stop()
    assert postmaster(data_dir) is None  # no dead process still counts as a user


async def test_a_process_id_that_was_given_to_another_is_no_server(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir)
    server.start()
    pid_file = data_dir / "postgres" / "postmaster.pid"
    lines = pid_file.read_text().split("\n")
    server.stop()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))
    assert await query(server.start(), "SELECT 1") == 1
    server.stop()


async def test_half_a_cluster_is_made_anew(data_dir: Path) -> None:
    (data_dir / "postgres.new" / "base").mkdir(parents=True)
    server = EmbeddedServer(data_dir)
    assert await query(server.start(), "SELECT 1") == 1
    server.stop()


async def test_long_paths_put_the_socket_elsewhere(data_dir: Path) -> None:
    deep = data_dir / ("d" * 60) / ("e" * 60)
    server = EmbeddedServer(deep)
    url = server.start()
    assert await query(url, "SELECT 1") == 1
    elsewhere = Path(parse_qs(urlsplit(url).query)["host"][0])
    assert not elsewhere.is_relative_to(data_dir)
    assert os.stat(elsewhere).st_mode & 0o077 == 0  # noqa: PTH116
    server.stop()
    with pytest.raises(FileNotFoundError):
        os.stat(elsewhere)  # noqa: PTH116


def test_a_cluster_that_does_not_start_is_unavailable(data_dir: Path) -> None:
    server = EmbeddedServer(data_dir, {"shared_buffers": "nonsense"})
    with pytest.raises(Unavailable, match="log"):
        server.start()
