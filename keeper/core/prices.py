"""What a little more of each row is worth: the Lagrangian dual, which also bounds the value of any set.

Fisher, Management Science 27 (1981) 1. Margin is the worst of many scenarios; with one scenario of each underlying it
is a linear row like the others, and as many of those stand for it as turn out to bind.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np

from keeper.core.climb import Bools, Cut, Floats, Ints, linear, scenarios
from keeper.core.items import Scaled

SLOWER: Final = 0.9  # times the step where the bound has hardly fallen
HARDLY: Final = 1e-4  # relative


class Prices:
    def __init__(self, items: Scaled) -> None:
        self._items = items
        self.rows, self.room = items.a, np.ones(items.a.shape[1])  # (n, R), (R,): the plain ones, then one of each cut
        self.plain = len(self.room)
        self.cuts = list[Cut]()
        self.mu = np.zeros(self.plain)  # (R,)
        self.bound = np.inf  # never below the best value, whatever the prices

    def cut(self, cuts: Iterable[Cut]) -> bool:
        """These scenarios are rows too; False where none is new."""
        new = [cut for cut in dict.fromkeys(cuts) if cut not in self.cuts and max(cut, default=-1) >= 0]
        for cut in new:
            use, room = linear(cut, self._items.losses, self._items.base)
            self.rows, self.room = np.column_stack([self.rows, use]), np.append(self.room, room)
        self.cuts += new
        self.mu = np.append(self.mu, np.zeros(len(new)))
        return bool(new)

    def binding(self, chosen: Ints) -> Cut:
        """The worst scenarios of a set."""
        return scenarios(self._items.base + self._items.losses[:, :, chosen].sum(axis=2))

    def reduced(self) -> Floats:
        """(n,) what the value of each is above the price of what it uses."""
        return np.asarray(self.v - self.rows @ self.mu)

    def relaxed(self) -> Ints:
        """What would be chosen at these prices if nothing else counted."""
        reduced = self.reduced()
        return np.flatnonzero((reduced > 0) & (reduced >= self._items.tops(reduced)))

    def lost(self) -> Floats:
        """(n,) what is given away against the dual value by taking each, instead of the best of its group or none."""
        reduced = self.reduced()
        return np.asarray(self._items.tops(reduced) - reduced)

    def value(self) -> float:
        return float(self.room @ self.mu + self._once(self._items.tops(self.reduced())))

    def _once(self, tops: Floats) -> float:
        return float((tops if self._items.alone else tops[self._items.starts]).sum())

    @property
    def v(self) -> Floats:
        return self._items.v

    def improve(self, rounds: int, target: float, theta: float = 1.0) -> None:
        """Subgradient steps after Polyak: ``theta`` of the way to ``target``, the best value known."""
        v, rows, room, tops_of = self.v, self.rows, self.room, self._items.tops
        mu = best = self.mu
        lowest = np.inf
        for _ in range(rounds):
            reduced = v - rows @ mu
            tops = tops_of(reduced)
            value = float(room @ mu) + self._once(tops)
            if value >= lowest * (1 - HARDLY):
                theta *= SLOWER
            if value < lowest:
                lowest, best = value, mu
            slope = room - ((reduced > 0) & (reduced >= tops)).astype(np.float64) @ rows
            slope[(mu <= 0) & (slope > 0)] = 0.0
            size = float(slope @ slope)
            if size == 0 or value <= target:
                break
            mu = np.maximum(0.0, mu - slope * (theta * (value - target) / size))
        self.mu, self.bound = best, min(self.bound, lowest)

    def keep(self, stay: Bools) -> None:
        """Before the items do."""
        self.rows = self.rows[stay]
