"""Accounts of the usual kind in columns, to be read, written and taken back many at a time.

Shapes: N accounts of W slots; a slot is a series, in two words, and a signed number of lots.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keeper.margin.scan.blocks import WIDTHS, Slice

SLOTS: Final = WIDTHS[0]
LOT: Final = 10**15  # wad: ``Clearing.LOT``; traded sizes are multiples of it
LONGEST: Final = 2**31 - 1  # what fits into the columns of change ids, lots and upper words of cash


class Plain(NamedTuple):
    """Up to eight legs, sorted, in one underlying, in whole lots."""

    high: NDArray[np.int64]  # (N,) cash, upper word
    low: NDArray[np.uint64]
    change: NDArray[np.int64]  # change id + 1; 0 for no such account
    assets: NDArray[np.uint8]  # length of ``Account.collateral``
    loss: NDArray[np.uint64]  # loss index, wad
    words_high: NDArray[np.uint64]  # (N, W) series, upper word; 0 for none
    words_low: NDArray[np.uint64]
    lots: NDArray[np.int64]  # (N, W)
    pledged: NDArray[np.object_]  # ``Account.collateral`` where there is any, else None

    def where(self, at: NDArray[Any] | slice) -> Plain:
        columns: tuple[Any, ...] = self
        return Plain(*(column[at] for column in columns))

    def slice(self, series: NDArray[np.int64], under: NDArray[Any], units: NDArray[np.float64]) -> Slice:
        """As blocks; ``series`` (N, W) are rows of the table, ``units`` collateral in lots of ``under``."""
        n, used = len(self.high), self.words_high != 0
        terms, calls_at = self.words_high >> np.uint64(8), self.words_high & np.uint64(1) != 0
        begins = used.copy()
        begins[:, 1:] &= terms[:, 1:] != terms[:, :-1]
        calls, puts = np.zeros(n, np.int64), np.zeros(n, np.int64)
        for k in range(self.lots.shape[1]):
            again = begins[:, k]
            np.minimum(calls, 0, out=calls, where=again)
            np.minimum(puts, 0, out=puts, where=again)
            np.add(calls, self.lots[:, k], out=calls, where=calls_at[:, k])
            np.add(puts, self.lots[:, k], out=puts, where=~calls_at[:, k])
        naked, shorts = np.maximum(-calls, 0) + np.maximum(-puts, 0), np.maximum(-self.lots, 0).sum(axis=1)
        first = begins @ (1 << np.arange(used.shape[1]))
        return Slice(series, self.lots, first, under, units, shorts, naked, np.abs(self.lots).sum(axis=1))
