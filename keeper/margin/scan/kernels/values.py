"""``portfolio.term``, compiled: series by scenario in one pass, for the value table of a scan.

The formula a second time, the same number to 1e-12 of the price (``tests/property/test_columns_values.py`` holds the
two together). What a scenario shares with others is taken out of it: the logarithm of its price is that of the forward
plus that of the move, so that an option in a scenario costs one exponential and two distribution functions.
"""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Any, Final

import numpy as np

from keeper.margin.black76 import TINY, Floats
from keeper.margin.portfolio import DAY, SIGMA, YEAR, Rules, Term
from keeper.margin.scan.kernels.jit import exactly
from keeper.margin.scan.table import Inputs

MONTH: Final = 30 * DAY
LEAST, MOST = SIGMA


def term(i: Inputs, rules: Rules, moves: Floats) -> Term:
    """As ``portfolio.term``, of the rows to value; ``moves`` (U, S) are the price moves of the scenarios."""
    at, s, smile = i.rows, rules.scenarios, i.smile
    worth, delta, gain = np.empty(len(at)), np.empty(len(at)), np.empty((len(at), len(s.kind)))
    market = (i.prices, i.left, i.fixed, i.open, smile.atm, smile.skew, smile.curv, smile.rate)
    series = (at, i.under, i.is_call, i.strike)
    each: Any = [np.ascontiguousarray(x) for x in (*series, *market)]
    scenarios: Any = (moves, np.log1p(moves), s.kind, s.vol)
    rest: Any = (rules.nearest, *rules.power, worth, delta, gain)
    _terms(*each, *scenarios, *rest)
    return Term(worth, gain, delta, np.asarray(smile.confidence)[at], i.is_call[at])


@exactly
def _terms(
    rows: Any, under: Any, is_call: Any, strike: Any, prices: Any, left: Any, fixed: Any, open_: Any,
    atm: Any, skew: Any, curv: Any, rate: Any, moves: Any, logs: Any, kind: Any, vol: Any, nearest: Any,
    near: Any, far: Any, worth: Any, delta: Any, gain: Any,
) -> None:  # fmt: skip
    for n in range(len(rows)):
        i, u = rows[n], under[rows[n]]
        price, k, seconds = prices[u], strike[i], max(left[i], 0.0)
        root, discount = sqrt(seconds / YEAR), exp(-rate[i] * seconds / YEAR)
        known = fixed[i] + price * open_[i]
        forward = known / discount
        share = price * open_[i] / known if fixed[i] != 0.0 and known != 0.0 else 1.0
        t = max(seconds, nearest)
        slope = (MONTH / t) ** (near if t <= MONTH else far)
        ratio = forward / k
        at = log(ratio) if forward > 0.0 else 0.0
        w, sign = 0.0, 1.0 if is_call[i] else -1.0
        if root > 0.0:
            x = -at / root
            w = min(max(atm[i] + skew[i] * x + curv[i] * x * x, LEAST), MOST) * root
        now, slant = _value(sign, forward, k, ratio, at, w)
        worth[n], delta[n] = now * discount, slant * open_[i]
        for s in range(len(kind)):
            factor, more, move = 1.0, 0.0, 1.0 + moves[u, s] * share
            if kind[s] == 1:
                factor = max(0.0, 1.0 + vol[s] * slope)
            elif kind[s] == 2:
                factor = max(0.0, 1.0 + vol[s])
            elif kind[s] == 3:
                more = vol[s] * root
            shifted = at + (logs[u, s] if share == 1.0 else log(move))
            shocked, _ = _value(sign, forward * move, k, ratio * move, shifted, max(0.0, w * factor + more))
            gain[n, s] = (shocked - now) * discount


@exactly
def _value(sign: Any, f: Any, k: Any, ratio: Any, x: Any, w: Any) -> Any:
    """``black76.value``; ``ratio`` is f / k, ``x`` its logarithm."""
    if w < TINY or f <= 0.0:
        inside = f > k if sign > 0.0 else f <= k
        return max(sign * (f - k), 0.0), sign if inside else 0.0
    d = x / w + w / 2.0
    e = exp(d * d * -0.5)
    n = _normal(sign * d, e)
    return max(sign * (f * n - k * _normal(sign * (d - w), e * ratio)), 0.0), sign * n


@exactly
def _normal(z: Any, e: Any) -> Any:
    """``black76._normal``: N(z), given ``e`` = exp(-z^2 / 2)."""
    x = abs(z)
    if x >= 7.071067811865475:
        tail = e / (x + 1.0 / (x + 2.0 / (x + 3.0 / (x + 4.0 / (x + 0.65))))) * 0.3989422804014327
    else:
        a = 3.52624965998911e-02 * x + 0.700383064443688
        a = ((((a * x + 6.37396220353165) * x + 33.912866078383) * x + 112.079291497871) * x + 221.213596169931) * x
        b = (8.83883476483184e-02 * x + 1.75566716318264) * x + 16.064177579207
        b = ((((b * x + 86.7807322029461) * x + 296.564248779674) * x + 637.333633378831) * x + 793.826512519948) * x
        tail = e * (a + 220.206867912376) / (b + 440.413735824752)
    return 1.0 - tail if z > 0.0 else tail
