"""What ``Risk.sol`` makes of prices, scenarios and smiles before any position is looked at, equal to the wei."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Final, NamedTuple

from keeper.protocols.options import oracle
from keeper.protocols.options.maths import exp_wad, ln_wad, sqrt
from keeper.protocols.options.params import RiskParams, Scenario, Shock
from keeper.units import WAD, YEAR, clamp, div_trunc

SIGMA_MIN: Final = WAD // 20
SIGMA_MAX: Final = 5 * WAD
DAYS_30: Final = 30 * 86_400
DEEPEST: Final = -99 * WAD // 100  # a stretched fall stops here
KEPT: Final = 1 << 12  # expiries at moments


class Price(IntEnum):
    SPOT = 0
    TRIGGER = 1
    BID = 2
    INITIAL = 3


class Move(NamedTuple):
    """The price move of one scenario, wad, and ln(1 + move)."""

    by: int
    ln: int


@dataclass(slots=True)
class Moves:
    """Those of all scenarios, stretched by ``factor`` (wad); each is worked out when it is asked for."""

    scenarios: Sequence[Scenario]
    factor: int
    _made: dict[int, Move] = field(default_factory=dict)

    def __getitem__(self, scenario: int) -> Move:
        found = self._made.get(scenario)
        if found is None:
            found = self._made[scenario] = stretched(self.scenarios[scenario], self.factor)
        return found


class Shocked(NamedTuple):
    """One scenario as the series of one expiry meet it, wad."""

    forward: int
    ln: int  # of the forward's move
    factor: int  # of total volatility
    addend: int  # to it


@dataclass(slots=True)
class Term:
    """What all series of one expiry share; see ``Risk.Term``. Scenarios are worked out when they are asked for."""

    forward: int
    discount: int
    open: int
    root_t: int
    left: int  # seconds
    moving: int  # share of the forward that the price still moves
    smile: oracle.SmileNow
    confidence: int
    params: RiskParams
    moves: Moves
    floats: tuple[float, ...] = ()  # see ``valued._floats``
    _shocked: dict[int, Shocked] = field(default_factory=dict)

    def shocked(self, scenario: int) -> Shocked:
        found = self._shocked.get(scenario)
        if found is None:
            found = self._shocked[scenario] = self._shock(scenario)
        return found

    def _shock(self, scenario: int) -> Shocked:
        s, m = self.params.scenarios[scenario], self.moves[scenario]
        move, ln, vol, scaled = m.by, m.ln, s.vol * 10**14, 0
        if self.moving != WAD:
            move = div_trunc(m.by * self.moving, WAD)
            ln = ln_wad(WAD + move)
        if s.kind == Shock.TERM:
            scaled = div_trunc(vol * vol_slope(self.params, self.left), WAD)
        elif s.kind == Shock.RELATIVE:
            scaled = vol
        addend = div_trunc(vol * self.root_t, WAD) if s.kind == Shock.ABSOLUTE else 0
        return Shocked(self.forward * (WAD + move) // WAD, ln, max(0, WAD + scaled), addend)


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
    return _slope(t, p.vol_power_short if t <= DAYS_30 else p.vol_power_long)


# Of time, and of what changes seldom: the same for every account, and known before the block comes (``Columns.ahead``).


@lru_cache(maxsize=KEPT)
def _slope(t: int, power: int) -> int:
    return exp_wad(div_trunc(ln_wad(DAYS_30 * WAD // t) * power, WAD))


@lru_cache(maxsize=KEPT)
def root_of(left: int) -> int:
    """Root of the years that so many seconds are, wad."""
    return sqrt(left * 10**36 // YEAR)


@lru_cache(maxsize=KEPT)
def discount_of(rate: int, left: int) -> int:
    """Of so many seconds at a yearly rate, wad."""
    return exp_wad(div_trunc(-rate * left, YEAR))


def sigma(t: Term, ln: int) -> int:
    """``Risk._sigma``: atm + skew x + curv x^2 within [SIGMA_MIN, SIGMA_MAX], x = ln(K / F) / sqrt(t)."""
    if not t.root_t:
        return 0
    x = div_trunc(-ln * WAD, t.root_t)
    s = t.smile
    raw = s.atm + div_trunc(s.skew * x, WAD) + div_trunc(s.curv * div_trunc(x * x, WAD), WAD)
    return clamp(raw, SIGMA_MIN, SIGMA_MAX)
