"""Which series somebody holds."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from keeper.protocols.options.records import Series, series_of

WORD: Final = 2**64
MIX: Final = 0x9E3779B97F4A7C15  # an odd number without pattern


class Listing:
    """The series that somebody holds, each with its row in the value table; row 0 is none."""

    def __init__(self) -> None:
        self._rows: dict[int, int] = {}
        self._holders = [0]
        self._free: list[int] = []
        self.words = [0]  # row -> series
        self._halves = np.zeros((2, 64), np.uint64)  # the same, upper and lower words
        self.arranged: Any = None  # what others have made of it; forgotten at every change

    def hold(self, word: int) -> int:
        row = self._rows.get(word)
        if row is None:
            row = self._rows[word] = self._new(word)
        self._holders[row] += 1
        return row

    def _new(self, word: int) -> int:
        self.arranged = None
        if self._free:
            row = self._free.pop()
        else:
            row = len(self.words)
            self.words.append(0)
            self._holders.append(0)
            if row == self._halves.shape[1]:
                self._halves = np.concatenate([self._halves, np.zeros_like(self._halves)], axis=1)
        self.words[row] = word
        self._halves[:, row] = word >> 64, word % WORD
        return row

    @property
    def halves(self) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Row -> upper and lower word of its series."""
        return self._halves[0], self._halves[1]

    def hold_all(self, high: NDArray[np.uint64], low: NDArray[np.uint64]) -> NDArray[np.int64]:
        """``hold`` for many series, as upper and lower words. ValueError when two have one fingerprint."""
        prints = high * np.uint64(MIX) + low
        _, at, inverse, counts = np.unique(prints, return_index=True, return_inverse=True, return_counts=True)
        high_, low_ = high[at], low[at]
        if (high_[inverse] != high).any() or (low_[inverse] != low).any():
            raise ValueError("two series have one fingerprint")
        rows = [self.hold(a << 64 | b) for a, b in zip(high_.tolist(), low_.tolist(), strict=True)]
        for row, count in zip(rows, counts.tolist(), strict=True):
            self._holders[row] += count - 1
        return np.array(rows, np.int64)[inverse]

    def drop_all(self, rows: NDArray[Any]) -> None:
        """``drop`` for many rows; 0 is none."""
        counts = np.bincount(rows.ravel())
        for row in np.flatnonzero(counts).tolist():
            if row:
                self._holders[row] -= counts.item(row) - 1
                self.drop(row)

    def drop(self, row: int) -> None:
        self._holders[row] -= 1
        if not self._holders[row]:
            self.arranged = None
            del self._rows[self.words[row]]
            self._free.append(row)

    def live(self) -> dict[int, Series]:
        """Row -> series, of those held."""
        return {row: series_of(word) for word, row in self._rows.items()}

    def __len__(self) -> int:
        """Rows, the empty ones included."""
        return len(self.words)
