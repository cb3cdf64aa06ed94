"""The kill switch: one small file, read before every signature and every send.

    run      no file, or the word
    pause    nothing new begins; what is out there goes on
    drain    nothing acts any more: what is open is cancelled, and watched until it is final
    halt     nothing is signed and nothing is sent; receipts are still looked at

What cannot be read, or is no such word, halts: so ``touch state/switch`` stops a keeper, and a broken disk does too.
It survives restarts, because it is a file.
"""

from __future__ import annotations

import os
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from keeper.errors import Misconfigured


class Level(IntEnum):
    RUN = 0
    PAUSE = 1
    DRAIN = 2
    HALT = 3


class Position(NamedTuple):
    level: Level
    reason: str


class Switch:
    def __init__(self, path: Path | None = None) -> None:
        """None: always on, for worlds that are thrown away."""
        self._path = path

    @property
    def movable(self) -> bool:
        return self._path is not None

    @property
    def level(self) -> Level:
        return self.read().level

    def read(self) -> Position:
        """What it says now. Never raises: what is unclear halts."""
        if self._path is None:
            return Position(Level.RUN, "")
        try:
            word, _, reason = self._path.read_text(encoding="utf-8").strip().partition(" ")
            return Position(Level[word.upper()], reason)
        except FileNotFoundError:
            return Position(Level.RUN, "")
        except KeyError:
            return Position(Level.HALT, f"{self._path} says none of {', '.join(level.name.lower() for level in Level)}")
        except (OSError, UnicodeDecodeError) as error:
            return Position(Level.HALT, f"cannot read {self._path}: {type(error).__name__}")

    def set(self, level: Level, reason: str = "") -> None:
        """Durable when it returns, and never half written."""
        if self._path is None:
            raise Misconfigured("this keeper has no switch", help="only a live keeper has one")
        said = f"{level.name.lower()} {' '.join(reason.split())}".strip()
        fresh = self._path.with_name(f"{self._path.name}.{os.getpid()}")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(descriptor, f"{said}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        fresh.replace(self._path)
