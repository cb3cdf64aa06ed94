"""Portfolio margin of many accounts at once: full revaluation of a scenario list, folded over expiries.

Shapes: N accounts, S scenarios, K series of one expiry, U underlyings, A assets. Amounts in US dollars, sizes in
contracts, all float64. The rules are those of the reference protocol (``contracts/Risk.sol``); here they are written
as matrix products, the contract writes them as loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from keeper.margin import black76
from keeper.margin.black76 import Floats

DAY = 86_400.0
YEAR = 365 * DAY
SIGMA = (0.05, 5.0)
DEEPEST = -0.99  # a stretched fall stops here


@dataclass(frozen=True)
class Scenarios:
    """The list, one entry each. ``kind``: 0 none, 1 relative with term structure, 2 relative, 3 absolute."""

    spot: Floats
    kind: np.ndarray
    vol: Floats
    weight: Floats


@dataclass(frozen=True)
class Rules:
    """The parameters of the requirement. Pairs are (maintenance, initial)."""

    factor: tuple[float, float]
    floor_gross: tuple[float, float]
    floor_naked: float
    size: float  # lambda
    doubt: float  # per gross notional at confidence 0
    power: tuple[float, float]  # of the term structure of vol shocks, up to 30 days and beyond
    nearest: float  # seconds, shortest time in that formula
    depths: Floats  # (U,) US dollars
    asset_of: Sequence[int]  # (A,) underlying of each asset; -1 for cash
    haircuts: Floats  # (A, 2)
    scenarios: Scenarios

    def stretched(self, factor: float, cap: float) -> Rules:
        """With the price moves of all scenarios times ``factor``, but at most ``cap``."""
        factor = min(factor, cap)
        if factor == 1.0:
            return self
        return replace(self, scenarios=replace(self.scenarios, spot=np.maximum(DEEPEST, self.scenarios.spot * factor)))


@dataclass(frozen=True)
class Smile:
    """sigma(K) = atm + skew x + curv x^2, x = ln(K / F) / sqrt(t)."""

    atm: float
    skew: float
    curv: float
    rate: float
    confidence: float  # 0 to 1


@dataclass(frozen=True)
class Term:
    """One expiry of one underlying, valued: what each series is worth now and gains in each scenario."""

    worth: Floats  # (K,) discounted value
    gain: Floats  # (K, S) discounted change
    delta: Floats  # (K,) per unit of the underlying
    confidence: float
    is_call: np.ndarray  # (K,)


@dataclass(frozen=True)
class Health:
    """Per account, (N,) each, US dollars; ``delta`` (N, U) in units of the underlying."""

    equity: Floats
    mm: Floats
    im: Floats
    gross: Floats
    worst: np.ndarray  # (N, U) scenario
    delta: Floats


def term(
    price: float,
    left: float,
    fixed: float,
    open_: float,
    smile: Smile,
    is_call: np.ndarray,
    strikes: Floats,
    rules: Rules,
) -> Term:
    """Value the series of one expiry.

    ``left`` seconds to expiry; ``fixed`` US dollars of the settlement average already known and ``open_`` the weight
    of the price still to come (0 and 1 before the settlement window).
    """
    left = max(left, 0.0)
    root = np.sqrt(left / YEAR)
    discount = np.exp(-smile.rate * left / YEAR)
    forward = (fixed + price * open_) / discount
    moving = price * open_ / (fixed + price * open_) if fixed else 1.0
    s = rules.scenarios
    forwards = forward * (1 + s.spot * moving)
    slope = vol_slope(left, rules)
    factors = np.maximum(0.0, 1 + s.vol * np.where(s.kind == 1, slope, np.where(s.kind == 2, 1.0, 0.0)))
    addends = np.where(s.kind == 3, s.vol * root, 0.0)
    w = sigma(smile, forward, strikes, root) * root
    now, delta = black76.value(is_call, forward, strikes, w)
    shocked, _ = black76.value(
        is_call[:, None], forwards, strikes[:, None], np.maximum(0.0, w[:, None] * factors + addends)
    )
    return Term(now * discount, (shocked - now[:, None]) * discount, delta * open_, smile.confidence, is_call)


def vol_slope(left: float, rules: Rules) -> float:
    """(30 days / t)^power: vol shocks of short expiries are larger."""
    t = max(left, rules.nearest)
    return float((30 * DAY / t) ** rules.power[0 if t <= 30 * DAY else 1])


def sigma(smile: Smile, forward: float, strikes: Floats, root: float) -> Floats:
    """Implied volatility per strike, limited to SIGMA; 0 at expiry."""
    if root == 0:
        return np.zeros_like(strikes)
    x = np.log(strikes / forward) / root if forward > 0 else np.zeros_like(strikes)
    return np.asarray(np.clip(smile.atm + smile.skew * x + smile.curv * x * x, *SIGMA))


class Assessment:
    """Sums of one pass over the accounts; ``add`` each underlying, then read ``health``."""

    def __init__(self, cash: Floats, rules: Rules) -> None:
        n, u = len(cash), len(rules.depths)
        self.rules = rules
        self.health = Health(
            cash.astype(np.float64), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((n, u), np.int64), np.zeros((n, u))
        )

    def add(
        self, u: int, price: float, terms: Sequence[tuple[Term, Floats]], collateral: Floats, rules: Rules | None = None
    ) -> None:
        """One underlying: its expiries from the earliest with positions (N, K) each, and collateral (N, A) in units.

        ``rules`` when they differ from the usual ones, see ``Rules.stretched``.
        """
        h, r, n = self.health, rules or self.rules, len(self.health.equity)
        carried, calls, puts = np.zeros((n, len(r.scenarios.spot))), np.zeros(n), np.zeros(n)
        shorts, doubt, notional = np.zeros(n), np.zeros(n), np.zeros(n)
        for t, positions in terms:
            h.equity[:] += positions @ t.worth
            carried = np.minimum(carried, 0.0) + positions @ t.gain
            h.delta[:, u] += positions @ t.delta
            calls = np.minimum(calls, 0.0) + positions @ t.is_call.astype(np.float64)
            puts = np.minimum(puts, 0.0) + positions @ (~t.is_call).astype(np.float64)
            shorts += np.maximum(-positions, 0.0).sum(axis=1)
            size = np.abs(positions).sum(axis=1)
            notional += size
            doubt += size * (1 - t.confidence)
        mine = [a for a, underlying in enumerate(r.asset_of) if underlying == u]
        units = collateral[:, mine].sum(axis=1)
        h.equity[:] += units * price
        h.delta[:, u] += units
        h.gross[:] += (notional + units) * price
        loss = self._loss(u, carried, units * price, r.scenarios)
        naked = np.maximum(-calls, 0.0) + np.maximum(-puts, 0.0)
        both = r.size * (h.delta[:, u] * price) ** 2 / r.depths[u] + price * (r.floor_naked * naked + r.doubt * doubt)
        for q, requirement in enumerate((h.mm, h.im)):
            cut = collateral[:, mine] @ r.haircuts[mine, q] * price
            requirement += r.factor[q] * loss + both + price * shorts * r.floor_gross[q] + cut

    def _loss(self, u: int, carried: Floats, value: Floats, s: Scenarios) -> Floats:
        """Worst weighted loss; collateral comes after all expiries."""
        pnl = np.where(value[:, None] != 0, np.minimum(carried, 0.0) + value[:, None] * s.spot, carried)
        losses = np.maximum(-pnl, 0.0) * s.weight
        self.health.worst[:, u] = losses.argmax(axis=1)
        return np.asarray(losses.max(axis=1))
