"""What is held, sorted by underlying and expiry, with every number that does not depend on a scenario."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt

from keeper.margin.rules.parameters import Levy, Source

YEAR = 31_536_000.0  # seconds; 365 days


@dataclass(frozen=True, slots=True)
class Series:
    """Options of one kind, netted."""

    is_call: bool
    strike: float
    size: float  # contracts
    multiplier: float
    sigma: float
    confidence: float

    @property
    def units(self) -> float:
        return self.size * self.multiplier

    @property
    def title(self) -> str:
        return f"{self.strike:g} {'call' if self.is_call else 'put'}"


@dataclass(frozen=True)
class Term:
    """One expiry of one underlying. ``left`` seconds; ``rate`` as the rules count it; ``discount`` of values."""

    name: str
    left: float
    fixed: float  # part of the forward that no longer moves
    variable: float
    rate: float
    discount: float
    confidence: Mapping[Source, float] = field(default_factory=dict)
    series: tuple[Series, ...] = ()
    futures: float = 0.0  # units
    futures_pnl: float = 0.0

    @cached_property
    def tau(self) -> float:
        return self.left / YEAR

    @cached_property
    def root(self) -> float:
        return sqrt(self.tau)

    @property
    def forward(self) -> float:
        return self.fixed + self.variable

    @property
    def shorts(self) -> float:
        """Units of options sold."""
        return sum(max(0.0, -one.units) for one in self.series)


@dataclass(frozen=True, slots=True)
class PerpHeld:
    size: float
    price: float
    value: float  # profit that is not in cash yet, US dollars
    confidence: float


@dataclass(frozen=True, slots=True)
class Asset:
    """Collateral. ``value`` is after division by the stable price, ``notional`` before it."""

    title: str
    value: float
    notional: float
    units: float  # of the underlying that it moves with, 0 when with none
    confidence: float
    haircut: Levy


@dataclass(frozen=True, slots=True)
class Scanned:
    """Contracts given by their risk array; see ``schema.Array``."""

    title: str
    expiry: str
    size: float
    losses: tuple[float, ...]
    delta: float
    value: float
    option: bool


@dataclass(frozen=True)
class Market:
    """Everything held of one underlying, or of none (``name`` is empty, ``spot`` is 0)."""

    name: str
    spot: float
    confidence: float
    terms: tuple[Term, ...] = ()  # by time left
    perp: PerpHeld | None = None
    units: float = 0.0  # of the underlying itself
    assets: tuple[Asset, ...] = ()
    arrays: tuple[Scanned, ...] = ()
    stress: tuple[float, float] = (1.0, 1.0)  # what price moves are multiplied by: for maintenance, initially

    @property
    def empty(self) -> bool:
        return not (self.terms or self.perp or self.units or self.assets or self.arrays)

    def least_confidence(self, of: tuple[Source, ...], own: Mapping[Source, float]) -> float:
        """The least of these that are known; 1 when none is."""
        known = {**own, Source.SPOT: self.confidence}
        if self.perp:
            known[Source.PERP] = self.perp.confidence
        return min((known[one] for one in of if one in known), default=1.0)


@dataclass(frozen=True, slots=True)
class Book:
    cash: float
    stable: float
    markets: tuple[Market, ...]
    notes: tuple[str, ...] = ()
