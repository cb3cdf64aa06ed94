"""Which scenarios may be the worst for one account, compiled: see ``options/valued.py``, which says it in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np

from keeper.margin.black76 import Floats
from keeper.margin.portfolio import DEEPEST
from keeper.margin.scan.kernels.jit import exactly
from keeper.margin.scan.kernels.values import gains

LEG = 12  # numbers of one


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
