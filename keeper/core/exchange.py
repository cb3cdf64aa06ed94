"""Better sets by exchange: up to two items for up to two others, the best first, as long as that helps.

Where a row is full, such as that of slots, no single item can come in, and nearly every better set is two exchanges
away. All pairs against all pairs is a matrix of some hundred thousand; the margin is looked at for the best of them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from keeper.core.recreate import ROUGH, Floats, Ints, Pool

OUTSIDE: Final = 24  # items that may come in, where two at once may
INSIDE: Final = 16  # items that may go out, there
TRIED: Final = 512  # exchanges for which there is room in all rows, that are tried against the margin
AT_ONCE: Final = 64
Chosen = NDArray[np.bool_]  # (n,)


def exchanged(pool: Pool, start: Chosen, order: Floats | None = None) -> Ints:
    """The set that no exchange makes better. ``order`` (n,): those that may come in, highest first; None: singly."""
    done = start.copy()
    for _ in range(len(pool.v)):
        done = pool.filled(done[None], pool.v[None])[0]
        step = _best(pool, np.flatnonzero(done), *_sides(done, order), double=order is not None)
        if step is None:
            break
        done[step[0]], done[step[1]] = False, True
    return np.flatnonzero(done)


def _sides(done: Chosen, order: Floats | None) -> tuple[Ints, Ints]:
    """What may go out, and what may come in."""
    inside, outside = np.flatnonzero(done), np.flatnonzero(~done)
    if order is None:
        return inside, outside
    low, high = np.argsort(order[inside], kind="stable"), np.argsort(-order[outside], kind="stable")
    return inside[low[:INSIDE]], outside[high[:OUTSIDE]]


def _best(pool: Pool, inside: Ints, leave: Ints, come: Ints, *, double: bool) -> tuple[Ints, Ints] | None:
    """(out, in) of the most valuable exchange; item n stands for none."""
    none = len(pool.v)
    v, a = np.append(pool.v, 0.0), np.vstack([pool.a, np.zeros(pool.a.shape[1])])
    outs, ins = (_pairs(x, none) if double else np.stack([x, np.full_like(x, none)]) for x in (leave, come))
    gain = v[ins].sum(axis=0) - v[outs].sum(axis=0)[:, None]
    ok, left = gain > pool.slack, 1 + pool.slack - a[inside].sum(axis=0)
    for row in range(a.shape[1]):
        ok &= a[ins, row].sum(axis=0) <= (left[row] + a[outs, row].sum(axis=0))[:, None]
    found = np.flatnonzero(ok)
    found = found[np.argsort(-gain.ravel()[found], kind="stable")[:TRIED]]
    fits = _Fit(pool, inside)
    for at in range(0, len(found), AT_ONCE):
        p, q = np.divmod(found[at : at + AT_ONCE], gain.shape[1])
        good = fits(outs[:, p], ins[:, q])
        if good.any():
            k = int(good.argmax())
            out, into = outs[:, p[k]], ins[:, q[k]]
            return out[out < none], into[into < none]
    return None


def _pairs(items: Ints, none: int) -> Ints:
    """(2, m) any two, or one and none."""
    one, other = np.triu_indices(len(items) + 1, 1)
    each = np.append(items, none)
    return np.stack([each[one], each[other]])


class _Fit:
    """Whether groups and margin allow exchanges with a set."""

    def __init__(self, pool: Pool, inside: Ints) -> None:
        self._none, self._group = len(pool.v), np.append(pool.group, -1)
        self._taken = np.zeros(int(pool.group.max()) + 2, np.int64)
        self._taken[self._group[inside]] += 1
        self._margin = bool(pool.base.size)
        if self._margin:
            self._losses = np.concatenate([pool.losses, np.zeros((*pool.base.shape, 1))], axis=2)
            self._total = (pool.base + pool.losses[:, :, inside].sum(axis=2))[:, :, None]

    def __call__(self, outs: Ints, ins: Ints) -> Chosen:
        """(m,) of each of these, (2, m)."""
        group, losses = self._group, self._losses if self._margin else None
        ok = group[ins[0]] != group[ins[1]]
        for item in ins:
            mine = (group[outs] == group[item]).sum(axis=0)
            ok &= (self._taken[group[item]] == mine) | (item == self._none)
        if losses is not None:
            after = losses[:, :, ins[0]] + losses[:, :, ins[1]] - losses[:, :, outs[0]] - losses[:, :, outs[1]]
            after += self._total
            ok &= np.maximum(after.max(axis=1), 0.0).sum(axis=0) <= 1 - ROUGH
        return np.asarray(ok)
