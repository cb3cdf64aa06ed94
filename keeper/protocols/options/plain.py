"""Accounts in columns, to be read, written and taken back many at a time; and how their positions lie in blocks.

Shapes: N accounts with L legs, those of one account together and sorted; S segments, of one account and underlying
each; W slots of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keeper.margin.scan.blocks import WIDTHS, Slice

LOT: Final = 10**15  # wad: ``Clearing.LOT``; traded sizes are multiples of it
LONGEST: Final = 2**31 - 1  # what fits into the columns of change ids, lots and upper words of cash
MOST: Final = WIDTHS[1]  # legs

Counted = Callable[[tuple[int, ...]], Mapping[int, float]]  # collateral -> its units by underlying
Ints = NDArray[np.int64]


class Plain(NamedTuple):
    """Accounts whose legs are whole lots."""

    high: Ints  # (N,) cash, upper word
    low: NDArray[np.uint64]
    change: Ints  # change id + 1; 0 for no such account
    assets: NDArray[np.uint8]  # length of ``Account.collateral``
    loss: NDArray[np.uint64]  # loss index, wad
    pledged: NDArray[np.object_]  # ``Account.collateral`` where there is any, else None
    owner: Ints  # (L,) whose leg it is
    words_high: NDArray[np.uint64]  # series, upper word
    words_low: NDArray[np.uint64]
    lots: Ints

    def where(self, chosen: NDArray[np.bool_]) -> Plain:
        """Some of the accounts."""
        columns: tuple[Any, ...] = self
        kept = chosen[self.owner]
        heads, legs = (column[chosen] for column in columns[:6]), (column[kept] for column in columns[7:])
        return Plain(*(*heads, (np.cumsum(chosen) - 1)[self.owner[kept]], *legs))

    @property
    def secured(self) -> list[int]:
        """Who has collateral."""
        return np.flatnonzero(self.pledged.astype(np.bool_)).tolist()

    def sorted(self) -> Plain:
        """The same, legs in order."""
        order = np.lexsort((self.words_low, self.words_high, self.owner))
        columns: tuple[Any, ...] = self
        return Plain(*columns[:6], *(column[order] for column in columns[6:]))

    def segments(self, counted: Counted) -> Segments:
        """By account and underlying; where somebody has collateral only, without a leg."""
        under = (self.words_high >> np.uint64(48)).astype(np.int64)
        place = self.owner << 8 | under
        start = np.flatnonzero(np.diff(place, prepend=-1))
        length = np.diff(start, append=len(place))
        found, units = place[start], np.zeros(len(start))
        each = [(i << 8 | u, n) for i in self.secured for u, n in counted(self.pledged[i]).items()]
        if each:
            wanted = np.array([at for at, _ in each])
            amounts, at = np.array([n for _, n in each], np.float64), np.searchsorted(found, wanted)
            known = found[np.minimum(at, len(found) - 1)] == wanted if len(found) else np.zeros(len(wanted), bool)
            units[at[known]] = amounts[known]
            new = wanted[~known]
            order = np.argsort(np.concatenate((found, new)), kind="stable")
            none = np.zeros(len(new), np.int64)
            found, start, length, units = (
                np.concatenate(pair)[order]
                for pair in ((found, new), (start, none), (length, none), (units, amounts[~known]))
            )
        return Segments(found >> 8, found & 0xFF, start, length, units)

    def laid(self, of: Segments, series: Ints, width: int) -> Slice:
        """Segments as blocks; ``series`` (L,) are rows of the table."""
        slots = np.arange(min(width, int(of.length.max(initial=1))))
        used = slots < of.length[:, None]
        legs = np.where(used, of.start[:, None] + slots, len(series))  # one more, of nothing
        high, lots = np.append(self.words_high, 0)[legs].astype(np.uint64), np.append(self.lots, 0)[legs]
        padded = np.zeros((2, len(used), width), np.int64)
        padded[0, :, : len(slots)], padded[1, :, : len(slots)] = np.append(series, 0)[legs], lots
        first, naked = _naked(high, lots, used)
        shorts, gross = np.maximum(-lots, 0).sum(axis=1), np.abs(lots).sum(axis=1)
        return Slice(padded[0], padded[1], first, of.under, of.units, shorts, naked, gross)


class Segments(NamedTuple):
    owner: Ints  # (S,) ascending
    under: Ints  # (S,) ascending, of one owner
    start: Ints  # (S,) its first leg
    length: Ints  # (S,) legs
    units: NDArray[np.float64]  # (S,) collateral

    def where(self, chosen: NDArray[Any]) -> Segments:
        return Segments(*(column[chosen] for column in self))


def _naked(high: NDArray[np.uint64], lots: Ints, used: NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """What ``blocks.Segment`` says of ``first`` and ``naked``; all (S, W)."""
    terms, calls_at = high >> np.uint64(8), high & np.uint64(1) != 0
    begins = used.copy()
    begins[:, 1:] &= terms[:, 1:] != terms[:, :-1]
    calls, puts = np.zeros(len(lots), np.int64), np.zeros(len(lots), np.int64)
    for k in range(lots.shape[1]):
        again = begins[:, k]
        np.minimum(calls, 0, out=calls, where=again)
        np.minimum(puts, 0, out=puts, where=again)
        np.add(calls, lots[:, k], out=calls, where=calls_at[:, k])
        np.add(puts, lots[:, k], out=puts, where=~calls_at[:, k])
    return begins @ (1 << np.arange(lots.shape[1])), np.maximum(-calls, 0) + np.maximum(-puts, 0)
