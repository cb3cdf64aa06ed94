"""The options of one expiry, now and in every scenario: shocks of volatility, Black (1976), static discounts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from keeper.margin import black76
from keeper.margin.black76 import Floats
from keeper.margin.rules.book import Term
from keeper.margin.rules.parameters import MONTH, Discount, Kind, Range, Rules, Scenario, SkewCap, VolShock
from keeper.margin.vol import MAX_TOTAL, grow

NOWHERE: Final = 1e-60  # stands for 0 in a logarithm or below a fraction line


def worth(is_call: ArrayLike, f: ArrayLike, k: ArrayLike, w: ArrayLike) -> tuple[Floats, Floats]:
    """(undiscounted value, forward delta) with the edges of Derive's library.

    Strike 0: the call is the forward. ``w`` (sigma sqrt(tau)) of 24 and more: call F, put K. Forward 0 and ``w`` 0
    are those of ``black76.value``: intrinsic.
    """
    call, f_, k_, w_ = np.broadcast_arrays(is_call, f, k, w)
    bound = (k_ == 0) | (w_ >= MAX_TOTAL)
    value, delta = black76.value(call, f_, np.where(k_ == 0, 1.0, k_), np.minimum(w_, MAX_TOTAL))
    return np.where(bound, np.where(call, f_, k_), value), np.where(bound, np.where(call, 1.0, 0.0), delta)


# ─── shocks of volatility ─────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Shocked:
    """What the shocks of one expiry depend on. ``k`` is ln(K/F), ``g`` the term structure."""

    rules: Rules
    scan: Range
    sigma: Floats
    k: Floats
    g: float
    root: float

    def skew(self, cap: SkewCap, k: Floats) -> Floats:
        """Multiplier 1 + k cap / k*: at most cap to the right, at least -cap to the left (a cap may be negative)."""
        s = self.rules.skew
        top = cap.base + cap.per_root * self.root
        reach = max(s.least_k, self.root * s.width * (s.vol + s.vol_per_root * self.root))
        slope = k * top / reach if reach > NOWHERE else np.sign(k) * top
        shift = np.where(k >= 0, np.minimum(top, slope), np.maximum(-top, slope))
        return np.asarray(self.sigma * np.maximum(0.0, 1 + shift))


SHOCKS: Final[Mapping[Kind, Callable[[Shocked, float], Floats]]] = {
    Kind.NONE: lambda s, by: s.sigma,
    Kind.UP: lambda s, by: np.maximum(s.rules.vol.least_up, s.sigma * (1 + s.rules.vol.up * s.g)),
    Kind.DOWN: lambda s, by: s.sigma * max(0.0, 1 - s.rules.vol.down * s.g),
    Kind.TERM: lambda s, by: s.sigma * max(0.0, 1 + by * s.g),
    Kind.RELATIVE: lambda s, by: s.sigma * max(0.0, 1 + by),
    Kind.ABSOLUTE: lambda s, by: np.maximum(0.0, s.sigma + by),
    Kind.RANGES: lambda s, by: np.maximum(0.0, s.sigma + by * s.scan.vol),
    Kind.LINEAR: lambda s, by: s.skew(s.rules.skew.linear, s.k),
    Kind.ABS: lambda s, by: s.skew(s.rules.skew.abs, np.abs(s.k)),
}


def slope(v: VolShock, left: float) -> float:
    """(30 days / t)^power; ``left`` in seconds, never taken for less than one."""
    power = v.short_power if left <= MONTH else v.long_power
    return float((MONTH / max(left, v.shortest, 1.0)) ** power)


# ─── one expiry ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Valued:
    """K series in S scenarios. Values are discounted, per unit; ``delta`` and ``gamma`` are to spot."""

    term: Term
    units: Floats  # (K,)
    now: Floats  # (K,)
    gain: Floats  # (K, S)
    delta: Floats  # (K,)
    gamma: Floats  # (K,)
    vega: Floats  # (K,) per 1.00 of volatility
    shift: Floats  # (K, S) change of volatility

    @cached_property
    def mark(self) -> float:
        return float(self.units @ self.now)

    @cached_property
    def spot_delta(self) -> float:
        """Options and futures, units of the underlying."""
        return float(self.units @ self.delta)


def value(t: Term, spot: float, scenarios: Sequence[Scenario], scan: Range, rules: Rules) -> Valued:
    """``spot`` is that of the underlying; the variable part of the forward moves with it."""
    calls = np.array([one.is_call for one in t.series], dtype=bool)
    strikes = np.array([one.strike for one in t.series], dtype=np.float64)
    sigmas = np.array([one.sigma for one in t.series], dtype=np.float64)
    units = np.array([one.units for one in t.series], dtype=np.float64)
    spots = np.array([1.0 if one.skewed else one.factor(scan) for one in scenarios], dtype=np.float64)
    w = sigmas * t.root
    now, delta = worth(calls, t.forward, strikes, w)
    vols = _vols(t, scenarios, scan, rules)
    shocked, _ = worth(calls[:, None], t.fixed + t.variable * spots, strikes[:, None], vols * t.root)
    now, shocked = now * t.discount, shocked * t.discount
    if rules.put_floor:
        now = np.maximum(now, np.where(calls, 0.0, strikes - spot))
        shocked = np.maximum(shocked, np.where(calls, 0.0, strikes)[:, None] - np.outer(~calls, spot * spots))
    moves = t.variable / spot if spot else 0.0
    gamma, vega = _greeks(t, strikes, w)
    gain, shift = shocked - now[:, None], vols - sigmas[:, None]
    return Valued(t, units, now, gain, delta * t.discount * moves, gamma * moves**2, vega, shift)


def _vols(t: Term, scenarios: Sequence[Scenario], scan: Range, rules: Rules) -> Floats:
    """(K, S)"""
    sigma = np.array([one.sigma for one in t.series], dtype=np.float64)
    strikes = np.array([one.strike for one in t.series], dtype=np.float64)
    shocked = Shocked(rules, scan, sigma, _moneyness(strikes, t.forward), slope(rules.vol, t.left), t.root)
    columns = [SHOCKS[one.vol](shocked, one.by) for one in scenarios]
    return np.stack(columns, axis=1) if columns else np.zeros((len(t.series), 0))


def _moneyness(strikes: Floats, forward: float) -> Floats:
    """ln(K/F); far out, but finite, where either is 0."""
    return np.asarray(np.log(np.maximum(strikes, NOWHERE)) - np.log(max(forward, NOWHERE)))


def _greeks(t: Term, strikes: Floats, w: Floats) -> tuple[Floats, Floats]:
    """Discounted gamma to the forward and vega per 1.00; 0 at the edges, where neither exists."""
    inner = (strikes > 0) & (w < MAX_TOTAL)
    gamma, vega = black76.gamma_vega(t.forward, np.where(inner, strikes, 1.0), np.where(inner, w, 0.0))
    return gamma * t.discount, vega * t.root * t.discount


def gains(v: Valued, scenarios: Sequence[Scenario], rules: Rules) -> Floats:
    """(S,) change of the expiry's value after static discounts; a skew counts as a loss whichever way it turns."""
    gain = v.units @ v.gain
    if rules.discount is not None:
        shocked = v.mark + gain
        t = v.term
        long = _discount(rules.discount.long, t, -1)
        short = min(_discount(rules.discount.short, t, 1), 1 / t.discount)
        gain = gain + shocked * (np.where(shocked >= 0, long, short) - 1)
    skewed = np.array([one.skewed for one in scenarios], dtype=bool)
    return np.asarray(np.where(skewed, -np.abs(gain), gain))


def _discount(d: Discount, t: Term, sign: int) -> float:
    """base e^(sign tau (r rate + add)); ``t.rate`` as the rules count it."""
    return d.base * grow(sign * (t.rate * d.rate + d.add), t.tau)
