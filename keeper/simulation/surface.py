"""Volatility smiles that move with the price: vol rises as the price falls, most at short dates.

    sigma(K) = atm + skew x + curv x**2,    x = ln(K / F) / sqrt(tau)

Fitted to ETH and BTC chains of 27 January to 10 February 2026: skew -0.06 to -0.11 and curvature 0.08 to 0.13
in every bucket of expiries. Per unit of log return the ATM vol moved by 5.4, 2.6, 0.9 and 0.2 at 1, 7, 40 and
270 days, which is close to ``response * sqrt(30 d / tau)`` with a response of 1.0. The crashes of 2021 and
2020 are assumed to respond with 1.3 and 1.6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

PPM: Final = 10**6
MONTH: Final = 30 * 86_400  # seconds


class Smile(NamedTuple):
    """One expiry, in ppm (1e6 is 1.0): vols per year, ``rate`` per year continuously compounded."""

    atm: int
    skew: int
    curv: int
    rate: int


@dataclass(frozen=True, slots=True)
class Regime:
    """How the smiles of one underlying behave. Fractions, not ppm; times in chain seconds."""

    atm: float = 0.65
    skew: float = -0.09
    curv: float = 0.09
    rate: float = 0.0
    response: float = 1.6  # ATM vol at 30 days gained per unit of log return lost
    reversion: float = 3 * 86_400  # seconds in which an excess falls to 1/e
    nearest: float = 86_400  # seconds; below it, expiries respond alike
    floor: float = 0.10
    ceiling: float = 4.0


class Surface:
    """The smiles of one underlying. Pure: only ``move`` changes it, and only by what it is told."""

    def __init__(self, regime: Regime, now: int, price: float) -> None:
        self._regime = regime
        self._now, self._price = now, price
        self._excess = 0.0  # ATM vol at 30 days above the regime's

    def move(self, now: int, price: float) -> None:
        """Time and price (US dollars) go on: the old excess fades, the return adds to it."""
        faded = self._excess * math.exp(-(now - self._now) / self._regime.reversion)
        self._excess = faded - self._regime.response * math.log(price / self._price)
        self._now, self._price = now, price

    def smile(self, expiry: int) -> Smile:
        """The smile of one expiry now, rounded to nearest ppm; past its expiry it is the nearest one's."""
        model = self._regime
        left = max(expiry - self._now, model.nearest)
        atm = model.atm + self._excess * math.sqrt(MONTH / left)
        skew = model.skew * min(1.0, (MONTH / left) ** 0.25)  # flatter beyond a month, as fitted
        atm = min(max(atm, model.floor), model.ceiling)
        return Smile(*(round(value * PPM) for value in (atm, skew, model.curv, model.rate)))
