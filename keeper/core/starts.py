"""Orders in which sets are filled, so that they end elsewhere: (T, n), the highest first.

By value per use at prices other than those of the dual; from one large item; from a good set and one more item; from
what two good sets share. What a set is to begin with stands before everything else. No chance is in it: what looks
like noise is a fixed sequence.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from keeper.core.climb import Bools, Floats, Ints, Pool, Sets

SPREAD: Final = 0.4, 2.5  # from how much to how much of the price that the dual says
UPSET: Final = 3  # good sets that get one more item
MORE: Final = 5  # items that each of them gets
PAIRED: Final = 4  # good sets of which any two are combined
FIRST: Final = 2.0  # more than any value per use on that scale
SILVER: Final = 0.4142135623730951
GOLDEN: Final = 0.6180339887498949


def elsewhere(pool: Pool, part: int, sets: int) -> Floats:
    """By value per use, each at prices of its own."""
    low, high = SPREAD
    return _per_use(pool, pool.mu * low * (high / low) ** noise(part, sets, len(pool.mu)))


def _per_use(pool: Pool, prices: Floats) -> Floats:
    """(T, n) at prices (T, R), on a scale of one."""
    found = pool.v[:-1] / (prices @ pool.rows[:-1, : len(pool.mu)].T + 1e-9)
    return np.asarray(found / found.max(axis=1, keepdims=True))


def large(orders: Floats, best: Bools, first: int, most: int) -> Floats:
    """The last of these orders begin with one item each that the best set, (n,), lacks: the most valuable ``first``
    times passed over."""
    lacking = np.flatnonzero(~best)[first : first + most]
    orders[np.arange(len(orders))[len(orders) - len(lacking) :], lacking] = np.inf
    return orders


def upset(pool: Pool, sets: Sets, lost: Floats) -> Floats:
    """From the best of these sets, with one item more that gives away little: something has to go."""
    best = distinct(sets, pool.values(sets), UPSET)
    order = np.argsort(np.where(sets[best], np.inf, lost), axis=1, kind="stable")
    more = min(MORE, int((~sets[best]).sum(axis=1).min()))
    item = order[:, :more].ravel()
    orders = _per_use(pool, pool.mu[None]) + FIRST * np.repeat(sets[best], more, axis=0)
    orders[np.arange(len(item)), item] = np.inf
    return orders


def combined(pool: Pool, sets: Sets, part: int) -> Floats:
    """From what any two of the best of these sets share."""
    best = distinct(sets, pool.values(sets), PAIRED)
    one, other = np.triu_indices(len(best), 1)
    shared = sets[best[one]] & sets[best[other]]
    return elsewhere(pool, part, len(shared)) + FIRST * shared


def distinct(sets: Sets, values: Floats, most: int) -> Ints:
    """The best of them, each once."""
    seen = dict[bytes, int]()
    for t in np.argsort(-values, kind="stable").tolist():
        if len(seen) < most:
            seen.setdefault(sets[t].tobytes(), t)
    return np.array(list(seen.values()))


def noise(part: int, rows: int, columns: int) -> Floats:
    """(rows, columns) spread over [0, 1)."""
    at = (np.arange(rows)[:, None] + part * rows + 1) * SILVER + (np.arange(columns) + 1) * GOLDEN
    return np.asarray((at * at * 1009.0) % 1.0)
