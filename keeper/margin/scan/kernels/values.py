"""``portfolio.term`` and ``table.lanes``, compiled: series by scenario in one pass, for the value table of a scan. And
``valued.likely`` of the options: which scenarios may be the worst for one account.

The formula a second time, the same number to 1e-12 of the price (``tests/property/test_columns_values.py`` holds the
two together). What a scenario shares with others is taken out of it: the logarithm of its price is that of the forward
plus that of the move, so that an option in a scenario costs one exponential and two distribution functions. Scenarios
are a loop without branches or calls, which LLVM turns into vectors: 6 ns each in place of 30.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log, sqrt
from typing import Any, Final

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from keeper.margin.black76 import TINY, Floats
from keeper.margin.portfolio import DAY, DEEPEST, SIGMA, YEAR, Rules, Term
from keeper.margin.scan.kernels.jit import exactly
from keeper.margin.scan.table import PARAMETERS, VECTOR, Inputs, Lanes

MONTH: Final = 30 * DAY
LEAST, MOST = SIGMA
SMALLEST: Final = -708.0  # of exponents: what is smaller is nothing
NAN: Final = float("nan")


def term(i: Inputs, rules: Rules, moves: Floats) -> Term:
    """As ``portfolio.term``, of the rows to value; ``moves`` (U, S) are the price moves of the scenarios."""
    at, s = i.rows, rules.scenarios
    worth, delta, gain = np.empty(len(at)), np.empty(len(at)), np.empty((len(at), len(s.kind)))
    _terms(at, i.under, i.is_call, i.strike, i.terms, i.prices, moves, s.shocks, rules.numbers, worth, delta, gain)
    return Term(worth, gain, delta, np.asarray(i.smile.confidence)[at], i.is_call[at])


def lanes(i: Inputs, rules: Rules, lot: float) -> Lanes | None:
    """As ``table.lanes`` of ``table.build``, to the bit; None where these refuse, and say why."""
    s, rows, count = rules.scenarios, len(i.under), len(i.prices)
    width = -(-len(s.spot) // VECTOR) * VECTOR
    gain, four = np.zeros((rows, width), np.float32), np.zeros((rows, 4), np.float32)
    shock, parameters = np.zeros((count, width), np.float32), np.zeros((count, len(PARAMETERS)), np.float32)
    doubt = np.zeros(rows)
    series, market = (i.rows, i.under, i.is_call, i.strike), (i.terms, i.prices, i.stretch)
    each = (s.spot, s.weight, s.shocks, rules.depths, rules.cuts, rules.numbers)
    found = _lanes(*series, *market, *each, lot, gain, four, doubt, shock, parameters)
    if found == BAD:
        return None
    unsure = np.zeros(0, np.float32) if found == UNIFORM else doubt.astype(np.float32)
    return Lanes(gain, four, unsure, shock, parameters, i.under)


def likely(
    legs: Floats, scenarios: Floats, factor: float, worth: float, doubt: tuple[float, float, float]
) -> list[int]:
    """As ``valued.likely``: ``legs`` (K, 12) in order of their expiry, forward, discount, share of it that the price
    still moves, root of time, slope, strike, ln(forward / strike), total volatility, value, 1 for puts, contracts, 1
    where an expiry begins; ``scenarios`` (5, S) as ``valued.Listed``; ``worth`` of the collateral, US dollars.

    ``doubt``: what a leg may be off by, of price and strike and per contract, and an account in any case.
    """
    chosen = np.empty(scenarios.shape[1], np.int64)
    count = _likely(legs, scenarios, factor, worth, *doubt, chosen)
    return list(chosen[:count].tolist())


BAD: Final = 0
UNIFORM: Final = 1
MIXED: Final = 2


@exactly
def _terms(
    rows: Any, under: Any, is_call: Any, strike: Any, terms: Any, prices: Any, moves: Any, shocks: Any, numbers: Any,
    worth: Any, delta: Any, gain: Any,
) -> None:  # fmt: skip
    grown, logs = 1.0 + moves, np.log1p(moves)
    mine, own = np.empty(moves.shape[1]), np.empty(moves.shape[1])
    for n in range(len(rows)):
        i = rows[n]
        u, sign = under[i], 1.0 if is_call[i] else -1.0
        worth[n], delta[n] = _series(
            sign, strike[i], terms[:, i], prices[u], moves[u], grown[u], logs[u], shocks, numbers, mine, own, gain[n]
        )


@exactly
def _lanes(
    rows: Any, under: Any, is_call: Any, strike: Any, terms: Any, prices: Any, stretch: Any, spot: Any, weight: Any,
    shocks: Any, depths: Any, cuts: Any, numbers: Any, lot: Any, gain: Any, four: Any, doubt: Any, shock: Any,
    parameters: Any,
) -> Any:  # fmt: skip
    count, wide = len(prices), len(spot)
    moves, each, weights = np.empty((count, wide)), np.empty(wide), weight * lot
    for u in range(count):
        if not stretch[u] <= 1e300 or prices[u] <= 0.0 or prices[u] > 1e300:
            return BAD
        for s in range(wide):
            moves[u, s] = spot[s] if stretch[u] == 1.0 else max(DEEPEST, spot[s] * stretch[u])
            shock[u, s] = weight[s] * moves[u, s]
    grown, logs, mine, own = 1.0 + moves, np.log1p(moves), np.empty(wide), np.empty(wide)
    largest, most, wild = np.zeros(count), np.zeros(count), 0.0
    for i in rows:
        u, sign, sum_ = under[i], 1.0 if is_call[i] else -1.0, strike[i]
        for k in range(7):
            sum_ += terms[k, i]
        worth, delta = _series(
            sign, strike[i], terms[:, i], prices[u], moves[u], grown[u], logs[u], shocks, numbers, mine, own, each
        )
        sum_ += worth + delta + terms[7, i]
        largest_, bad = np.float32(0), 0.0
        for s in range(wide):
            lane = np.float32(each[s] * weights[s])
            gain[i, s], largest_, bad = lane, max(largest_, abs(lane)), bad + each[s] * 0.0 + lane * 0.0
        four[i, 0], four[i, 1], four[i, 2], four[i, 3] = worth * lot, delta, delta, -delta
        wild += bad + sum_ * 0.0 + four[i, 0] * 0.0 + four[i, 1] * 0.0
        largest[u] = max(largest[u], np.float64(max(largest_, abs(four[i, 0]))))
        doubt[i] = (1.0 - terms[7, i]) * (prices[u] * lot) * numbers[DOUBT]
        most[u] = max(most[u], doubt[i])
    uniform, beyond = True, max(1.0, numbers[FACTOR])
    for i in rows:
        uniform = uniform and doubt[i] == most[under[i]]
    for u in range(count):
        for s in range(wide):
            beyond = max(beyond, abs(moves[u, s]))
    for u in range(count):
        p, price = parameters[u], prices[u] * lot if prices[u] > 0.0 else 0.0
        p[0], p[1] = price, numbers[FACTOR]
        p[2] = numbers[SIZE] / depths[u] if u < len(depths) else 0.0
        p[3] = cuts[u] if u < len(cuts) else 0.0
        p[4], p[5], p[6] = numbers[GROSS], numbers[NAKED], most[u] if uniform else 0.0
        p[7] = max(largest[u], price) * beyond
        for k in range(8):
            wild += p[k] * 0.0
        for s in range(wide):
            wild += shock[u, s] * 0.0
    if wild != 0.0:  # a number that is none
        return BAD
    return UNIFORM if uniform else MIXED


NEAREST, NEAR, FAR, FACTOR, SIZE, GROSS, NAKED, DOUBT = range(8)  # of ``Rules.numbers``


@exactly
def _series(
    sign: Any, k: Any, told: Any, price: Any, moves: Any, grown: Any, logs: Any, shocks: Any, numbers: Any, mine: Any,
    own: Any, gain: Any,
) -> Any:  # fmt: skip
    """(worth, delta) of one series, and ``gain`` (S,); ``mine``, ``own`` (S,) are room to work in."""
    seconds, fixed, open_, rate = max(told[0], 0.0), told[1], told[2], told[6]
    root, discount = sqrt(seconds / YEAR), exp(-rate * seconds / YEAR)
    known = fixed + price * open_
    forward = known / discount
    share = price * open_ / known if fixed != 0.0 and known != 0.0 else 1.0
    t = max(seconds, numbers[NEAREST])
    slope = (MONTH / t) ** (numbers[NEAR] if t <= MONTH else numbers[FAR])
    ratio = forward / k
    at = log(ratio) if forward > 0.0 else 0.0
    w = 0.0
    if root > 0.0:
        x = -at / root
        w = min(max(told[3] + told[4] * x + told[5] * x * x, LEAST), MOST) * root
    now, slant = _value(sign, forward, k, ratio, at, w)
    if not abs(forward) <= 1e300 or not abs(slope) <= 1e300:
        gain[:] = NAN
        return NAN, NAN
    if share != 1.0:
        for s in range(len(gain)):
            mine[s] = 1.0 + moves[s] * share
            own[s] = log(mine[s])
        grown, logs = mine, own
    if forward > 0.0:
        gains(sign, forward, k, ratio, at, w, root, slope, now, discount, grown, logs, shocks, gain)
    else:
        for s in range(len(gain)):
            gain[s] = (max(sign * (forward * grown[s] - k), 0.0) - now) * discount
    return now * discount, slant * open_


@exactly
def gains(
    sign: Any, forward: Any, k: Any, ratio: Any, at: Any, w: Any, root: Any, slope: Any, now: Any, discount: Any,
    grown: Any, logs: Any, shocks: Any, gain: Any,
) -> None:  # fmt: skip
    """Of all scenarios; ``forward`` above 0. In one piece: what is too large is not taken into a loop of vectors."""
    relative, timely, absolute = shocks[0], shocks[1], shocks[2]
    for s in range(len(gain)):
        f, total = forward * grown[s], w * max(0.0, 1.0 + relative[s] + timely[s] * slope) + absolute[s] * root
        v = max(total, TINY)
        d = (at + logs[s]) / v + v * 0.5
        e = _exp(d * d * -0.5)
        worth = sign * (f * _normal(sign * d, e) - k * _normal(sign * (d - v), e * ratio * grown[s]))
        worth = sign * (f - k) if total < TINY else worth
        gain[s] = (max(worth, 0.0) - now) * discount


@exactly
def _likely(
    legs: Any, scenarios: Any, factor: Any, worth: Any, share_off: Any, each_off: Any, off: Any, chosen: Any
) -> Any:
    wide = scenarios.shape[1]
    moves, carried, gain = np.empty(wide), np.zeros(wide), np.empty(wide)
    grown, logs, shocks = np.empty(wide), np.empty(wide), np.empty((3, wide))
    for s in range(wide):
        moves[s] = scenarios[0, s] if factor == 1.0 else max(DEEPEST, scenarios[0, s] * factor)
        shocks[0, s], shocks[1, s], shocks[2, s] = scenarios[2, s], scenarios[1, s], scenarios[3, s]
    for leg in legs:
        forward, discount, share, root, slope = leg[0], leg[1], leg[2], leg[3], leg[4]
        strike, x, w, now, sign, lots = leg[5], leg[6], leg[7], leg[8], 1.0 - 2.0 * leg[9], leg[10]
        most = 0.0
        for s in range(wide):
            grown[s] = 1.0 + moves[s] * share
            logs[s], most = np.log1p(moves[s] * share), max(most, grown[s])
        gains(sign, forward, strike, forward / strike, x, w, root, slope, now, discount, grown, logs, shocks, gain)
        for s in range(wide):
            carried[s] = (min(carried[s], 0.0) if leg[11] != 0.0 else carried[s]) + gain[s] * lots
        off += (share_off * discount * (forward * (1.0 + most) + strike) + each_off) * abs(lots)
    highest, heaviest = 0.0, 0.0
    for s in range(wide):
        if worth != 0.0:
            carried[s] = min(carried[s], 0.0) + moves[s] * worth
        carried[s] *= -scenarios[4, s]
        highest, heaviest = max(highest, carried[s]), max(heaviest, scenarios[4, s])
    least, count = highest - 2.0 * (off + share_off * worth) * heaviest, 0
    for s in range(wide):
        if carried[s] >= least:
            chosen[count] = s
            count += 1
    return count


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
    """``black76._normal``: N(z), given ``e`` = exp(-z^2 / 2). Beyond its range the fraction goes to 1 / z sqrt(2 pi) as
    Mills' ratio does, and N(-z) is below 1e-12."""
    x = abs(z)
    a = 3.52624965998911e-02 * x + 0.700383064443688
    a = ((((a * x + 6.37396220353165) * x + 33.912866078383) * x + 112.079291497871) * x + 221.213596169931) * x
    b = (8.83883476483184e-02 * x + 1.75566716318264) * x + 16.064177579207
    b = ((((b * x + 86.7807322029461) * x + 296.564248779674) * x + 637.333633378831) * x + 793.826512519948) * x
    tail = e * (a + 220.206867912376) / (b + 440.413735824752)
    return 1.0 - tail if z > 0.0 else tail


