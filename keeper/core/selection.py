"""The most valuable set of items that fits into what all of them share.

    max  sum v_i x_i            x_i in {0, 1}, at most one of each group
    s.t. sum a_ir x_i <= b_r                                    rows: cash, gas, slots ...
         sum_u max(0, max_s(base_us + sum l_ius x_i)) <= room   own margin: the worst scenario of each underlying

All uses are non-negative: whatever fits, fits without any one of its items too. Prices of the rows come from the
Lagrangian dual, which also bounds the optimum. Items are left out that no better set can contain. Among those that
give away least, many sets are filled at other prices and climb side by side; the best are upset by items that they
lack, and climb again. What the bound still leaves open is enumerated. That ends by itself for up to ``EXACT`` items,
else after ``NODES`` steps: by count, not by time, so that two runs choose the same. The search is in float64; what is
returned is checked in exact integers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from keeper.core.climb import SLACK, Bools, Floats, Ints, Pool, Sets, State
from keeper.core.exchange import exchanged
from keeper.core.items import Item, Room, Scaled
from keeper.core.prices import Prices
from keeper.core.starts import combined, elsewhere, large, upset
from keeper.core.walk import Walk, from_best

EXACT: Final = 16  # items up to which the enumeration has no limit
ENOUGH: Final = 0.004  # relative gap at which the search ends
NEAR: Final = 0.013  # and at which good sets are not tried again
FAR: Final = 0.02  # and not a second time
NODES: Final = 250  # steps of the enumeration for larger sets
PROVABLE: Final = 40  # items above which so few steps prove nothing
FIRST: Final = 30  # steps of the dual before anything is known
ROUNDS: Final = (20, 20, 20, 20, 20, 20)  # and each time that the binding scenarios are looked for again
CORE: Final = 96  # items that the search looks at
BINDING: Final = 12  # scenarios that stand for the margin there
NARROW: Final = 8  # sets side by side before prices are good
WIDE: Final = 24  # and then
LARGE: Final = 8  # of those, how many begin with a large item
NEW: Final = 6  # sets that begin with other large items, each time that good sets are tried again
FEW: Final = 4  # exchanges of each set before prices are good
STEPS: Final = 40  # and then, at most
MANY: Final = 500  # items from which time is short
AGAIN: Final = (NEAR, FAR), (ENOUGH,) * 4  # gaps from which good sets are tried again; where time is not


@dataclass(frozen=True, slots=True)
class Selected:
    """``bound`` is never below the best value that there is; equal to ``value`` where the optimum was proven.

    ``prices``: value per whole row, of each row and then of margin: what a little more of it would be worth.
    """

    chosen: tuple[int, ...]  # indices, ascending
    value: int
    bound: int
    prices: tuple[float, ...]

    @property
    def gap(self) -> float:
        """How much less than the best this may be, as a share of the bound."""
        return (self.bound - self.value) / self.bound if self.bound > 0 else 0.0


def select(items: Sequence[Item], room: Room) -> Selected:
    """Deterministic. Items of no value are never chosen."""
    useful = [i for i, item in enumerate(items) if item.value > 0]
    rows = len(room.rows) + bool(room.losses)
    if not useful or not room.fits(()):
        return Selected((), 0, 0, (0.0,) * rows)
    search = _Search([items[i] for i in useful], room)
    picked, bound = search.run()
    chosen = tuple(useful[i] for i in _exactly([items[i] for i in useful], picked, room))
    value = sum(items[i].value for i in chosen)
    return Selected(chosen, value, max(value, bound), search.prices(rows))


def _exactly(items: Sequence[Item], picked: Sequence[int], room: Room) -> list[int]:
    """The same in integers: where float64 was a hair too kind, the least valuable ones are left out again."""
    kept = sorted(picked)
    while not room.fits([items[i] for i in kept]):
        kept.remove(min(kept, key=lambda i: (items[i].value, -i)))
    return kept


class _Search:
    def __init__(self, items: Sequence[Item], room: Room) -> None:
        self.all, self.items = items, Scaled(items, room)
        self.dual = Prices(self.items)
        self.best = list[int]()  # of all items
        self.best_value = 0.0

    def run(self) -> tuple[list[int], int]:
        """(positions, bound in the unit of the values)."""
        s, few = self.items, len(self.all) <= EXACT
        if len(s.v):
            self._price()
        if len(s.v) > EXACT and not self._close():
            self._search()
        proven = len(s.v) <= PROVABLE and Walk(self, 2 ** (EXACT + 4) if few else NODES).run()
        value = sum(self.all[i].value for i in self.best)
        bound = value if proven else int(self.dual.bound * (1 + SLACK) * s.unit) + 1
        return self.best, max(bound, value)

    def prices(self, rows: int) -> tuple[float, ...]:
        """By row; the cuts are all of the one row of margin."""
        plain, values = self.dual.plain, [float(x) * self.items.unit for x in self.dual.mu]
        return (*values[:plain], sum(values[plain:])) if rows > plain else tuple(values[:plain])

    # ── prices ──

    def _price(self) -> None:
        """Until no scenario is new, and the first better sets on the way."""
        dual = self.dual
        dual.cut([dual.binding(np.zeros(0, np.int64)), dual.binding(dual.relaxed())])
        core, pool = self._pool()
        self._climb(core, pool, self._keys()[:, core], 0)
        dual.cut([dual.binding(self.items.places(self.best))])
        dual.improve(FIRST, self.best_value)
        for k, rounds in enumerate(ROUNDS):
            new = dual.cut([dual.binding(dual.relaxed())])
            dual.improve(rounds, self.best_value)
            if self._close():
                break
            if k == 1:
                core, pool = self._pool(dual.lost())
                self._climb(core, pool, elsewhere(pool, 3, NARROW), FEW)
                self._reduce()
            if k > 1 and not new:
                break
        self._reduce()

    def _keys(self) -> Floats:
        """(3, n) what to take first before there are prices: by value per tightest use, per use, by value."""
        s = self.items
        margin = s.losses.max(axis=1, initial=0.0).sum(axis=0)
        tightest, every = np.maximum(s.a.max(axis=1, initial=0.0), margin), s.a.sum(axis=1) + margin
        return np.stack([s.v / (tightest + 1e-9), s.v / (every + 1e-9), s.v])

    def _reduce(self) -> None:
        """Leave out what no better set can contain: it would give away more than the gap (best set excepted)."""
        stay = self.dual.lost() <= self.dual.value() - self.best_value
        stay[self.items.places(self.best)] = True
        self.dual.keep(stay)
        self.items.keep(np.flatnonzero(stay))

    def choices(self) -> tuple[float, list[list[tuple[float, int]]]]:
        """The dual value, and of each group (what is given away against it, place or -1 for none), the best first."""
        found: dict[int, list[tuple[float, int]]] = {}
        for i, (g, reduced) in enumerate(zip(self.items.group.tolist(), self.dual.reduced().tolist(), strict=True)):
            found.setdefault(g, [(0.0, -1)]).append((-reduced, i))
        return self.dual.value(), [from_best(options) for options in found.values()]

    # ── better sets ──

    def _search(self) -> None:
        lost = self.dual.lost()
        core, pool = self._pool(lost)
        sets = self._climb(core, pool, large(elsewhere(pool, 4, WIDE), self._chosen(core), 0, LARGE))
        for part, gap in enumerate(AGAIN[len(self.all) <= MANY]):
            if self._close(gap):
                break
            new = large(elsewhere(pool, 15 + part, NEW), self._chosen(core), LARGE + NEW * part, NEW)
            orders = np.concatenate([new, upset(pool, sets, lost[core]), combined(pool, sets, 5 + part)])
            sets = np.concatenate([sets, self._climb(core, pool, orders)])
        self._reduce()
        if not self._close():
            core, pool = self._pool(self.dual.lost())
            self.offer(core[exchanged(pool, self._chosen(core), pool.reduced[:-1])].tolist())
        if len(self.items.v) > len(core):
            core, pool = self._pool()
            self.offer(core[pool.climbed(State(pool, self._chosen(core)[None]), STEPS)[0]].tolist())
        self._reduce()

    def _climb(self, core: Ints, pool: Pool, orders: Floats, steps: int = STEPS) -> Sets:
        """Sets filled in these orders, and bettered."""
        sets = pool.climbed(pool.filled(orders), steps)
        self.dual.cut(pool.cuts)
        self.offer(core[sets[int(pool.values(sets).argmax())]].tolist())
        return sets

    def _chosen(self, core: Ints) -> Bools:
        chosen = np.zeros(len(self.items.v), np.bool_)
        chosen[self.items.places(self.best)] = True
        return np.asarray(chosen[core])

    def _pool(self, lost: Floats | None = None) -> tuple[Ints, Pool]:
        """All, or the core: the best set and those that give away least."""
        s, dual = self.items, self.dual
        core = np.arange(len(s.v))
        if lost is not None:
            by = np.argsort(np.where(self._chosen(core), -1.0, lost), kind="stable")
            core = by[: max(CORE, len(self.best) + CORE // 2)]
        core = core[np.argsort(-s.v[core], kind="stable")]
        cuts = dual.plain + np.argsort(-dual.mu[dual.plain :], kind="stable")[:BINDING]
        cuts = np.sort(cuts[(dual.mu[cuts] > 0) | (not dual.mu.any())])
        rows = np.append(np.arange(dual.plain), cuts)
        losses = np.ascontiguousarray(s.losses[:, :, core].transpose(2, 0, 1))
        pool = Pool(s.v[core], dual.rows[core][:, rows], dual.room[rows], dual.mu[rows], losses, s.base, s.group[core])
        return core, pool

    def offer(self, places: Sequence[int]) -> bool:
        value = float(sum(self.items.v[i] for i in sorted(places)))
        if value > self.best_value * (1 + SLACK):
            self.best, self.best_value = [int(self.items.index[i]) for i in places], value
            return True
        return False

    def _close(self, gap: float = ENOUGH) -> bool:
        """Near enough to the bound: nothing worth the time can be found any more."""
        return self.dual.bound <= self.best_value * (1 + gap)
