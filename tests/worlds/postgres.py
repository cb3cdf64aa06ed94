"""A PostgreSQL of one's own: in a folder, on a unix socket, started as somebody who may do nothing else."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HOMES = ("/usr/lib/postgresql", "/usr/local/pgsql")


def binaries() -> Path | None:
    """The folder of ``initdb`` and ``postgres``, the newest version first."""
    found = [path.parent for home in HOMES for path in Path(home).glob("**/bin/initdb")]
    named = shutil.which("initdb")
    versions = sorted(found, key=lambda folder: [int(part) for part in folder.parts if part.isdecimal()], reverse=True)
    return next(iter([*versions, *([Path(named).parent] if named else [])]), None)


@contextmanager
def postgres() -> Iterator[str]:
    """Its DSN. Skips where it is not installed. Short paths: those of sockets have an end."""
    home = binaries()
    if home is None:
        pytest.skip("no PostgreSQL here: apt-get install -y postgresql")
    with tempfile.TemporaryDirectory(prefix="kpg-", dir="/tmp") as name:
        folder = Path(name)
        lowered = _lowered(folder)
        _run(lowered, home / "initdb", "-D", folder / "data", "-A", "trust", "-U", "keeper", "--no-sync")
        command = [home / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen([*map(str, command)], stdout=log, stderr=log, **lowered)
        try:
            _run(lowered, home / "pg_isready", "-h", folder, "-t", "20", tries=100)
            yield f"postgresql:///postgres?host={folder}&user=keeper"
        finally:
            server.send_signal(2)  # SIGINT: fast shutdown
            server.wait(20)


def _lowered(folder: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        os.chown(folder, user.pw_uid, user.pw_gid)
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": folder}
    pytest.skip("PostgreSQL does not run as root, and there is no other user here")


def _run(lowered: dict[str, Any], *command: object, tries: int = 1) -> None:
    for left in reversed(range(tries)):
        done = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False, **lowered)
        if done.returncode == 0:
            return
        if not left:
            raise RuntimeError(f"{command[0]} failed: {done.stdout}{done.stderr}")
        subprocess.run(["sleep", "0.1"], check=True)
