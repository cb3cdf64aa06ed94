"""What comes next: how far each borrower is from liquidation, and how soon.

A position is liquidatable once its collateral has fallen by its health, or once interest has eaten as much. The first
is a wall in the logarithm of the price, the second brings that wall up: so long that interest alone would breach it is
found in the contract's own integers, at the market's rate as it is. The deviation of the price is the operator's word
(``Settings.sigmas``); without it distance and probability are not told, and ``Fall.why`` says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import nsmallest
from math import inf, isinf, log, nan, sqrt
from typing import Final

from keeper.margin import passage
from keeper.model import HealthReport, Key, Moment
from keeper.ports import Columns, View
from keeper.protocols.morpho_blue.records import POSITION, market_of
from keeper.protocols.morpho_blue.settings import Settings
from keeper.units import YEAR

DAY: Final = 86_400 / YEAR
LONGEST: Final = 100 * YEAR  # seconds; what interest does not bring about by then is called never

Judge = Callable[[View, Key, Moment], HealthReport]


@dataclass(frozen=True)
class Fall:
    """One borrower."""

    key: Key
    health: float  # what may be owed / what is owed
    sigma: float | None  # a year
    interest: float  # seconds until interest alone breaches; inf for never
    why: str  # no sigma is known; "" where one is

    @property
    def falls(self) -> float:
        """Factor of the price, with the debt as it is now; 1 where that is breached."""
        return min(1.0, 1 / self.health) if self.health > 0 else 1.0

    @property
    def wall(self) -> float:
        """The same as a distance in the logarithm of the price."""
        return -log(self.falls)

    @property
    def rate(self) -> float:
        """By how much interest brings it up, a year."""
        return 0.0 if isinf(self.interest) or not self.wall else self.wall / (self.interest / YEAR)

    @property
    def distance(self) -> float:
        """Standard deviations of one day; NaN without a sigma."""
        return self.wall / (self.sigma * sqrt(DAY)) if self.sigma else nan if self.wall else 0.0

    @property
    def day(self) -> float:
        """Probability of the breach within a day, interest counted; NaN without a sigma."""
        return passage.rising(self.wall, self.rate, self.sigma, DAY) if self.sigma else nan if self.wall else 1.0

    @property
    def even(self) -> float:
        """Seconds after which the breach is as likely as not; NaN without a sigma."""
        if not self.wall:
            return 0.0
        return passage.even_rising(self.wall, self.rate, self.sigma) * YEAR if self.sigma else nan


def nearest(settings: Settings, judge: Judge, columns: Columns, view: View, at: Moment, count: int) -> list[Fall]:
    """The likeliest to be liquidatable within a day, and as many of the nearest of whom no likelihood is known."""
    known, others = list[tuple[float, Key]](), list[tuple[float, Key]]()
    for key, health in columns.nearest(view, at, sum(1 for _ in view.keys(POSITION))):
        sigma = settings.sigma(market_of(key).id)
        wall = max(0.0, log(health)) if health > 0 else 0.0
        (others if sigma is None else known).append((wall / (sigma or 1.0), key))
    keys = (key for some in (known, others) for _, key in nsmallest(count, some))
    falls = [_fall(settings, judge, view, key, at) for key in keys]
    return sorted(falls, key=lambda f: (f.sigma is None, -f.day if f.sigma else 0.0, f.health, f.key))


def _fall(settings: Settings, judge: Judge, view: View, key: Key, at: Moment) -> Fall:
    report, market = judge(view, key, at), market_of(key).id
    sigma = settings.sigma(market)
    why = f"market 0x{market:064x} has no sigma: name one in the adapter's sigmas" if sigma is None else ""
    return Fall(key, report.equity / report.requirement, sigma, _interest(judge, view, key, at), why)


def _interest(judge: Judge, view: View, key: Key, at: Moment) -> float:
    """Seconds from ``at`` to the first one at which it is liquidatable, if nobody touches the market."""

    def healthy(seconds: int) -> bool:
        return judge(view, key, Moment(at.number, at.timestamp + seconds, at.base_fee)).healthy

    low, high = -1, LONGEST
    if healthy(high):
        return inf
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if healthy(middle) else (low, middle)
    return float(high)
