"""One series at one moment: exactly in the scenarios that are asked for, and in floats in all of them.

Equity and requirement of an account need its worst scenario only. ``likely`` says in floats which scenarios that may
be; the exact telling then is of these, one or two as a rule, and comes out as if it had been of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import ne
from typing import Final, NamedTuple

import numpy as np

from keeper.margin.black76 import TINY, Floats, normal
from keeper.margin.scan.kernels.ready import READY
from keeper.protocols.options.maths import ln_wad, value
from keeper.protocols.options.normal import ONE
from keeper.protocols.options.params import RiskParams, Shock
from keeper.protocols.options.records import Leg
from keeper.protocols.options.shocks import DAYS_30, DEEPEST, Term, sigma
from keeper.units import BPS, WAD

# Of price and strike, by which a value in floats may be off. What is known to differ is less: the step where volatility
# is tiny (4e-10 of the forward), rounding (1e-12), the contract's normal distribution (1e-15).
OFF: Final = 1e-8
UNIT: Final = 1 / WAD
ROUNDED: Final = 10 / WAD  # US dollars a contract
LEAST: Final = 1e-9  # US dollars of an account


@dataclass(slots=True)
class Valued:
    """Undiscounted."""

    term: Term
    is_call: bool
    strike: int
    ln: int
    w: int  # total volatility, wad
    now: int  # wad
    delta: int  # times 2^54, per unit of the underlying, before ``open``
    told: tuple[Floats, float] | None = None  # discounted US dollars: change in each scenario, and what it may be off
    _gains: dict[int, int] = field(default_factory=dict)

    def gain(self, scenario: int) -> int:
        """wad, change in one scenario."""
        found = self._gains.get(scenario)
        if found is None:
            s = self.term.shocked(scenario)
            w = max(0, self.w * s.factor // WAD + s.addend)
            then, _ = value(self.is_call, s.forward, self.strike, self.ln + s.ln, w)
            found = self._gains[scenario] = then - self.now
        return found


def valued(term: Term, is_call: bool, strike: int) -> Valued:
    ln = ln_wad(max(1, term.forward * WAD // strike))
    w = sigma(term, ln) * term.root_t // WAD
    now, n1 = value(is_call, term.forward, strike, ln, w)
    return Valued(term, is_call, strike, ln, w, now, n1 if is_call else n1 - ONE)


class Listed(NamedTuple):
    """The scenarios of a parameter set, (S,) each: price moves, shocks of volatility by kind, weights; and all five."""

    spot: Floats
    term: Floats
    relative: Floats
    absolute: Floats
    weight: Floats
    together: Floats


@lru_cache(maxsize=16)
def listed(params: RiskParams) -> Listed:
    spot, vol, weight = (
        np.array(x) / BPS for x in zip(*((s.spot, s.vol, s.weight) for s in params.scenarios), strict=True)
    )
    kind = np.array([s.kind for s in params.scenarios])
    term, relative, absolute = (vol * (kind == one) for one in (Shock.TERM, Shock.RELATIVE, Shock.ABSOLUTE))
    each = spot, term, relative, absolute, weight
    return Listed(*each, np.array(each))


def _moves(s: Listed, factor: int) -> Floats:
    """``shocks.stretched``."""
    return s.spot if factor == WAD else np.maximum(s.spot * (factor / WAD), DEEPEST / WAD)


def tell(many: Sequence[Valued], factor: int) -> None:
    """Series of one underlying, in floats."""
    s = listed(many[0].term.params)
    f, discount, share, root, slope, k, x, w, now, parity = np.array([_floats(v) for v in many]).T[..., None]
    by = _moves(s, factor) * share
    grown = f * (1.0 + by)
    total = w * np.maximum(0.0, 1.0 + s.relative + s.term * slope) + s.absolute * root
    total = np.maximum(total, TINY)
    d, half = (x + np.log1p(by)) / total, total * 0.5
    n1, n2 = normal(np.stack((d + half, d - half)))
    gains = (grown * n1 - k * n2 + parity * (k - grown) - now) * discount
    off = OFF * discount * (f + grown.max(axis=1, keepdims=True) + k) + ROUNDED
    for v, gain, each in zip(many, gains, off[:, 0].tolist(), strict=True):
        v.told = gain, each


def _floats(v: Valued) -> tuple[float, ...]:
    t = v.term
    if not t.floats:
        left = max(t.left, t.params.vol_days_floor)
        power = t.params.vol_power_short if left <= DAYS_30 else t.params.vol_power_long
        slope = (DAYS_30 / left) ** (power / WAD)
        t.floats = t.forward * UNIT, t.discount * UNIT, t.moving * UNIT, t.root_t * UNIT, slope
    return *t.floats, v.strike * UNIT, v.ln * UNIT, v.w * UNIT, v.now * UNIT, 0.0 if v.is_call else 1.0


def likely(held: Sequence[tuple[Leg, Valued]], collateral: int, factor: int) -> list[int]:
    """Scenarios that may be the worst for legs of one underlying, in order of their expiry, and ``collateral`` (usd),
    where moves are stretched by ``factor``; none where nothing can be lost. Every scenario that is the worst exactly
    is among them."""
    s = listed(held[0][1].term.params)
    if READY.likely is not None:
        expiries = [leg.series >> 72 for leg, _ in held]
        begins = map(ne, expiries, [-1, *expiries])
        legs = [(*_floats(v), leg.size * UNIT, first) for (leg, v), first in zip(held, begins, strict=False)]
        doubt = OFF, ROUNDED, LEAST
        return READY.likely(np.array(legs), s.together, factor / WAD, collateral / WAD, doubt)
    if new := [v for _, v in held if v.told is None]:
        tell(new, factor)
    carried, off = np.zeros(len(s.spot)), LEAST
    for _, group in groupby(held, lambda each: each[0].series >> 72):
        np.minimum(carried, 0.0, out=carried)
        for leg, v in group:
            assert v.told is not None
            n = leg.size / WAD
            carried += v.told[0] * n
            off += v.told[1] * abs(n)
    if collateral:
        worth = collateral / WAD
        off += OFF * worth
        carried = np.minimum(carried, 0.0) + _moves(s, factor) * worth
    lost = carried * -s.weight
    least = max(0.0, lost.max(initial=0.0)) - 2 * off * s.weight.max(initial=0.0)
    return np.flatnonzero(lost >= least).tolist()
