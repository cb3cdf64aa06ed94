"""What can be chosen, and what all of it shares: in whole numbers, as protocols have them, and scaled in float64."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from keeper.core.climb import SLACK, Bools, Floats, Ints

Worst = tuple[tuple[int, ...], ...]  # by underlying and scenario

NONE: Final = 0.5  # in place of no room at all: the least use is then twice what there is

flat = chain.from_iterable


@dataclass(frozen=True, slots=True)
class Item:
    """Something to choose. ``uses`` by row, ``losses`` as ``Room.losses``; all non-negative."""

    value: int
    group: Hashable
    uses: tuple[int, ...]
    losses: Worst = ()


@dataclass(frozen=True, slots=True)
class Room:
    """What there is. ``losses`` are the base of each underlying in each scenario, signed; ``margin`` is their room."""

    rows: tuple[int, ...]
    losses: Worst = ()
    margin: int = 0

    def fits(self, items: Sequence[Item]) -> bool:
        """Exactly."""
        used = [sum(item.uses[r] for item in items) for r in range(len(self.rows))]
        if any(use > have for use, have in zip(used, self.rows, strict=True)):
            return False
        return not self.losses or self.required(items) <= self.margin

    def required(self, items: Sequence[Item]) -> int:
        worst = 0
        for u, base in enumerate(self.losses):
            mine = [item.losses[u] for item in items if item.losses]
            worst += max(0, *(b + sum(loss[s] for loss in mine) for s, b in enumerate(base)))
        return worst


class Scaled:
    """Those items that fit alone, group by group. Rows and margin room are scaled to 1, the largest value too."""

    index: Ints  # (n,) of each, where it stands among all items
    v: Floats  # (n,)
    a: Floats  # (n, R)
    losses: Floats  # (U, S, n): the maximum over S is the hot path
    base: Floats  # (U, S)
    group: Ints  # (n,) 0, 1, 2 ..., ascending
    starts: Ints  # where each begins

    def __init__(self, items: Sequence[Item], room: Room) -> None:
        n, margin, u = len(items), room.margin or NONE, len(room.losses)
        values, groups = [i.value for i in items], [i.group for i in items]
        s = len(room.losses[0]) if u else 0
        none = ((0,) * s,) * u
        self.unit = float(max(values))
        self.v = _floats(values, n) / self.unit
        self.a = _floats(flat([i.uses for i in items]), n * len(room.rows)).reshape(n, -1)
        self.a /= _floats((row or NONE for row in room.rows), len(room.rows))
        self.base = _floats(flat(room.losses), u * s).reshape(u, s) / margin
        each = _floats(flat(flat([i.losses or none for i in items])), n * u * s)
        self.losses = each.reshape(n, u, s).transpose(1, 2, 0) / margin
        number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        self.group = np.fromiter(map(number.__getitem__, groups), np.int64, n)
        self.index = np.arange(n)
        order = np.argsort(self.group, kind="stable")
        self.place = np.zeros(n, np.int64)
        able = self._alone() & ~self._spare() if len(set(values)) < n else self._alone()
        self.keep(order[able[order]])

    def _alone(self) -> Bools:
        """(n,) which fit, each by itself."""
        worst = (self.losses + self.base[:, :, None]).max(axis=1, initial=0.0)
        return np.asarray((self.a <= 1 + SLACK).all(axis=1) & (worst.sum(axis=0) <= 1 + SLACK))

    def _spare(self) -> Bools:
        """(n,) copies of another item beyond as many as fit: those that come first are kept."""
        n, spare = len(self.v), np.zeros(len(self.v), np.bool_)
        whole = np.column_stack([self.v, self.a, self.losses.reshape(-1, n).T])
        order = np.argsort(whole.sum(axis=1), kind="stable")
        single = np.bincount(self.group)[self.group] == 1
        same = (whole[order[1:]] == whole[order[:-1]]).all(axis=1) & single[order[1:]] & single[order[:-1]]
        begins = np.flatnonzero(np.append(True, ~same))
        nth = np.arange(n) - np.repeat(begins, np.diff(np.append(begins, n)))
        spare[order] = (nth + 1) * self.a[order].max(axis=1, initial=0.0) > 1 + SLACK
        return spare

    def keep(self, places: Ints) -> None:
        """Only these, in this order."""
        self.index, self.v, self.a = self.index[places], self.v[places], self.a[places]
        self.losses, self.group = np.ascontiguousarray(self.losses[:, :, places]), self.group[places]
        new = np.diff(self.group, prepend=-1) != 0
        self.group, self.starts = np.cumsum(new) - 1, np.flatnonzero(new)
        self.place[self.index] = np.arange(len(places))
        self.alone = len(self.starts) == len(places)

    def places(self, of: Sequence[int]) -> Ints:
        """Where these of all items stand here."""
        return self.place[np.asarray(of, np.int64)]

    def tops(self, reduced: Floats) -> Floats:
        """(n,) of the group of each item the best, at least 0: nothing need be taken."""
        best = np.maximum(reduced, 0.0)
        return best if self.alone else np.asarray(np.maximum.reduceat(best, self.starts)[self.group])


def _floats(numbers: Iterable[float], count: int) -> Floats:
    return np.fromiter(numbers, np.float64, count)
