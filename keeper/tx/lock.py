"""One process per journal. The lock is on the database file itself, and the file is known by its inode.

So removing files cannot let a second process in, and a file that was swapped under a running keeper is noticed.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from keeper.errors import Broken, Misconfigured

_held: set[tuple[int, int]] = set()  # (device, inode) of the journals open in this process


class Lock:
    def __init__(self, path: Path, owner: Callable[[Path], str]) -> None:
        """Create the file if need be, and take the lock. Raises Stop, naming the ``owner``, when somebody has it."""
        if path.exists() and _inode(path.stat()) in _held:
            raise _in_use(path, "this process")
        self._path = path
        self._descriptor = _locked(path, owner)
        self._inode = _inode(os.fstat(self._descriptor))
        _held.add(self._inode)

    def holds(self) -> bool:
        """Whether the file at the path is still the one that is locked."""
        try:
            return self._inode in _held and _inode(self._path.stat()) == self._inode
        except OSError:
            return False

    def release(self) -> None:
        """Idempotent. Closing the descriptor also drops SQLite's own locks, so the database must be closed before."""
        if self._inode in _held:
            _held.discard(self._inode)
            os.close(self._descriptor)


def _locked(path: Path, owner: Callable[[Path], str]) -> int:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise Misconfigured(f"cannot open the journal {path}: {error.strerror}", help="check the folder") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise _in_use(path, owner(path)) from error
    return descriptor


def _inode(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_dev, stat.st_ino


def _in_use(path: Path, owner: str) -> Broken:
    return Broken(f"the journal {path} is in use by {owner}", help="one keeper per key; stop the other one first")
