"""Portfolio margin of many accounts at once: full revaluation of a scenario list, folded over expiries.

Shapes: N accounts, S scenarios, K series of one expiry, U underlyings, A assets. Amounts in US dollars, sizes in
contracts, all float64. The rules are those of the reference protocol (``contracts/Risk.sol``); here they are written
as matrix products, the contract writes them as loops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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

    @cached_property
    def shocks(self) -> Floats:
        """(3, S) ``vol`` by what it is: relative, relative with term structure, absolute."""
        return np.array([self.vol * (self.kind == kind) for kind in (2, 1, 3)])


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

    @cached_property
    def cuts(self) -> Floats:
        """(U,) the largest haircut of assets with this underlying: more than one is rare, and then screens are
        careful."""
        cuts = np.zeros(len(self.depths))
        for a, of in enumerate(self.asset_of):
            if 0 <= of < len(cuts):
                cuts[of] = max(cuts[of], self.haircuts[a, 0])
        return cuts

    @cached_property
    def numbers(self) -> Floats:
        """What a value table takes of them, see ``scan/kernels/values.py``."""
        gross, naked = self.floor_gross[0], self.floor_naked
        return np.array([self.nearest, *self.power, self.factor[0], self.size, gross, naked, self.doubt])

    def times(self, share: float) -> Rules:
        """With a maintenance requirement that is ``share`` of what it was, in every part."""
        return replace(
            self,
            factor=(self.factor[0] * share, self.factor[1]),
            floor_gross=(self.floor_gross[0] * share, self.floor_gross[1]),
            floor_naked=self.floor_naked * share,
            size=self.size * share,
            doubt=self.doubt * share,
            haircuts=self.haircuts * share,
        )

    def stretched(self, factor: float, cap: float) -> Rules:
        """With the price moves of all scenarios times ``factor``, but at most ``cap``."""
        factor = min(factor, cap)
        if factor == 1.0:
            return self
        return replace(self, scenarios=replace(self.scenarios, spot=np.maximum(DEEPEST, self.scenarios.spot * factor)))


@dataclass(frozen=True)
class Smile:
    """sigma(K) = atm + skew x + curv x^2, x = ln(K / F) / sqrt(t). One number each, or one per series (K,)."""

    atm: float | Floats
    skew: float | Floats
    curv: float | Floats
    rate: float | Floats
    confidence: float | Floats  # 0 to 1


@dataclass(frozen=True)
class Term:
    """Series of one underlying, valued: what each is worth now and gains in each scenario."""

    worth: Floats  # (K,) discounted value
    gain: Floats  # (K, S) discounted change
    delta: Floats  # (K,) per unit of the underlying
    confidence: float | Floats
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
    price: float | Floats,
    left: float | Floats,
    fixed: float | Floats,
    open_: float | Floats,
    smile: Smile,
    is_call: np.ndarray,
    strikes: Floats,
    rules: Rules,
) -> Term:
    """Value the series of one expiry, or of several: what they do not share is then given per series, (K,).

    ``left`` seconds to expiry; ``fixed`` US dollars of the settlement average already known and ``open_`` the weight
    of the price still to come (0 and 1 before the settlement window).
    """
    left = np.maximum(left, 0.0)
    root = np.sqrt(left / YEAR)
    discount = np.exp(-smile.rate * left / YEAR)
    known = np.asarray(fixed + price * open_)
    forward = known / discount
    moving = np.where(np.asarray(fixed) != 0, price * open_ / np.where(known != 0, known, 1.0), 1.0)
    s = rules.scenarios
    forwards = forward[..., None] * (1 + s.spot * moving[..., None])
    slope = vol_slope(left, rules)[..., None]
    factors = np.maximum(0.0, 1 + s.vol * np.where(s.kind == 1, slope, np.where(s.kind == 2, 1.0, 0.0)))
    addends = np.where(s.kind == 3, s.vol * root[..., None], 0.0)
    w = sigma(smile, forward, strikes, root) * root
    now, delta = black76.value(is_call, forward, strikes, w)
    shocked, _ = black76.value(
        is_call[:, None], forwards, strikes[:, None], np.maximum(0.0, w[:, None] * factors + addends)
    )
    gain = (shocked - now[:, None]) * np.asarray(discount)[..., None]
    return Term(now * discount, gain, delta * open_, smile.confidence, is_call)


def vol_slope(left: float | Floats, rules: Rules) -> Floats:
    """(30 days / t)^power: vol shocks of short expiries are larger."""
    t = np.maximum(left, rules.nearest)
    return np.asarray((30 * DAY / t) ** np.where(t <= 30 * DAY, *rules.power))


def sigma(smile: Smile, forward: Floats, strikes: Floats, root: float | Floats) -> Floats:
    """Implied volatility per strike, limited to SIGMA; 0 at expiry."""
    live = (np.asarray(root) > 0) & (forward > 0)
    x = np.log(strikes / np.where(forward > 0, forward, strikes)) / np.where(live, root, 1.0)
    return np.where(np.asarray(root) > 0, np.clip(smile.atm + smile.skew * x + smile.curv * x * x, *SIGMA), 0.0)


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
        least, most = np.zeros(n), np.zeros(n)  # of delta between two expiries
        for t, positions in terms:
            h.equity[:] += positions @ t.worth
            carried = np.minimum(carried, 0.0) + positions @ t.gain
            h.delta[:, u] += positions @ t.delta
            least, most = np.minimum(least, h.delta[:, u]), np.maximum(most, h.delta[:, u])
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
        reach = np.maximum(np.abs(h.delta[:, u] - least), np.abs(h.delta[:, u] - most))
        both = r.size * (reach * price) ** 2 / r.depths[u] + price * (r.floor_naked * naked + r.doubt * doubt)
        for q, requirement in enumerate((h.mm, h.im)):
            cut = collateral[:, mine] @ r.haircuts[mine, q] * price
            requirement += r.factor[q] * loss + both + price * shorts * r.floor_gross[q] + cut

    def _loss(self, u: int, carried: Floats, value: Floats, s: Scenarios) -> Floats:
        """Worst weighted loss; collateral comes after all expiries."""
        pnl = np.where(value[:, None] != 0, np.minimum(carried, 0.0) + value[:, None] * s.spot, carried)
        losses = np.maximum(-pnl, 0.0) * s.weight
        self.health.worst[:, u] = losses.argmax(axis=1)
        return np.asarray(losses.max(axis=1))
