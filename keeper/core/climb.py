"""Many sets side by side: each filled in an order of its own, then bettered by exchanges.

Shapes: T sets, n items, k places in a set, R rows, U underlyings, S scenarios. All exchanges at once are looked at
roughly, in whole parts of the room, so that nothing is overlooked; then the one that each set makes in float64, and the
margin in all scenarios. Item n stands for none: it is worth nothing and uses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Parts = NDArray[np.int16]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Sets = Bools  # (T, n)
Cut = tuple[int, ...]  # a scenario of each underlying, -1 for none

SLACK: Final = 1e-12  # relative; float64 sums of a thousand terms are better than this
PARTS: Final = 8192  # of the room, for a rough look
BIG: Final = 32766  # of them; whatever has more has this many
BEGUN: Final = 32  # items of each order that are looked at all at once
GROWTH: Final = 4  # of that, when all of them fit
PLACES: Final = 14  # in a set, from which an item may go: those least worth what they use
HALVED: Final = 4  # steps after which only the better half goes on
NEW: Final = 4  # scenarios that a pool learns of
LAST: Final = 4  # sets that always do


@dataclass
class Pool:
    """What can be chosen, the most valuable first; all rows and the margin scaled to a room of one."""

    v: Floats  # (n,); with none from then on, as the others
    rows: Floats  # (n, R): the plain ones, then margin in scenarios that bind
    room: Floats  # (R,)
    mu: Floats  # (R,) their prices; those of later rows are not known
    losses: Floats  # (n, U, S); empty without margin
    base: Floats  # (U, S)
    group: Ints  # (n,)
    cuts: list[Cut] = field(default_factory=list)  # scenarios that stood against an exchange

    def __post_init__(self) -> None:
        self.n, self.room, self.margin = len(self.v), self.room + SLACK, bool(self.base.size)
        self.v, self.rows, self.losses = map(_with_none, (self.v, self.rows, self.losses))
        self.reduced = self.v - self.rows @ self.mu
        self.few = _rounded_down(self.rows[:-1].T)  # (R, n)
        self.few_losses = _rounded_down(self.losses.transpose(1, 2, 0))  # (U, S, n + 1)
        self.mates = np.append(np.unique(self.group, return_inverse=True)[1], -1).astype(
            np.int16 if self.n < BIG else np.int64
        )
        self.alone = self.n == 0 or int(self.mates.max()) + 1 == self.n
        self.rank = np.arange(self.n, 0, -1).astype(np.min_scalar_type(self.n))

    def values(self, sets: Sets) -> Floats:
        return np.asarray(sets @ self.v[:-1])

    def row(self, cut: Cut) -> None:
        """Margin in these scenarios is a row from now on."""
        use, room = linear(cut, self.losses.transpose(1, 2, 0), self.base)
        self.rows, self.room = np.column_stack([self.rows, use]), np.append(self.room, room + SLACK)
        self.few = _rounded_down(self.rows[:-1].T)

    # ── filling ──

    def filled(self, orders: Floats) -> State:
        """From nothing, each in its own order (T, n), the highest first, as long as anything fits."""
        n, keys, every = self.n, orders.astype(np.float32), np.arange(len(orders))
        state = State(self, self._begun(keys))
        shut, look = state.taken.T.copy(), True  # (T, n) what once does not fit never does later
        while True:
            shut |= (self.few[:, None] > _rounded_up(state.left.T)[:, :, None]).any(axis=0)
            if self.margin and look:
                own, spare = state.own()
                shut |= own[:, :n] > spare[:, None]
            item = np.where(shut, np.float32(-1), keys).argmax(axis=1)
            item[shut[every, item]] = n
            if (item == n).all():
                return state
            done = state.exchange(None, item)
            shut[every, np.minimum(item, n - 1)] = True
            if not self.alone:
                shut |= self.mates[done][:, None] == self.mates[:-1]
            if look := bool((done != item).any()):  # else the rows are enough
                state.cut()

    def _begun(self, keys: NDArray[np.float32]) -> Sets:
        """As many of the first as fit all at once."""
        orders, size = np.argsort(-keys, axis=1, kind="stable"), BEGUN
        while (fits := self._together(orders[:, :size])).all(axis=1).any() and size < self.n:
            size *= GROWTH
        sets = np.zeros((len(keys), self.n), np.bool_)
        np.put_along_axis(sets, orders[:, :size], fits, axis=1)
        return sets

    def _together(self, order: Ints) -> Bools:
        """(T, m) whether each of these, (T, m), fits after all that come before it."""
        fits = (self.rows[order].cumsum(axis=1) <= self.room).all(axis=2)
        if self.margin:
            fits &= within(self.base + self.losses[order].cumsum(axis=1))
        if not self.alone:
            mates, earlier = self.mates[order], np.triu(np.ones((order.shape[1],) * 2, np.bool_), 1)
            fits &= ~((mates[:, :, None] == mates[:, None, :]) & earlier).any(axis=1)
        return np.logical_and.accumulate(fits, axis=1)

    # ── climbing ──

    def climbed(self, state: State, steps: int) -> Sets:
        """None for one or one for one, the most valuable exchange of each set, as long as that helps.

        Of those that still climb, only the better half goes on after some ``HALVED`` steps.
        """
        state.ready()
        sets, climbing = state.sets[:, :-1].copy(), state.every
        for _ in range(-(-steps // HALVED)):
            state.cut()
            going = self._climb(state, HALVED)
            sets[climbing] = state.sets[:, :-1]
            if not going.any():
                break
            values = np.where(going, self.values(sets[climbing]), -1.0)
            most = min(int(going.sum()), max(LAST, len(going) // 2))
            better = np.sort(np.argsort(-values, kind="stable")[:most])
            climbing = climbing[better]
            state.only(better)
        return sets

    def _climb(self, state: State, steps: int) -> Bools:
        """(T,) which still do after so many steps."""
        n, every = self.n, state.every
        shut = np.zeros((n, len(every)), np.bool_)  # what did not fit after all
        helps = np.ones(len(every), np.bool_)
        for _ in range(steps):
            inside = state.inside  # (k, T)
            ok = self._open(state)
            ok &= ~shut[:, None]
            into = n - np.multiply(ok.view(np.uint8), self.rank[:, None, None]).max(axis=0).astype(
                np.int64
            )  # (k, T) the most valuable, or none
            gain = self.v[into] - self.v[inside]
            place = gain.argmax(axis=0)
            helps = gain[place, every] > SLACK
            if not helps.any():
                break
            item, out = np.where(helps, into[place, every], n), np.where(helps, inside[place, every], n)
            done = state.exchange(out, item)
            state.put(place, np.where(done == n, n, out), done)
            bad = np.flatnonzero(done != item)
            shut[item[bad], bad] = True
        return helps

    def _open(self, state: State) -> Bools:
        """(n, k, T) what may come in for what is inside, at a rough look."""
        inside, mates = state.inside, self.mates
        have = _rounded_up((state.left + self.rows[inside]).transpose(2, 0, 1))  # (R, k, T)
        ok = np.asarray(~state.taken[:, None] | (mates[:-1, None, None] == mates[inside]))
        for few, most in zip(self.few, have, strict=True):
            ok &= few[:, None, None] <= most
        if self.margin:
            own, spare = state.own()
            few = own.T.copy()  # (n + 1, T)
            most = np.minimum(spare.astype(np.int32) + few[inside, state.every], BIG).astype(np.int16)
            ok &= few[:-1, None] <= most
        return ok


class State:
    """Sets that change, and what they leave."""

    inside: Ints  # (k, T) what may go out, then none: at least once

    def __init__(self, pool: Pool, sets: Sets) -> None:
        self.pool, self.every = pool, np.arange(len(sets))
        self.sets = np.pad(sets, ((0, 0), (0, 1)))  # (T, n + 1)
        inside = self._inside()
        self.left = pool.room - pool.rows[inside].sum(axis=1)  # (T, R)
        self.total = pool.base + pool.losses[inside].sum(axis=1)  # (T, U, S)
        self.taken = self._taken(inside)  # (n, T) something of its group is chosen

    def _inside(self) -> Ints:
        """(T, k)"""
        counts = self.sets.sum(axis=1)
        inside = np.full((len(counts), int(counts.max(initial=0)) + 1), self.pool.n)
        inside[np.arange(inside.shape[1]) < counts[:, None]] = np.nonzero(self.sets)[1]
        return inside

    def _taken(self, inside: Ints) -> Bools:
        if self.pool.alone:
            return self.sets[:, :-1].T.copy()
        mates = self.pool.mates
        held = np.zeros((len(inside), self.pool.n + 1), np.bool_)  # by group; the last for none
        held[self.every[:, None], mates[inside]] = True
        return np.ascontiguousarray(held[:, mates[:-1]].T)

    def ready(self) -> None:
        """For exchanges."""
        inside = self._inside()
        self.taken = self._taken(inside)
        if inside.shape[1] > PLACES:
            order = np.argsort(self.pool.reduced[inside], axis=1, kind="stable")[:, : PLACES - 1]
            inside = np.column_stack([np.take_along_axis(inside, order, axis=1), np.full(len(inside), self.pool.n)])
        self.inside = np.ascontiguousarray(inside.T)

    def only(self, these: Ints) -> None:
        self.sets, self.left, self.total = self.sets[these], self.left[these], self.total[these]
        self.inside, self.taken, self.every = self.inside[:, these], self.taken[:, these], self.every[: len(these)]

    def cut(self) -> None:
        """Margin in the scenarios that stood against an exchange is a row from now on."""
        for cut in self.pool.cuts[self.left.shape[1] - len(self.pool.mu) :]:
            if self.pool.rows.shape[1] == self.left.shape[1]:
                self.pool.row(cut)
            used = sum((self.total[:, u, s] for u, s in enumerate(cut) if s >= 0), np.zeros(len(self.left)))
            self.left = np.column_stack([self.left, 1 + SLACK - used])

    def own(self) -> tuple[Parts, Parts]:
        """(T, n + 1) what each item adds where the margin of each set is worst now, and (T,) what is left there."""
        worst, most = self.total.argmax(axis=2), self.total.max(axis=2)  # (T, U)
        counts = most > 0
        own = np.zeros((len(self.sets), self.pool.n + 1), np.int32)
        for u, few in enumerate(self.pool.few_losses):
            own += few.take(worst[:, u], axis=0) * counts[:, u, None]
        return np.minimum(own, BIG).astype(np.int16), _rounded_up(1 - (most * counts).sum(axis=1))

    def exchange(self, out: Ints | None, item: Ints) -> Ints:
        """Each set one item for another, where it fits. (T,) what came in: none where it does not fit."""
        pool, n = self.pool, self.pool.n
        if out is None:
            left, total = self.left - pool.rows[item], self.total + pool.losses[item]
        else:
            left = self.left + (pool.rows[out] - pool.rows[item])
            total = self.total + (pool.losses[item] - pool.losses[out])
        fine = (left >= 0).all(axis=1)
        if pool.margin:
            room = within(total)
            for t in np.flatnonzero(fine & ~room)[:1]:
                if len(pool.cuts) < NEW and (cut := scenarios(total[t])) not in pool.cuts:
                    pool.cuts.append(cut)
            fine &= room
        if not fine.all():
            out, item = None if out is None else np.where(fine, out, n), np.where(fine, item, n)
            left = np.where(fine[:, None], left, self.left)
            total = np.where(fine[:, None, None], total, self.total)
        self.left, self.total = left, total
        if out is not None:
            self.sets[self.every, out] = False
        self.sets[self.every, item] = True
        self.sets[:, n] = False
        return item

    def put(self, place: Ints, out: Ints, item: Ints) -> None:
        """What came in stands where something went out; each set keeps a place for none."""
        some, n, mates = np.flatnonzero(item < self.pool.n), self.pool.n, self.pool.mates
        self.inside[place[some], some] = item[some]
        if self.inside[-1].min() < n:
            self.inside = np.concatenate([self.inside, np.full_like(self.inside[:1], n)])
        self.taken &= mates[:-1, None] != mates[out]
        self.taken |= mates[:-1, None] == mates[item]


def _with_none(x: Floats) -> Floats:
    return np.concatenate([x, np.zeros_like(x[:1])])


def _rounded_down(uses: Floats) -> Parts:
    """What does not fit by these does not."""
    return np.minimum(uses * PARTS, BIG).astype(np.int16, order="C")


def _rounded_up(room: Floats) -> Parts:
    return (np.clip(room * PARTS, -1.0, BIG - 1) + 1).astype(np.int16, order="C")


def within(total: Floats) -> Bools:
    """(...) whether there is margin for (..., U, S)."""
    return np.asarray(np.maximum(total.max(axis=-1), 0.0).sum(axis=-1) <= 1 + SLACK)


def scenarios(total: Floats) -> Cut:
    """The worst of each underlying, of (U, S)."""
    worst = total.argmax(axis=1) if total.size else ()
    return tuple(int(s) if row[s] > 0 else -1 for row, s in zip(total, worst, strict=True))


def linear(cut: Cut, losses: Floats, base: Floats) -> tuple[Floats, float]:
    """(n,) use and room of the row that margin is if these scenarios are the worst. ``losses`` (U, S, n)."""
    pairs = [(u, s) for u, s in enumerate(cut) if s >= 0]
    use = sum((losses[u, s] for u, s in pairs), np.zeros(losses.shape[2]))
    return use, 1 - float(sum(base[u, s] for u, s in pairs))
