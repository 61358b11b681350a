"""A real S3 server on loopback: Ceph's RADOS gateway with one monitor and one OSD, no systemd.

Needs Debian's packages: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd openssl
Objects lie in BlueStore, so that they survive a restart. A first start takes about 15 s.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import httpx
import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROGRAMS: Final = ("radosgw", "ceph-mon", "ceph-osd")
PACKAGES: Final = (*PROGRAMS, "openssl")
ACCESS_KEY: Final = "omnivec-access"
SECRET_KEY: Final = "omnivec-secret"
START_SECONDS: Final = 90.0

# Ports, counted from the first: HTTP, HTTPS, the monitor's two, and the OSD's.
PORTS: Final = 32
OSD_PORTS: Final = (10, 31)

CONF: Final = """\
[global]
fsid = {fsid}
mon host = [v2:127.0.0.1:{mon_v2}/0,v1:127.0.0.1:{mon_v1}/0]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind port min = {osd_first}
ms bind port max = {osd_last}
keyring = {dir}/keyring
run dir = {dir}/run
log file = {dir}/log/$name.log
admin socket = {dir}/run/$name.asok
pid file =
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd memory target = 939524096
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 1
mon data = {dir}/mon
osd data = {dir}/osd
osd objectstore = bluestore
bluestore block size = 4294967296
rgw data = {dir}/run
rgw frontends = beast tcp_nodelay=1 endpoint=127.0.0.1:{http}{tls}
rgw run sync thread = false
"""


@dataclass
class Radosgw:
    """One gateway with its cluster in `directory`; `certificate` (chain and key, PEM) adds TLS."""

    directory: Path
    certificate: Path | None = None
    port: int = field(default_factory=lambda: free_ports(PORTS))
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls_endpoint(self) -> str:
        return f"https://localhost:{self.port + 1}"

    def start(self) -> None:
        """Start all three servers, making the cluster first if there is none yet."""
        if not (self.directory / "ceph.conf").exists():
            self._make_cluster()
        self._serve("ceph-mon", "-f", "-i", "a")
        if not (self.directory / "osd" / "whoami").exists():
            self._make_osd()
        self._serve("ceph-osd", "-f", "-i", "0")
        self._serve("radosgw", "-f", "-n", "client.rgw")
        self._wait()
        if not (self.directory / "user.json").exists():
            self._make_user()

    def stop(self) -> None:
        """Stop all three, the gateway first; the objects stay."""
        for process in reversed(self.processes):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()

    def restart(self) -> None:
        self.stop()
        self.start()

    def _make_cluster(self) -> None:
        for name in ("mon", "osd", "log", "run"):
            (self.directory / name).mkdir(parents=True)
        fsid = str(uuid.uuid4())
        tls = f" ssl_endpoint=127.0.0.1:{self.port + 1} ssl_certificate={self.certificate}"
        conf = CONF.format(
            fsid=fsid,
            dir=self.directory,
            http=self.port,
            tls=tls if self.certificate else "",
            mon_v2=self.port + 2,
            mon_v1=self.port + 3,
            osd_first=self.port + OSD_PORTS[0],
            osd_last=self.port + OSD_PORTS[1],
        )
        (self.directory / "ceph.conf").write_text(conf)
        addresses = f"[v2:127.0.0.1:{self.port + 2},v1:127.0.0.1:{self.port + 3}]"
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses, "monmap")
        everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
        self._key("--create-keyring", "mon.", "--cap", "mon", "allow *")
        self._key("client.admin", *everything)
        self._key("client.rgw", "--cap", "mon", "allow rwx", "--cap", "osd", "allow rwx")
        self._key("osd.0", "--cap", "mon", "allow profile osd", "--cap", "osd", "allow *")
        self._run(*("ceph-mon", "--mkfs", "-i", "a", "--monmap", "monmap", "--keyring", "keyring"))

    def _key(self, *arguments: str) -> None:
        create = [argument for argument in arguments if argument == "--create-keyring"]
        name, *caps = [argument for argument in arguments if argument not in create]
        self._run("ceph-authtool", *create, "keyring", "-n", name, "--gen-key", *caps)

    def _make_osd(self) -> None:
        osd = str(uuid.uuid4())
        # The system's own Python: Ceph's bindings are Debian's.
        self._run("/usr/bin/python3", "/usr/bin/ceph", "osd", "new", osd, "0")
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd)

    def _make_user(self) -> None:
        user = self._run(
            *("radosgw-admin", "-n", "client.rgw", "user", "create"),
            *("--uid=omnivec", "--display-name=omnivec"),
            *(f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}"),
        )
        (self.directory / "user.json").write_text(json.dumps(json.loads(user)))

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env=self._env,
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr[-2000:]}")
        return done.stdout

    def _serve(self, *command: str) -> None:
        with (self.directory / "log" / f"{command[0]}.out").open("ab") as log:
            process = subprocess.Popen(
                command,
                cwd=self.directory,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=0,
            )
        self.processes.append(process)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            for process in self.processes:
                if process.poll() is not None:
                    raise RuntimeError(f"{process.args!r} ended; see {self.directory / 'log'}")
            try:
                httpx.get(self.endpoint, timeout=2, trust_env=False)
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        raise RuntimeError(f"radosgw did not come up; see {self.directory / 'log'}")

    @property
    def _env(self) -> Mapping[str, str]:
        return {**os.environ, "CEPH_CONF": str(self.directory / "ceph.conf")}


def free_ports(count: int) -> int:
    """Return the first of `count` ports in a row that are free at the moment."""
    for first in range(20_000, 32_000, count):
        if all(_is_free(first + offset) for offset in range(count)):
            return first
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def require_programs() -> None:
    """Install what is missing where that is ours to do (CI); skip elsewhere, saying what to do."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if not missing:
        return
    install = ("apt-get", "install", "-y", "--no-install-recommends", *PACKAGES)
    if os.environ.get("CI") != "true":
        pytest.skip(f"no S3 server: {', '.join(missing)} not found; {' '.join(install)}")
    prefix = () if os.geteuid() == 0 else ("sudo", "-n")
    for command in (("apt-get", "update"), install):
        done = subprocess.run(
            [*prefix, *command], check=False, capture_output=True, text=True, timeout=600
        )
        if done.returncode:
            pytest.fail(f"{' '.join(command)}: {done.stderr[-2000:]}")
