"""What ``Risk.sol`` makes of prices, scenarios and smiles before any position is looked at, equal to the wei."""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple

from keeper.protocols.options import oracle
from keeper.protocols.options.maths import exp_wad, ln_wad
from keeper.protocols.options.params import RiskParams, Scenario
from keeper.units import WAD, clamp, div_trunc

SIGMA_MIN: Final = WAD // 20
SIGMA_MAX: Final = 5 * WAD
DAYS_30: Final = 30 * 86_400
DEEPEST: Final = -99 * WAD // 100  # a stretched fall stops here


class Price(IntEnum):
    SPOT = 0
    TRIGGER = 1
    BID = 2
    INITIAL = 3


class Move(NamedTuple):
    """The price move of one scenario, wad, and ln(1 + move)."""

    by: int
    ln: int


class Term(NamedTuple):
    """What all series of one expiry share; see ``Risk.Term``."""

    forward: int
    discount: int
    open: int
    root_t: int
    smile: oracle.SmileNow
    confidence: int
    forwards: tuple[int, ...]
    lns: tuple[int, ...]
    factors: tuple[int, ...]
    addends: tuple[int, ...]


def clamp_price(quote: oracle.Prices, mode: Price, p: RiskParams) -> int:
    """``Risk.price``: spot, limited to a band around a mark."""
    if mode == Price.SPOT:
        return quote.spot
    mark, band = (quote.slow, p.trigger_band) if mode == Price.TRIGGER else (quote.fast, p.bid_band)
    return clamp(quote.spot, mark * (WAD - band) // WAD, mark * (WAD + band) // WAD)


def stretched(s: Scenario, factor: int) -> Move:
    """``Risk._stretch``."""
    if factor == WAD:
        return Move(s.spot * 10**14, s.ln)
    move = max(DEEPEST, div_trunc(s.spot * 10**14 * factor, WAD))
    return Move(move, ln_wad(WAD + move))


def vol_slope(p: RiskParams, left: int) -> int:
    """``Risk.volSlope``: (30 days / t)^power, wad."""
    t = max(left, p.vol_days_floor)
    power = p.vol_power_short if t <= DAYS_30 else p.vol_power_long
    return exp_wad(div_trunc(ln_wad(DAYS_30 * WAD // t) * power, WAD))


def sigma(t: Term, ln: int) -> int:
    """``Risk._sigma``: atm + skew x + curv x^2 within [SIGMA_MIN, SIGMA_MAX], x = ln(K / F) / sqrt(t)."""
    if not t.root_t:
        return 0
    x = div_trunc(-ln * WAD, t.root_t)
    s = t.smile
    raw = s.atm + div_trunc(s.skew * x, WAD) + div_trunc(s.curv * div_trunc(x * x, WAD), WAD)
    return clamp(raw, SIGMA_MIN, SIGMA_MAX)