def _signature(typing: Any, n: Any) -> tuple[Any, Callable[..., Any]]:
    """2^n, of a whole number within the range of exponents."""
    return types.float64(types.float64), _code


def _code(context: Any, b: Any, signature: Any, arguments: Sequence[Any]) -> Any:
    whole = ir.IntType(64)
    biased = b.add(b.fptosi(arguments[0], whole), ir.Constant(whole, 1023))
    return b.bitcast(b.shl(biased, ir.Constant(whole, 52)), ir.DoubleType())


_power: Any = intrinsic(_signature)


@exactly
def _exp(y: Any) -> Any:
    """Of 0 and less, within two units in the last place: a series around the nearest multiple of ln 2."""
    y = SMALLEST if y < SMALLEST else y
    n = np.floor(y * 1.4426950408889634 + 0.5)
    r = y - n * 0.6931471803691238 - n * 1.9082149292705877e-10
    p = 1.6059043836821613e-10 * r + 2.08767569878681e-09
    p = ((p * r + 2.505210838544172e-08) * r + 2.755731922398589e-07) * r + 2.7557319223985893e-06
    p = ((p * r + 2.48015873015873e-05) * r + 1.984126984126984e-04) * r + 1.388888888888889e-03
    p = ((p * r + 8.333333333333333e-03) * r + 4.1666666666666664e-02) * r + 1.6666666666666666e-01
    return (((p * r + 0.5) * r + 1.0) * r + 1.0) * _power(n)
