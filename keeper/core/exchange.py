"""Better sets by exchange: up to two items for up to two others, the best first, as long as that helps.

Where a row is full, such as that of slots, nearly every better set is two exchanges away. All pairs against all pairs
is a matrix of some hundred thousand; the margin is looked at for the best of them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from keeper.core.climb import SLACK, Floats, Ints, Pool, State, within

OUTSIDE: Final = 24  # items that may come in
INSIDE: Final = 16  # items that may go out
TRIED: Final = 512  # exchanges for which there is room in all rows, that are tried against the margin
AT_ONCE: Final = 64
STEPS: Final = 40  # one for one
Chosen = NDArray[np.bool_]  # (n,)


def exchanged(pool: Pool, start: Chosen, order: Floats) -> Chosen:
    """The set that no exchange makes better. ``order`` (n,): those that may come in, highest first."""
    done = start
    for _ in range(pool.n):
        done = pool.climbed(State(pool, done[None]), STEPS)[0]
        step = _best(pool, np.flatnonzero(done), *_sides(done, order))
        if step is None:
            break
        out, into = step
        done[out[out < pool.n]], done[into[into < pool.n]] = False, True
    return done


def _sides(done: Chosen, order: Floats) -> tuple[Ints, Ints]:
    """What may go out, and what may come in."""
    inside, outside = np.flatnonzero(done), np.flatnonzero(~done)
    low, high = np.argsort(order[inside], kind="stable"), np.argsort(-order[outside], kind="stable")
    return inside[low[:INSIDE]], outside[high[:OUTSIDE]]


def _best(pool: Pool, inside: Ints, leave: Ints, come: Ints) -> tuple[Ints, Ints] | None:
    """(out, in) of the most valuable exchange; item n stands for none."""
    outs, ins = _pairs(leave, pool.n), _pairs(come, pool.n)
    gain = pool.v[ins].sum(axis=0) - pool.v[outs].sum(axis=0)[:, None]
    ok, left = gain > SLACK, pool.room - pool.rows[inside].sum(axis=0)
    for row, use in enumerate(pool.rows.T):
        ok &= use[ins].sum(axis=0) <= (left[row] + use[outs].sum(axis=0))[:, None]
    found = np.flatnonzero(ok)
    found = found[np.argsort(-gain.ravel()[found], kind="stable")[:TRIED]]
    total = pool.base + pool.losses[inside].sum(axis=0)
    taken = np.bincount(pool.mates[inside] + 1, minlength=pool.n + 1)
    for at in range(0, len(found), AT_ONCE):
        p, q = np.divmod(found[at : at + AT_ONCE], gain.shape[1])
        out, into = outs[:, p], ins[:, q]
        good = _apart(pool, taken, out, into)
        if pool.margin:
            good &= within(total + pool.losses[into].sum(axis=0) - pool.losses[out].sum(axis=0))
        if good.any():
            k = int(good.argmax())
            return out[:, k], into[:, k]
    return None


def _pairs(items: Ints, none: int) -> Ints:
    """(2, m) any two, or one and none."""
    one, other = np.triu_indices(len(items) + 1, 1)
    each = np.append(items, none)
    return np.stack([each[one], each[other]])


def _apart(pool: Pool, taken: Ints, outs: Ints, ins: Ints) -> Chosen:
    """(m,) whether groups allow these exchanges, (2, m). ``taken``: how many of each group, none first, are inside."""
    group = pool.mates
    ok = group[ins[0]] != group[ins[1]]
    for item in ins:
        mine = (group[outs] == group[item]).sum(axis=0)
        ok &= (taken[group[item] + 1] == mine) | (item == pool.n)
    return np.asarray(ok)
