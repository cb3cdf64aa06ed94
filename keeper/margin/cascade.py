"""Where one liquidation triggers the next: a book on a ladder of prices, sold into the price that it is judged by.

Shapes: K levels of the price, as factors of today's and ascending; N accounts. All float64, US dollars, sizes in units
of the underlying. A move from today's price (factor 1) to a level makes some accounts liquidatable; who buys them sells
their delta into a constant-product pool; the pool has the weight ``omega`` in the reported price; at that price more
accounts may be liquidatable, and so on until none is:

    p <- (1 - omega) f + omega f (x / (x + q))^2        q: base units sold so far, x: base reserve (strategies.md 6, 7)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Final

import numpy as np
from numpy.typing import NDArray

from keeper.margin.black76 import Floats

ROUNDS: Final = 1_000  # generations; each but the last has a new account in it
MOST: Final = 0.95  # of the reserve that forced flow can buy back: a pool never runs dry


@dataclass(frozen=True)
class Ladder:
    """What each account is at each level of one price, all others standing still."""

    price: float  # today, US dollars
    factors: Floats  # (K,)
    margin: Floats  # (K, N) equity less requirement
    delta: Floats  # (K, N) units of this underlying

    def __post_init__(self) -> None:
        k, n = self.margin.shape
        if self.delta.shape != (k, n) or self.factors.shape != (k,):
            raise ValueError(f"a ladder of shapes {self.factors.shape}, {self.margin.shape}, {self.delta.shape}")
        if not (np.diff(self.factors) > 0).all() or not self.factors[0] > 0 or not self.price > 0:
            raise ValueError("the factors of a ladder must ascend from above 0, and its price must be above 0")
        if not (np.isfinite(self.margin).all() and np.isfinite(self.delta).all()):
            raise ValueError("a ladder holds something that is not a number")

    def at(self, factor: float) -> tuple[Floats, Floats]:
        """(margin, delta), (N,) each, linear between levels and held at the ends. ValueError for what is no price."""
        if not factor > 0:
            raise ValueError(f"a ladder has nothing at {factor} times its price")
        f = min(max(factor, float(self.factors[0])), float(self.factors[-1]))
        j = int(np.clip(np.searchsorted(self.factors, f) - 1, 0, len(self.factors) - 2))
        low, high = self.factors[j], self.factors[j + 1]
        t = float((f - low) / (high - low))
        return (1 - t) * self.margin[j] + t * self.margin[j + 1], (1 - t) * self.delta[j] + t * self.delta[j + 1]

    def breaches(self) -> tuple[Floats, Floats]:
        """(falls, rises), (N,): the nearest factor below and above 1 at which margin is negative; NaN for none.

        An account that is liquidatable already breaches at 1.
        """
        one = int(np.searchsorted(self.factors, 1.0))
        if one == len(self.factors) or self.factors[one] != 1.0:
            raise ValueError("a ladder needs today's price among its levels")
        down = self._first(np.arange(one, -1, -1))
        return down, self._first(np.arange(one, len(self.factors)))

    def _first(self, order: NDArray[np.int64]) -> Floats:
        margin, f = self.margin[order], self.factors[order]
        bad = margin < 0
        k = bad.argmax(axis=0)
        n, before = np.arange(margin.shape[1]), np.maximum(k - 1, 0)
        m0, m1 = margin[before, n], margin[k, n]
        span = np.where(m0 == m1, 1.0, m0 - m1)
        crossed = f[before] + (f[k] - f[before]) * m0 / span
        return np.asarray(np.where(bad.any(axis=0), np.where(k == 0, f[0], crossed), np.nan))


@dataclass(frozen=True)
class Pool:
    base: float  # reserve, units of the underlying, when its price is today's
    omega: float  # weight in the reported price

    def __post_init__(self) -> None:
        if not (0 < self.base < inf and 0 <= self.omega <= 1):
            raise ValueError(f"a pool has a reserve above 0 and a weight from 0 to 1, not {self.base} and {self.omega}")

    def reserve(self, factor: float) -> float:
        """Base reserve after arbitrage to ``factor`` times today's price: x y = k."""
        return float(self.base / factor**0.5)

    def pushed(self, factor: float, sold: float) -> float:
        """The reported price, as a factor, when ``sold`` base units were sold at a market of ``factor``."""
        x = self.reserve(factor)
        q = max(sold, -MOST * x)
        return factor * (1 - self.omega + self.omega * (x / (x + q)) ** 2)


@dataclass(frozen=True)
class Generation:
    """What became liquidatable at one price."""

    price: float  # factor at which it did
    accounts: NDArray[np.int64]  # columns of the ladder
    sold: float  # base units of forced flow, negative when bought


@dataclass(frozen=True)
class Level:
    """A move of the market, and what follows from it."""

    factor: float
    generations: tuple[Generation, ...]
    ends: float  # factor at which the reported price comes to rest

    @property
    def accounts(self) -> int:
        return sum(len(g.accounts) for g in self.generations)

    @property
    def sold(self) -> float:
        return sum(g.sold for g in self.generations)

    @property
    def amplification(self) -> float:
        """Accounts in all for each that the move alone made liquidatable; 1 when there is none."""
        first = len(self.generations[0].accounts) if self.generations else 0
        return self.accounts / first if first else 1.0


def follow(ladder: Ladder, pool: Pool, factor: float) -> Level:
    """One move, to its end. Forced flow against the move damps it, and then nothing more follows."""
    done, sold, price = np.zeros(ladder.margin.shape[1], np.bool_), 0.0, factor
    found = list[Generation]()
    for _ in range(ROUNDS):
        margin, delta = ladder.at(price)
        new = np.flatnonzero((margin < 0) & ~done)
        if not len(new):
            break
        flow = float(delta[new].sum())
        found.append(Generation(price, new, flow))
        done[new] = True
        sold += flow
        price = pool.pushed(factor, sold)
    return Level(factor, tuple(found), price)


def levels(ladder: Ladder, pool: Pool) -> Iterator[Level]:
    """Every level of the ladder."""
    for factor in ladder.factors:
        yield follow(ladder, pool, float(factor))


def branching(ladder: Ladder, pool: Pool, factor: float, width: float = 0.02) -> float:
    """R0 = 2 omega D / x around a level; 1 / (1 - R0) is the flow in all for each unit sold first (strategies.md 7).

    ``D``: base units that become liquidatable per unit of relative price fall, from the next ``width``.
    """
    before, _ = ladder.at(factor)
    after, delta = ladder.at(factor * (1 - width))
    new = (after < 0) & (before >= 0)
    return 2 * pool.omega * float(delta[new].sum()) / width / pool.reserve(factor)


def gamma(ladder: Ladder, held: NDArray[np.bool_]) -> Floats:
    """(K,) of these accounts together: units of delta per 1 % of today's price."""
    total = ladder.delta[:, held].sum(axis=1)
    return np.asarray(np.gradient(total, ladder.factors) / 100)
