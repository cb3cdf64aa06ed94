"""Enumeration: what prices and bound leave open, group by group."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from keeper.core.climb import SLACK, Floats
from keeper.core.items import Scaled

Options = list[tuple[float, int]]


class Search(Protocol):
    """What is known when it begins."""

    items: Scaled
    best_value: float

    def choices(self) -> tuple[float, list[Options]]: ...

    def offer(self, places: list[int]) -> bool: ...


def from_best(options: Options) -> Options:
    options.sort(key=lambda option: (option[0], -option[1]))
    return [(lost - options[0][0], item) for lost, item in options]


class Walk:
    """Whether the best set is the best there is, and a better one where one turns up on the way.

    A set is worth the dual value, less what each group's choice gives away at these prices; sets that give away more
    than the gap need not be looked at. Depth first, the groups with the clearest choice first.
    """

    def __init__(self, search: Search, limit: int) -> None:
        self.search = search
        self.dual, choices = search.choices()
        self.choices = sorted(choices, key=lambda options: -options[1][0])
        self.nodes, self.limit = 0, limit

    def run(self) -> bool:
        s = self.search.items
        return self._visit(0, 0.0, np.full(s.a.shape[1], 1 + SLACK), s.base, [])

    def _open(self, lost: float) -> bool:
        return self.dual - lost > self.search.best_value * (1 + SLACK)

    def _visit(self, depth: int, lost: float, left: Floats, total: Floats, chosen: list[int]) -> bool:
        """False when the limit was reached."""
        if not self._open(lost):
            return True
        if depth == len(self.choices):
            self.search.offer(chosen)
            return True
        for cost, item in self.choices[depth]:
            if not self._open(lost + cost):
                return True  # those after it give away more
            self.nodes += 1
            if self.nodes > self.limit:
                return False
            step = (left, total) if item < 0 else self._with(item, left, total)
            after = chosen if item < 0 else [*chosen, item]
            if step is not None and not self._visit(depth + 1, lost + cost, *step, after):
                return False
        return True

    def _with(self, item: int, left: Floats, total: Floats) -> tuple[Floats, Floats] | None:
        """(room left, losses) with one more, or None when it does not fit."""
        s = self.search.items
        left = left - s.a[item]
        if left.min(initial=0.0) < 0:
            return None
        if s.base.size:
            total = total + s.losses[:, :, item]
            if np.maximum(total.max(axis=1), 0.0).sum() > 1 + SLACK:
                return None
        return left, total
