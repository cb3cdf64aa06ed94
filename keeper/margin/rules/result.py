"""What the engine says: margins that are sums of lines, and every scenario behind them."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Line:
    """One summand of both margins, US dollars; requirements are negative."""

    what: str
    mm: float
    im: float

    def times(self, mm: float, im: float) -> Line:
        return Line(self.what, self.mm * mm, self.im * im)


class Components(NamedTuple):
    """A loss as first and second order in the moves see it, US dollars; ``remainder`` is all that they cannot say:
    higher orders, static discounts, gains that fold away."""

    delta: float
    gamma: float
    vega: float
    remainder: float


@dataclass(frozen=True, slots=True)
class Scan:
    """Profit and loss of one underlying (or group) in every scenario, weights included, US dollars."""

    of: str
    worst: str | None  # None: nothing loses
    loss: float  # not negative
    pnl: tuple[tuple[str, float], ...]
    parts: Components | None = None  # of the loss; None where no scenario sets it


@dataclass(frozen=True, slots=True)
class Greeks:
    """Of one underlying: delta in units, gamma in units per US dollar, vega per 1.00 of volatility."""

    of: str
    delta: float
    gamma: float
    vega: float


@dataclass(frozen=True, slots=True)
class Result:
    """``marks`` are worth what they say in both margins; ``requirements`` are what is taken off."""

    rules: str
    marks: tuple[Line, ...]
    requirements: tuple[Line, ...]
    scans: tuple[Scan, ...]
    greeks: tuple[Greeks, ...]
    factor: tuple[float, float] = (1.0, 1.0)  # how often the loss counts; a lost peg is in the second
    notes: tuple[str, ...] = ()
    trusted: float | None = None  # maintenance margin on the basis scenarios alone

    @property
    def mark(self) -> float:
        """Cash and everything at mark."""
        return fsum(line.mm for line in self.marks)

    @property
    def maintenance(self) -> float:
        """Summed exactly: marks and requirements may cancel."""
        return fsum(line.mm for line in (*self.marks, *self.requirements))

    @property
    def initial(self) -> float:
        return fsum(line.im for line in (*self.marks, *self.requirements))

    @property
    def requirement(self) -> tuple[float, float]:
        """Maintenance and initial; negative where what is held counts for more than its mark."""
        return -fsum(line.mm for line in self.requirements), -fsum(line.im for line in self.requirements)

    @property
    def worst(self) -> str:
        """The scenario that sets the loss; of each underlying, when there are several."""
        named = [(one.of, one.worst or "none") for one in self.scans]
        return named[0][1] if len(named) == 1 else "; ".join(f"{of}: {worst}" for of, worst in named)
