"""Better sets by exchange: up to two items for up to two others, the best first, as long as that helps.

Where a row is full, such as that of slots, no single item can come in, and nearly every better set is two exchanges
away. All pairs against all pairs is a matrix of some hundred thousand; the margin is looked at for the best of them.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from keeper.core.recreate import ROUGH, Floats, Ints, Pool

OUTSIDE: Final = 40  # items that may come in, where two at once may
TRIED: Final = 512  # exchanges for which there is room in all rows, that are tried against the margin
AT_ONCE: Final = 64
Chosen = NDArray[np.bool_]  # (n,)


def exchanged(pool: Pool, start: Chosen, order: Floats | None = None) -> Ints:
    """The set that no exchange makes better. ``order`` (n,): those that may come in, highest first; None: singly."""
    done = start.copy()
    for _ in range(len(pool.v)):
        done = pool.filled(done[None], pool.v[None])[0]
        step = _best(pool, np.flatnonzero(done), _outside(done, order), double=order is not None)
        if step is None:
            break
        done[step[0]], done[step[1]] = False, True
    return np.flatnonzero(done)


def _outside(done: Chosen, order: Floats | None) -> Ints:
    outside = np.flatnonzero(~done)
    return outside if order is None else outside[np.argsort(-order[outside], kind="stable")[:OUTSIDE]]


def _best(pool: Pool, inside: Ints, outside: Ints, *, double: bool) -> tuple[Ints, Ints] | None:
    """(out, in) of the most valuable exchange; item n stands for none."""
    none = len(pool.v)
    v, a = np.append(pool.v, 0.0), np.vstack([pool.a, np.zeros(pool.a.shape[1])])
    outs, ins = (_pairs(x, none) if double else np.stack([x, np.full_like(x, none)]) for x in (inside, outside))
    gain = v[ins].sum(axis=0) - v[outs].sum(axis=0)[:, None]
    ok, left = gain > pool.slack, 1 + pool.slack - a[inside].sum(axis=0)
    for row in range(a.shape[1]):
        ok &= a[ins, row].sum(axis=0) <= (left[row] + a[outs, row].sum(axis=0))[:, None]
    found = np.flatnonzero(ok)
    found = found[np.argsort(-gain.ravel()[found], kind="stable")[:TRIED]]
    for at in range(0, len(found), AT_ONCE):
        p, q = np.divmod(found[at : at + AT_ONCE], gain.shape[1])
        good = _fit(pool, inside, outs[:, p], ins[:, q])
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


def _fit(pool: Pool, inside: Ints, outs: Ints, ins: Ints) -> Chosen:
    """(m,) whether groups and margin allow each of these exchanges."""
    none, group = len(pool.v), np.append(pool.group, -1)
    taken = np.zeros(int(pool.group.max()) + 2, np.int64)
    taken[group[inside]] += 1
    ok = group[ins[0]] != group[ins[1]]
    for item in ins:
        ok &= (taken[group[item]] == (group[outs] == group[item]).sum(axis=0)) | (item == none)
    if pool.base.size:
        losses = np.concatenate([pool.losses, np.zeros((*pool.base.shape, 1))], axis=2)
        total = pool.base + pool.losses[:, :, inside].sum(axis=2)
        after = total[:, :, None] + losses[:, :, ins].sum(axis=2) - losses[:, :, outs].sum(axis=2)
        ok &= np.maximum(after.max(axis=1), 0.0).sum(axis=0) <= 1 - ROUGH
    return np.asarray(ok)
