"""The most valuable set of items that fits into what all of them share.

    max  sum v_i x_i            x_i in {0, 1}, at most one of each group
    s.t. sum a_ir x_i <= b_r                                    rows: cash, gas, slots ...
         sum_u max(0, max_s(base_us + sum l_ius x_i)) <= room   own margin: the worst scenario of each underlying

All uses are non-negative: whatever fits, fits without any one of its items too. Prices of the rows come from the
Lagrangian dual, which also bounds the optimum (Fisher, Management Science 27 (1981) 1); from them a greedy start. Then
items are left out that no better set can contain; the rest is searched (few items by ruin and recreate, many from
nothing at other prices; then exchange), and what the bound still leaves open is enumerated. That ends by itself for up
to ``EXACT`` items, else after ``NODES`` steps: by count, not by time, so that two runs choose the same. The search is
in float64; what is returned is checked in exact integers.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from keeper.core.exchange import exchanged
from keeper.core.recreate import Floats, Pool, noise
from keeper.core.walk import SLACK, Walk, from_best

Worst = tuple[tuple[int, ...], ...]  # by underlying and scenario
Cut = tuple[int, ...]  # a scenario of each underlying, -1 for none

EXACT: Final = 16  # items up to which the enumeration has no limit
ENOUGH: Final = 0.004  # relative gap at which the search ends
NEAR: Final = 0.01  # at which many items are not started from other prices again
FAR: Final = 0.02  # above which the prices are looked for again though no scenario is new
AGAIN: Final = 0.1  # how long the first step of the dual is then
NODES: Final = 250  # steps of the enumeration for larger sets
MOST: Final = 250  # items above which so few steps prove nothing
ROUNDS: Final = (60, 30, 30, 30, 30, 30)  # steps of the dual, each time that the binding scenarios are looked for again
MANY: Final = 500  # items from which few starts are worth more than a long search
PARTS: Final = 3  # times that they are; the last only where all items are looked at
STARTS: Final = 3  # of the sets made at other prices, how many are bettered
LARGE: Final = 12  # of the sets made, how many begin with a large item
PRICES: Final = 0.4, 2.5  # from how much to how much of the price that the dual says
CORE: Final = 96  # items that the search looks at
CHUNK: Final = 64  # items looked at together
GROWTH: Final = 4  # of that, when all before were looked at
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
    """Deterministic; of equal sets, the one with earlier items. Items of no value are never chosen."""
    useful = [i for i, item in enumerate(items) if item.value > 0]
    rows = len(room.rows) + bool(room.losses)
    if not useful or not room.fits(()):
        return Selected((), 0, 0, (0.0,) * rows)
    search = _Search([items[i] for i in useful], room)
    picked, bound = search.run()
    chosen = tuple(useful[i] for i in _exactly(search.items, picked, room))
    value = sum(items[i].value for i in chosen)
    return Selected(chosen, value, max(value, bound), search.prices(rows))


def _exactly(items: Sequence[Item], picked: Sequence[int], room: Room) -> list[int]:
    """The same in integers: where float64 was a hair too kind, the least valuable ones are left out again."""
    kept = sorted(picked)
    while not room.fits([items[i] for i in kept]):
        kept.remove(min(kept, key=lambda i: (items[i].value, -i)))
    return kept


@dataclass
class _Search:
    """Everything scaled: rows and margin room to 1, the largest value to 1."""

    items: Sequence[Item]
    room: Room
    index: NDArray[np.int64] = field(init=False)  # of the items that are still looked at
    v: Floats = field(init=False)  # (n,)
    a: Floats = field(init=False)  # (n, R)
    losses: Floats = field(init=False)  # (U, S, n): the maximum over S is the hot path
    base: Floats = field(init=False)  # (U, S)
    group: NDArray[np.int64] = field(init=False)  # (n,) 0, 1, 2 ...
    by_group: NDArray[np.int64] = field(init=False)  # items in the order of their groups
    starts: NDArray[np.int64] = field(init=False)  # where in it each group begins
    best: list[int] = field(default_factory=list)  # positions in ``items``
    best_value: float = 0.0
    mu: Floats = field(default_factory=lambda: np.zeros(0))
    dual: float = np.inf
    cuts: list[Cut] = field(default_factory=list)
    made: tuple[tuple[int, int], tuple[Floats, Floats]] | None = None  # the linear rows, and of how many items and cuts

    def __post_init__(self) -> None:
        items, room, n = self.items, self.room, len(self.items)
        values, groups, uses, losses = zip(*((i.value, i.group, i.uses, i.losses) for i in items), strict=True)
        self.index = np.arange(n)
        self.unit = float(max(values))
        self.v = _floats(values, n) / self.unit
        self.a = _floats(flat(uses), n * len(room.rows)).reshape(n, -1)
        self.a /= _floats((row or NONE for row in room.rows), len(room.rows))
        margin, shape = room.margin or NONE, (len(room.losses), len(room.losses[0]) if room.losses else 0)
        size, none = shape[0] * shape[1], ((0,) * shape[1],) * shape[0]
        self.base = _floats(flat(room.losses), size).reshape(shape) / margin
        each = flat(flat(loss or none for loss in losses))
        self.losses = np.ascontiguousarray(_floats(each, n * size).reshape(n, *shape).transpose(1, 2, 0)) / margin
        number = {group: i for i, group in enumerate(dict.fromkeys(groups))}
        self.group = np.fromiter(map(number.__getitem__, groups), np.int64, n)
        self.alone = len(number) == n
        self.margin = bool(room.losses)
        self._keep(self._fits(self.index, np.full(self.a.shape[1], 1 + SLACK), self.base))  # alone

    def run(self) -> tuple[list[int], int]:
        """(positions, bound in the unit of the values)."""
        few, new = 2 if len(self.items) <= MANY else 1, self._binding(np.zeros(len(self.v), np.bool_))
        for k, rounds in enumerate(ROUNDS):
            self.cuts += new
            self._dual(rounds, 1.0 if new else AGAIN)
            for order in self._orders()[: few if k else 4]:
                self.offer(self._fill(order))
            self._exchange(double=False)
            self._reduce()
            new = [cut for cut in self._violated() if cut not in self.cuts]
            if not new and (len(self.v) <= EXACT or self._close(FAR)):  # else the prices are not found yet
                break
        if len(self.v) > EXACT and not self._close():
            for part in range(1 if len(self.items) <= MANY else PARTS):
                self._scatter(part) if len(self.items) > MANY else self._search()
                self._exchange(double=True)
                self._reduce()
                if self._close(NEAR) or (part and len(self.v) > CORE):
                    break
        proven = len(self.v) <= MOST and Walk(self, NODES if len(self.items) > EXACT else 2 ** (EXACT + 4)).run()
        if not proven and not self._close() and len(self.items) <= MANY:
            self._exchange(double=True)
        value = sum(self.items[i].value for i in self.best)
        bound = value if proven else int(self.dual * (1 + SLACK) * self.unit) + 1
        return self.best, max(bound, value)

    def prices(self, rows: int) -> tuple[float, ...]:
        """By row; the cuts are all of the one row of margin."""
        plain = self.a.shape[1]
        values = [float(x) * self.unit for x in self.mu]
        return (*values[:plain], sum(values[plain:])) if rows > plain else tuple(values[:plain])

    # ── what fits ──

    def _places(self, chosen: Sequence[int]) -> list[int]:
        """Where items stand in the arrays; those of the best set always do."""
        return sorted(int(p) for p in np.searchsorted(self.index, chosen))

    def _binding(self, chosen: NDArray[np.bool_]) -> list[Cut]:
        """The worst scenario of each underlying with this set: one more linear row; nothing without margin."""
        if not self.margin:
            return []
        total = self.base + self.losses[:, :, chosen].sum(axis=2)
        return [tuple(int(s) if row[s] > 0 else -1 for row, s in zip(total, total.argmax(axis=1), strict=True))]

    def _violated(self) -> list[Cut]:
        """Where the best set and the solution of the relaxed problem have their worst scenarios."""
        best = np.zeros(len(self.v), np.bool_)
        best[self._places(self.best)] = True
        rows, _ = self._linear()
        reduced = self.v - rows @ self.mu
        relaxed = (reduced > 0) & (reduced >= self._tops(reduced))
        return list(dict.fromkeys(self._binding(relaxed) + self._binding(best)))

    def _fill(self, order: NDArray[np.int64]) -> list[int]:
        """Items in this order as long as any fits; what once does not fit never does later."""
        chosen = list[int]()
        left, total = np.full(self.a.shape[1], 1 + SLACK), self.base
        least, taken = self.a.min(axis=0, initial=1.0), np.zeros(int(self.group.max(initial=0)) + 1, np.bool_)
        begin, size = 0, CHUNK
        while begin < len(order) and not (left < least).any():
            open_ = order[begin : begin + size]
            begin, size = begin + size, GROWTH * size
            while len(open_ := open_[~taken[self.group[open_]]]) and len(
                open_ := open_[self._fits(open_, left, total)]
            ):
                run = open_[: self._together(open_[:CHUNK], left, total)]
                chosen += run.tolist()
                left, total = left - self.a[run].sum(axis=0), total + self.losses[:, :, run].sum(axis=2)
                taken[self.group[run]] = True
                open_ = open_[len(run) :]
        return chosen

    def _together(self, items: NDArray[np.int64], left: Floats, total: Floats) -> int:
        """How many of the first of these, each of which fits, fit all at once: at least one."""
        ok = (self.a[items].cumsum(axis=0) <= left).all(axis=1)
        if self.margin:
            worst = (self.losses[:, :, items].cumsum(axis=2) + total[:, :, None]).max(axis=1)
            ok &= np.maximum(worst, 0.0).sum(axis=0) <= 1 + SLACK
        if not self.alone:
            again = np.ones(len(items), np.bool_)
            again[np.unique(self.group[items], return_index=True)[1]] = False
            ok &= ~again
        return max(1, len(items) if ok.all() else int(ok.argmin()))

    def _fits(self, items: NDArray[np.int64], left: Floats, total: Floats) -> NDArray[np.bool_]:
        ok = (self.a[items] <= left).all(axis=1)
        if self.margin:
            worst = (self.losses[:, :, items] + total[:, :, None]).max(axis=1)
            ok &= np.maximum(worst, 0.0).sum(axis=0) <= 1 + SLACK
        return np.asarray(ok)

    def offer(self, places: Sequence[int]) -> bool:
        value = float(sum(self.v[i] for i in sorted(places)))
        if value > self.best_value * (1 + SLACK):
            self.best, self.best_value = [int(self.index[i]) for i in places], value
            return True
        return False

    # ── prices and bound ──

    def _linear(self) -> tuple[Floats, Floats]:
        """Rows (n, R) and room (R,): the plain ones, then margin as if these scenarios were the worst."""
        if self.made is None or self.made[0] != (len(self.v), len(self.cuts)):
            rows, room = [self.a], [np.ones(self.a.shape[1])]
            for cut in self.cuts:
                pairs = [(u, s) for u, s in enumerate(cut) if s >= 0]
                use = sum((self.losses[u, s] for u, s in pairs), np.zeros(len(self.v)))
                rows.append(use[:, None])
                room.append(np.array([1 - sum(self.base[u, s] for u, s in pairs)]))
            self.made = (len(self.v), len(self.cuts)), (np.concatenate(rows, axis=1), np.concatenate(room))
        return self.made[1]

    def _tops(self, reduced: Floats) -> Floats:
        """(n,) of the group of each item the best, at least 0: nothing need be taken."""
        if self.alone:
            return np.maximum(reduced, 0.0)
        return np.asarray(np.maximum(np.maximum.reduceat(reduced[self.by_group], self.starts), 0.0)[self.group])

    def _value(self, mu: Floats, room: Floats, tops: Floats) -> float:
        """The Lagrangian: never below the best value, whatever the prices."""
        once = tops if self.alone else tops[self.by_group][self.starts]
        return float(room @ mu + once.sum())

    def _dual(self, rounds: int, theta: float) -> None:
        """Subgradient steps after Polyak: ``theta`` of the way to the best value known, from the best prices so far."""
        rows, room = self._linear()
        mu = best = np.concatenate([self.mu, np.zeros(rows.shape[1] - len(self.mu))])
        lowest = np.inf
        for _ in range(rounds):
            reduced = self.v - rows @ mu
            tops = self._tops(reduced)
            value = self._value(mu, room, tops)
            if value < lowest * (1 - 1e-4):
                lowest, best = value, mu
            else:
                theta *= 0.9
                lowest, best = (value, mu) if value < lowest else (lowest, best)
            slope = room - ((reduced > 0) & (reduced >= tops)).astype(np.float64) @ rows
            slope[(mu <= 0) & (slope > 0)] = 0.0
            size = float(slope @ slope)
            if size == 0:
                break
            mu = np.maximum(0.0, mu - slope * (theta * (value - 0.99 * self.best_value) / size))
        self.mu, self.dual = best, min(self.dual, lowest)

    def _orders(self) -> list[NDArray[np.int64]]:
        """By value per priced use, by value less priced use, by value, by value per tightest use."""
        return [np.argsort(-key, kind="stable") for key in self._keys()]

    def _keys(self) -> Floats:
        """(4, n) what to take first: the highest, on a scale of one."""
        rows, _ = self._linear()
        priced = rows @ self.mu
        keys = (self.v / (priced + 1e-9), 1 + self.v - priced, self.v, self.v / (rows.max(axis=1) + 1e-9))
        return np.stack([key / key.max(initial=1e-9) for key in keys])

    def _reduce(self) -> None:
        """Leave out what no better set can contain: it would give away more than the gap (best set excepted)."""
        rows, room = self._linear()
        reduced = self.v - rows @ self.mu
        tops = self._tops(reduced)
        stay = tops - reduced <= self._value(self.mu, room, tops) - self.best_value
        stay[self._places(self.best)] = True
        self._keep(stay)

    def _keep(self, stay: NDArray[np.bool_]) -> None:
        for name in ("index", "v", "a", "losses", "group"):
            old = getattr(self, name)
            setattr(self, name, old[:, :, stay] if name == "losses" else old[stay])
        self.group = np.unique(self.group, return_inverse=True)[1]
        self.by_group = np.argsort(self.group, kind="stable")
        self.starts = np.searchsorted(self.group[self.by_group], np.arange(int(self.group.max(initial=-1)) + 1))

    def choices(self) -> tuple[float, list[list[tuple[float, int]]]]:
        """The dual value, and of each group (what is given away against it, place or -1 for none), the best first."""
        rows, room = self._linear()
        reduced = self.v - rows @ self.mu
        value = self._value(self.mu, room, self._tops(reduced))
        found: dict[int, list[tuple[float, int]]] = {}
        for i, g in enumerate(self.group.tolist()):
            found.setdefault(g, [(0.0, -1)]).append((-float(reduced[i]), i))
        return value, [from_best(options) for options in found.values()]

    # ── better sets ──

    def _pool(self) -> tuple[NDArray[np.int64], Pool]:
        core = self._core()
        losses = np.ascontiguousarray(self.losses[:, :, core])
        group, rough = self.group[core], losses.astype(np.float32)
        return core, Pool(self.v[core], self.a[core], losses, self.base, group, rough, SLACK)

    def _exchange(self, *, double: bool) -> None:
        """From the best set; up to two items at once, or one."""
        if not len(self.v):
            return
        core, pool = self._pool()
        order = self._keys()[1, core] if double else None
        self.offer(core[exchanged(pool, np.isin(self.index[core], self.best), order)].tolist())

    def _search(self) -> None:
        """Ruin and recreate, among those that give away least."""
        core, pool = self._pool()
        start = np.isin(self.index[core], self.best)
        for found in pool.search(start, self._keys()[:3, core]):
            if found.size and self.offer(core[found].tolist()) and self._close():
                return

    def _scatter(self, part: int) -> None:
        """From nothing at other prices, or from one large item that the best set lacks: exchanges end elsewhere."""
        core, pool = self._pool()
        rows, _ = self._linear()
        low, high = PRICES
        prices = self.mu * low * (high / low) ** noise(3 + 7 * part, rows.shape[1])
        lacking = np.where(np.isin(self.index[core], self.best), 0.0, self.v[core])
        large = np.argsort(-lacking, kind="stable")[part * LARGE : (part + 1) * LARGE]
        for start in islice(pool.fresh(self.v[core] / (prices @ rows[core].T + 1e-9), large), STARTS):
            self.offer(core[exchanged(pool, start)].tolist())

    def _close(self, gap: float = ENOUGH) -> bool:
        """Near enough to the bound: nothing worth the time can be found any more."""
        return self.dual <= self.best_value * (1 + gap)

    def _core(self) -> NDArray[np.int64]:
        """Those that give away least, and the best set."""
        rows, _ = self._linear()
        reduced = self.v - rows @ self.mu
        lost = self._tops(reduced) - reduced
        lost[self._places(self.best)] = -1.0
        return np.sort(np.argsort(lost, kind="stable")[:CORE])


def _floats(numbers: Iterable[float], count: int) -> Floats:
    return np.fromiter(numbers, np.float64, count)
