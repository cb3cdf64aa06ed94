"""Ruin and recreate: better sets from good ones, a few sets side by side.

Schrimpf et al., "Record breaking optimization results using the ruin and recreate principle", J. Comput. Phys. 159
(2000) 139. Shapes: T sets, n items, R rows, U underlyings, S scenarios. No chance is in it: what looks like noise is
a fixed sequence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Sets = NDArray[np.bool_]  # (T, n)
Ints = NDArray[np.int64]

DEEP: Final = 24  # steps of the search
WIDE: Final = 16  # sets in each
MOST: Final = 8  # items taken out at once
HEAT: Final = 0.05  # by how much a set may get worse in the first step; falls to 0
ROUGH: Final = 1e-6  # of the room: more than float32 is off by
NOISE: Final = 0.3  # by how much the orders are shuffled
GOLDEN: Final = 0.6180339887498949
SILVER: Final = 0.4142135623730951


@dataclass(frozen=True, slots=True)
class Pool:
    """What can be chosen, all rows and the margin scaled to a room of one. ``losses`` are empty without margin."""

    v: Floats  # (n,)
    a: Floats  # (n, R)
    losses: Floats  # (U, S, n)
    base: Floats  # (U, S)
    group: Ints  # (n,); at most one item of each
    rough: NDArray[np.float32]  # ``losses`` once more: this is the hot path
    slack: float

    def search(self, start: NDArray[np.bool_], keys: Floats) -> Iterator[Ints]:
        """From one set, the best set of each step. ``keys`` (K, n): orders in which to fill up, the highest first.

        Each set goes on from its last one even where that is a little worse, by ever less.
        """
        rows, sets = np.arange(WIDE), np.tile(start, (WIDE, 1))
        values = np.full(WIDE, self.v[start].sum())
        for step in range(DEEP):
            shuffle = noise(step, len(self.v))
            ruined = np.where((rows % 2 == 1)[:, None], self._forced(sets, shuffle), _without(sets, shuffle, step))
            done = self.filled(ruined, keys[rows % len(keys)] * (1 + NOISE * shuffle))
            worth = (done * self.v).sum(axis=1)
            yield np.flatnonzero(done[worth.argmax()])
            take = worth >= values * (1 - HEAT * (1 - (step + 1) / DEEP))
            sets[take], values[take] = done[take], worth[take]

    def fresh(self, keys: Floats, first: Ints) -> Iterator[NDArray[np.bool_]]:
        """Sets filled from nothing, each in the order of a row of ``keys`` (T, n), the last rows from one item of
        ``first`` each: different ones, the best first."""
        empty = np.zeros(keys.shape, np.bool_)
        empty[np.arange(len(keys) - len(first), len(keys)), first] = True
        done = self.filled(empty, keys)
        seen = set[bytes]()
        for k in np.argsort(-(done @ self.v), kind="stable").tolist():
            if (name := done[k].tobytes()) not in seen:
                seen.add(name)
                yield done[k]

    def _forced(self, sets: Sets, shuffle: Floats) -> Sets:
        """Put one item into each, and take out what uses most, for its value, of what is then short."""
        item = np.where(sets, 0.0, self.v * shuffle).argmax(axis=1)
        sets = sets & (self.group != self.group[item][:, None])
        sets[np.arange(len(sets)), item] = True
        for _ in range(len(self.v)):
            short = self._short(sets)
            short[np.arange(len(sets)), item] = 0.0
            short = np.where(sets, short, 0.0) / self.v
            bad = np.flatnonzero(short.any(axis=1))
            if not len(bad):
                break
            sets[bad, short[bad].argmax(axis=1)] = False
        return sets

    def _short(self, sets: Sets) -> Floats:
        """(T, n) what each item uses of the rows that each set overdraws."""
        picked = sets.astype(np.float64)
        short = (picked @ self.a > 1 + self.slack).astype(np.float64) @ self.a.T
        if self.base.size:
            total = self.base[:, :, None] + self.losses @ picked.T
            much = np.maximum(total.max(axis=1), 0.0).sum(axis=0) > 1 + self.slack
            for u, worst in enumerate(total.argmax(axis=1)):
                short += self.losses[u, worst] * much[:, None]
        return np.asarray(short)

    def filled(self, done: Sets, keys: Floats) -> Sets:
        """Fill up each set in the order of its own keys, as long as anything fits."""
        picked = done.astype(np.float64)
        left, total = 1 + self.slack - picked @ self.a, self.base[:, :, None] + self.losses @ picked.T
        taken = np.zeros((len(done), int(self.group.max()) + 1), np.bool_)
        at, items = np.nonzero(done)
        taken[at, self.group[items]] = True
        open_ = ~taken[:, self.group]
        while True:
            open_ &= self._fitting(left, total)
            going = np.flatnonzero(open_.any(axis=1))
            if not len(going):
                return done
            item = np.where(open_[going], keys[going], -1.0).argmax(axis=1)
            done[going, item] = True
            left[going] -= self.a[item]
            total[:, :, going] += self.losses[:, :, item]
            open_[going] &= self.group != self.group[item][:, None]

    def _fitting(self, left: Floats, total: Floats) -> Sets:
        """(T, n) which item fits into what each set leaves."""
        ok = np.ones((len(left), len(self.v)), np.bool_)
        for row in range(self.a.shape[1]):
            ok &= self.a[:, row] <= left[:, row, None]
        if self.base.size:
            worst = (self.rough[:, :, None] + total[:, :, :, None].astype(np.float32)).max(axis=1)
            ok &= np.maximum(worst, 0.0).sum(axis=0) <= 1 - ROUGH
        return ok


def _without(sets: Sets, shuffle: Floats, step: int) -> Sets:
    """Take out one to MOST of each."""
    rows = np.arange(len(sets))
    order = np.where(sets, shuffle, 2.0).argsort(axis=1, kind="stable")[:, :MOST]
    left = sets.copy()
    for k in range(order.shape[1]):
        some = rows[(rows // 2 + step) % MOST >= k]
        left[some, order[some, k]] = False
    return left


def noise(step: int, columns: int) -> Floats:
    """(WIDE, columns) spread over [0, 1)."""
    at = (np.arange(WIDE)[:, None] + step * WIDE + 1) * SILVER + (np.arange(columns) + 1) * GOLDEN
    return np.asarray((at * at * 1009.0) % 1.0)
