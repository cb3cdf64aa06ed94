"""Positions as columns: one row per account and underlying, or more where it has more legs than fit.

Shapes: B blocks of W slots. A slot is a row of the value table and a signed number of lots; slots are in the order of
their expiry, empty ones (row 0, no lots) last. Bit k of ``first`` says that slot k begins another expiry: there the
fold of the margin rules, c <- min(c, 0) + g, is due.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
WIDTHS: Final = (8, 32)  # slots: what nearly every account needs, and the most the clearing house allows
CHUNK: Final = 8192  # blocks whose sums stay near a core, and which are laid out again together
COLUMNS: Final = ("series", "lots", "first", "under", "units", "shorts", "naked", "gross")


class Segment(NamedTuple):
    """What one account holds in one underlying. Amounts in lots of the underlying."""

    under: int
    series: Sequence[int]  # rows of the value table
    lots: Sequence[float]
    first: int  # bit k: leg k begins another expiry
    units: float  # collateral
    shorts: float  # sum of short legs, positive
    naked: float  # short legs that no leg of the same type and a later or the same expiry covers, positive

    @property
    def gross(self) -> float:
        return sum(map(abs, self.lots))


@dataclass(frozen=True, slots=True)
class Slice:
    """Columns of some blocks, in the order in which kernels take them."""

    series: Array  # (B, W) unsigned
    lots: Array  # (B, W) int32, or float32 where sizes are no whole lots
    first: Array  # (B,) bits
    under: Array  # (B,) uint8
    units: Array  # (B,) float32
    shorts: Array  # (B,) float32
    naked: Array  # (B,) float32
    gross: Array  # (B,) float32

    def __len__(self) -> int:
        return len(self.under)

    def __getitem__(self, at: Any) -> Slice:
        return Slice(*(getattr(self, name)[at] for name in COLUMNS))


class Blocks:
    """Blocks of one width that grow, are overwritten in place, and are used again when freed."""

    def __init__(
        self, width: int, lots: type[np.generic] = np.int32, series: type[np.unsignedinteger[Any]] = np.uint16
    ) -> None:
        self.width, self.size = width, 0
        self.top = 0, 0  # the highest series and underlying that was ever written
        self._most = np.iinfo(series).max  # number of a series that fits
        self._free: list[int] = []
        self._written: set[int] = set()  # chunks
        self.row: Array = np.zeros(0, np.int32)  # whose it is
        bits = np.uint8 if width <= 8 else np.uint32
        empty = (np.zeros((0, width), series), np.zeros((0, width), lots), np.zeros(0, bits), np.zeros(0, np.uint8))
        self._all = Slice(*empty, *(np.zeros(0, np.float32) for _ in range(4)))
        self._used: Slice | None = None

    def take(self, row: int | None = None) -> int:
        """A block for the account in this row of the book; None where every account has one, in the same order."""
        at = self._free.pop() if self._free else self.size
        if at == self.size:
            self.reserve(at + 1)
            self.size += 1
        if row is not None:
            self.row[at] = row
        return at

    def reserve(self, size: int) -> None:
        """Room for so many; pages that are not written cost nothing."""
        have = len(self.row)
        if size > have:
            room = max(64, size, have * 2)
            self.row = grown(self.row, room)
            self._all, self._used = Slice(*(grown(getattr(self._all, name), room) for name in COLUMNS)), None

    def write(self, at: int, s: Segment) -> None:
        self._reach(max(s.series, default=0), s.under)
        a, n = self._all, len(s.series)
        a.series[at, :n], a.series[at, n:] = s.series, 0
        a.lots[at, :n], a.lots[at, n:] = s.lots, 0
        a.first[at], a.under[at], a.units[at] = s.first, s.under, s.units
        a.shorts[at], a.naked[at], a.gross[at] = s.shorts, s.naked, s.gross
        self._written.add(at // CHUNK)

    def extend(self, count: int) -> None:
        """So many empty blocks behind all that are there."""
        self.reserve(self.size + count)
        self.size += count

    def lay(self, at: Array, many: Slice) -> None:
        """``write`` for many blocks at once."""
        self._reach(int(many.series.max(initial=0)), int(many.under.max(initial=0)))
        for name in COLUMNS:
            getattr(self._all, name)[at] = getattr(many, name)
        self._written.update((at // CHUNK).tolist())

    def clear(self, at: Array) -> None:
        """``EMPTY`` over many blocks at once."""
        for name in COLUMNS:
            getattr(self._all, name)[at] = 0
        self._written.update((at // CHUNK).tolist())

    def free_all(self, at: Array) -> None:
        """``free`` for many."""
        self.clear(at)
        self._free += at.tolist()

    def _reach(self, series: int, under: int) -> None:
        """Make room for the number of a series."""
        self.top = max(self.top[0], series), max(self.top[1], under)
        if series > self._most:
            wide, self._most = self._all.series.astype(np.uint32), np.iinfo(np.uint32).max
            self._all, self._used = Slice(wide, *(getattr(self._all, name) for name in COLUMNS[1:])), None

    def touched(self) -> set[int]:
        """Numbers of the chunks that were written to since this was last asked."""
        written, self._written = self._written, set()
        return written

    def free(self, at: int) -> None:
        self.write(at, EMPTY)
        self._free.append(at)

    def legs(self, at: int) -> tuple[list[int], list[Any]]:
        """(table rows, lots) of the slots in use."""
        lots = self._all.lots[at].tolist()
        while lots and not lots[-1]:
            lots.pop()
        return self._all.series[at, : len(lots)].tolist(), lots

    @property
    def used(self) -> Slice:
        """All blocks up to the last one taken; views, not copies."""
        if self._used is None or len(self._used) != self.size:
            self._used = self._all[: self.size]
        return self._used

    @property
    def nbytes(self) -> int:
        """Of the blocks up to the last one taken."""
        return sum(getattr(self.used, name).nbytes for name in COLUMNS)


EMPTY: Final = Segment(0, (), (), 0, 0.0, 0.0, 0.0)


def grown(a: Array, rows: int) -> Array:
    """``a`` at the head of a longer column of zeros."""
    b = np.zeros((rows, *a.shape[1:]), a.dtype)
    b[: len(a)] = a
    return b
