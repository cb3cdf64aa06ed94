"""What a portfolio file says: rules, feeds, portfolio. ``config/margin/README.md`` explains every key.

US dollars, contracts, shares of one; volatilities and rates per year (365 days); times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from keeper.margin.rules.bind import Above, Amount, Multiplier, Number, Price, Rate, Share, Size, Vol, Within
from keeper.margin.rules.parameters import Levy

Time = Annotated[float, Within(-1e12, 1e12)]
Stretch = Annotated[float, Within(1, 1000)]
Left = Annotated[float, Within(-4e8, 4e8, 1e-3)]


@dataclass(frozen=True, slots=True)
class Forward:
    """A forward in two parts: what the settlement average has observed, and what can still move."""

    fixed: Price
    variable: Price


@dataclass(frozen=True, slots=True)
class Svi:
    a: Number
    b: Amount
    rho: Annotated[float, Within(-1, 1)]
    m: Number
    sigma: Amount
    forward: Price | None = None  # None: the forward of the expiry
    tau: Annotated[float, Within(1e-12, 1000)] | None = None  # years; None: the time left


@dataclass(frozen=True, slots=True)
class Smile:
    atm: Vol
    skew: Number = 0.0
    curv: Number = 0.0


@dataclass(frozen=True, slots=True)
class Expiry:
    """When (``seconds`` left, or ``at`` with ``feeds.now``), at what forward and volatility."""

    seconds: Left | None = None
    at: Time | None = None
    forward: Price | Forward | None = None  # None: (known + spot open) e^(rate tau)
    known: Price = 0.0  # US dollars of the settlement average observed so far
    open: Share = 1.0  # weight of the price still to come
    forward_confidence: Share = 1.0
    rate: Rate = 0.0
    rate_confidence: Share = 1.0
    vol: Vol | None = None
    svi: Svi | None = None
    smile: Smile | None = None
    vol_confidence: Share = 1.0
    settlement: Price | None = None  # needed once it has expired


@dataclass(frozen=True, slots=True)
class PerpFeed:
    price: Price
    confidence: Share = 1.0


@dataclass(frozen=True, slots=True)
class Feed:
    spot: Above
    confidence: Share = 1.0
    mark: Above | None = None  # a slow mean of spot, for rules with a ``band``
    stress: Stretch = 1.0  # volatility over its usual one, for rules with a ``stress_cap``
    stress_now: Stretch | None = None  # the same without its memory, for the initial margin; None: ``stress``
    perp: PerpFeed | None = None
    expiries: Mapping[str, Expiry] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Feeds:
    underlyings: Mapping[str, Feed] = field(default_factory=dict)
    stable: Above = 1.0
    now: Time | None = None


class Side(StrEnum):
    CALL = "call"
    PUT = "put"


@dataclass(frozen=True, slots=True)
class Option:
    expiry: str
    type: Side
    strike: Price
    size: Size  # contracts; negative is short
    underlying: str | None = None
    multiplier: Multiplier = 1.0  # units of the underlying per contract
    vol: Vol | None = None  # else that of the expiry
    price: Price | None = None  # or the volatility that gives this price per unit
    vol_confidence: Share = 1.0


@dataclass(frozen=True, slots=True)
class Perp:
    size: Size
    underlying: str | None = None
    pnl: Number | None = None  # unrealised and unsettled, US dollars
    entry: Price | None = None  # or the price of entry
    funding: Number = 0.0


@dataclass(frozen=True, slots=True)
class Future:
    expiry: str
    size: Size
    underlying: str | None = None
    multiplier: Multiplier = 1.0
    pnl: Number = 0.0


@dataclass(frozen=True, slots=True)
class Spot:
    """The underlying itself, long or short: shares of stock."""

    size: Size
    underlying: str | None = None


@dataclass(frozen=True, slots=True)
class Collateral:
    amount: Amount
    asset: str = ""
    underlying: str | None = None  # whose spot it follows, or at least whose confidence it shares
    price: Price | None = None  # None: spot of the underlying
    risk_cancelling: bool | None = None  # moved by scenarios; None: when it has no price of its own
    confidence: Share = 1.0
    haircut: Levy | None = None  # None: that of the rules


@dataclass(frozen=True, slots=True)
class Array:
    """A contract given by its risk array: what one long contract loses in each scenario."""

    size: Size
    losses: tuple[Number, ...]
    underlying: str | None = None
    expiry: str = ""
    name: str = ""
    delta: Number = 0.0  # per contract
    value: Number = 0.0  # mark of one contract; 0 for futures, which are settled daily
    option: bool = False  # counts for minimum charges


@dataclass(frozen=True, slots=True)
class Holdings:
    cash: Number = 0.0
    options: tuple[Option, ...] = ()
    perps: tuple[Perp, ...] = ()
    futures: tuple[Future, ...] = ()
    spot: tuple[Spot, ...] = ()
    collateral: tuple[Collateral, ...] = ()
    arrays: tuple[Array, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """Without ``rules`` and ``parameters``, which decide how the rest is read."""

    portfolio: Holdings
    feeds: Feeds
    schema: Annotated[float, Within(1, 1)] = 1.0
