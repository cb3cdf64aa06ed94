"""A rule set is data: these records. Every family is an instance, every field can be overridden in a file.

Factors and rates are per one (0.01 is 1 %), money is US dollars, time is seconds unless a name says otherwise.
A ``Levy`` charges ``mm`` for the maintenance margin and ``mm + extra`` for the initial one, so that the initial
charge is never the smaller of the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Annotated, Final, TypeVar

from keeper.margin.rules.bind import GIVEN, TINY, Above, Amount, Scale, Share, Within

T = TypeVar("T")
MONTH: Final = 30 * 86_400.0  # where the term structure of volatility shocks has its knee
DEEPEST: Final = -0.99  # a stretched fall stops here
ANY: Final = "*"  # in a table by underlying: all that are not named

Weight = Annotated[float, Within(0, 100)]
Power = Annotated[float, Within(0, 10)]
Seconds = Annotated[float, Within(0, 1e9)]
Signed = Annotated[float, Within(-1000, 1000)]
Ratio = Annotated[float, Within(-1e9, 1e9, TINY)]


# ─── scenarios ────────────────────────────────────────────────────────────────────────────────────


class Kind(StrEnum):
    """What a scenario does to a volatility. ``g`` is the term structure of ``VolShock``."""

    NONE = "none"
    UP = "up"  # x (1 + up g), at least ``least_up``
    DOWN = "down"  # x max(0, 1 - down g)
    TERM = "term"  # x max(0, 1 + by g)
    RELATIVE = "relative"  # x max(0, 1 + by)
    ABSOLUTE = "absolute"  # + by, at least 0
    RANGES = "ranges"  # + by volatility ranges of the underlying, at least 0
    LINEAR = "linear"  # the smile is tilted; spot stays for options
    ABS = "abs"  # the wings are raised; spot stays for options


@dataclass(frozen=True, slots=True)
class Range:
    """How far an underlying may move: ``up`` and ``down`` of its price, ``vol`` in points of volatility."""

    up: Scale = 0.0
    down: Share = 0.0
    vol: Amount = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A move of spot, as a factor or in price ranges, a shock of volatility, and how much of the loss counts.

    After the weight, only the loss ``beyond`` so many US dollars counts, per underlying.
    """

    spot: Scale | None = None
    ranges: Annotated[float, Within(-10, 10)] | None = None
    vol: Kind = Kind.NONE
    by: Signed = 0.0
    weight: Weight = 1.0
    beyond: Amount = 0.0
    name: str = ""

    def __post_init__(self) -> None:
        if self.spot is not None and self.ranges is not None:
            raise ValueError('has "spot" and "ranges": give one of them')

    @property
    def skewed(self) -> bool:
        return self.vol in (Kind.LINEAR, Kind.ABS)

    def factor(self, scan: Range) -> float:
        """What spot is multiplied by, at least 0."""
        if self.ranges is None:
            return 1.0 if self.spot is None else self.spot
        return max(0.0, 1 + self.ranges * (scan.up if self.ranges > 0 else scan.down))

    def stretched(self, by: float) -> Scenario:
        """The same with its price move times ``by``; it keeps its name."""
        spot = None if self.spot is None else 1 + max(DEEPEST, (self.spot - 1) * by)
        return replace(self, spot=spot, ranges=None if self.ranges is None else self.ranges * by, name=self.title)

    @property
    def title(self) -> str:
        """``spot +15 %, vol up``"""
        if self.name:
            return self.name
        spot = f"{self.ranges:+.4g} ranges" if self.ranges is not None else f"{100 * (self.factor(Range()) - 1):+.4g} %"
        vol = {Kind.NONE: "", Kind.LINEAR: ", skew linear", Kind.ABS: ", skew abs"}.get(self.vol, f", vol {self.vol}")
        by = f" {self.by:+.4g}" if self.by else ""
        weight = f", weight {self.weight:.4g}" if self.weight != 1 else ""
        beyond = f", beyond {self.beyond:.6g}" if self.beyond else ""
        return f"spot {spot}{vol}{by}{weight}{beyond}"


@dataclass(frozen=True, slots=True)
class VolShock:
    """g = (30 days / max(t, shortest))^power, ``short_power`` up to 30 days and ``long_power`` beyond."""

    up: Scale = 0.0
    down: Scale = 0.0
    short_power: Power = 0.0
    long_power: Power = 0.0
    shortest: Seconds = 86_400.0
    least_up: Scale = 0.0  # a volatility


@dataclass(frozen=True, slots=True)
class SkewCap:
    """cap = base + per_root sqrt(tau)"""

    base: Signed = 0.0
    per_root: Signed = 0.0


@dataclass(frozen=True, slots=True)
class Skew:
    """Multiplier of a volatility 1 + x cap / k*, x = ln(K/F) or its size, stopped at the cap.

    k* = max(least_k, sqrt(tau) width (vol + vol_per_root sqrt(tau))).
    """

    linear: SkewCap = SkewCap()
    abs: SkewCap = SkewCap()
    least_k: Scale = 0.01
    width: Scale = 0.0
    vol: Scale = 0.0
    vol_per_root: Signed = 0.0


@dataclass(frozen=True, slots=True)
class Discount:
    """What is left of a shocked value: base e^-(tau (r rate + add)) when long, base e^+(...) when short."""

    base: Annotated[float, Within(0, 4)] = 1.0
    rate: Scale = 0.0
    add: Scale = 0.0


@dataclass(frozen=True, slots=True)
class StaticDiscount:
    """The discount of an expiry whose shocked value is positive, and of one where it is negative (at most 1/D)."""

    long: Discount = Discount()
    short: Discount = Discount()


@dataclass(frozen=True, slots=True)
class Basis:
    """min(up - mark, down - mark, 0) (add + mult tau) summed over expiries: forwards move against each other."""

    up: Scale = 1.05
    down: Scale = 0.95
    add: Scale = 0.0
    mult: Scale = 0.0


# ─── charges ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Levy:
    mm: Scale = 0.0
    extra: Scale = 0.0

    @property
    def im(self) -> float:
        return self.mm + self.extra


class Quote(StrEnum):
    SPOT = "spot"
    PERP = "perp"


@dataclass(frozen=True, slots=True)
class PerpLevy(Levy):
    """Of |size| times a price."""

    price: Quote = Quote.SPOT


class Netting(StrEnum):
    STRIKE = "strike"  # calls and puts of one strike and expiry
    CARRIED = "carried"  # calls apart from puts; what an earlier expiry is short of is carried to the next


@dataclass(frozen=True, slots=True)
class NakedLevy(Levy):
    """Of short options that no long ones cover, times spot."""

    net: Netting = Netting.STRIKE


class Worth(StrEnum):
    VALUE = "value"  # amount x price / stable price
    NOTIONAL = "notional"  # amount x price


@dataclass(frozen=True, slots=True)
class Haircut(Levy):
    """Of collateral. ``counted``: what it counts as before the haircut; ``charged``: what the haircut is a share of."""

    counted: Worth = Worth.VALUE
    charged: Worth = Worth.VALUE


@dataclass(frozen=True, slots=True)
class Size:
    """factor x^2 / depth, at most ``most`` x, for x = |delta| spot: large positions cost more. Where gains are carried
    over expiries, an early delta does not hide a later one either.

    ``depth`` in US dollars by underlying.
    """

    factor: Scale = 0.0
    most: Scale | None = None
    depth: Mapping[str, Above] = field(default_factory=dict)


class Source(StrEnum):
    """Whose confidence counts."""

    SPOT = "spot"
    FORWARD = "forward"
    RATE = "rate"
    VOL = "vol"
    PERP = "perp"  # when perps of the underlying are held
    OWN = "own"  # of the collateral


@dataclass(frozen=True, slots=True)
class Doubt:
    """(1 - c) rate notional when c, the least confidence ``of`` these, is below the threshold."""

    threshold: Scale = 0.0
    rate: Scale = 0.0
    of: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Confidence:
    perp: Doubt = Doubt()
    option: Doubt = Doubt()
    collateral: Doubt = Doubt()
    shorts_only: bool = False  # of options
    maintenance: bool = False  # charged for the maintenance margin too


class Pegged(StrEnum):
    LOSS = "loss"  # added to the initial factor of the loss
    POSITIONS = "positions"  # charged per short option and perp, times spot


@dataclass(frozen=True, slots=True)
class Peg:
    """max(0, threshold - stable price) factor, for the initial margin."""

    threshold: Scale = 0.0
    factor: Scale = 0.0
    on: Pegged = Pegged.LOSS


@dataclass(frozen=True, slots=True)
class Minimum:
    """Of the requirement of an underlying (or group): US dollars per option, and per short option."""

    contract: Amount = 0.0
    short: Amount = 0.0


# ─── the parts that only SPAN and TIMS have ───────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Delivery:
    """US dollars per unit of delta in expiries nearer than ``within``."""

    within: Seconds = 0.0
    charge: Mapping[str, Amount] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credit:
    """A spread between underlyings: units of delta by underlying (signs matter), and the share of risk it saves."""

    legs: Mapping[str, Ratio]
    rate: Share


@dataclass(frozen=True, slots=True)
class Group:
    """Underlyings that are scanned together; gains of one offset losses of another by ``offset``."""

    members: tuple[str, ...]
    offset: Share = 0.0


# ─── the standard rules: no scenarios ─────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Standard:
    """Requirement of an expiry: the better of the sum over its short options and its greatest loss at expiry."""

    call: Scale = 0.075  # maintenance, of spot
    call_mark: Scale = 0.0  # or of its mark, if that is more
    put: Scale = 0.075  # maintenance, of spot
    put_mark: Scale = 0.075  # likewise
    fee: Scale = 0.0  # maintenance, of spot, for closing
    most: Scale = 0.15  # initial, of spot, less the part that is out of the money ...
    least: Scale = 0.10  # ... but at least this
    put_scale: Scale = 1.05  # initial for a put: at least this times maintenance
    greatest: bool = True  # the greatest loss counts where it is smaller
    unpaired_mm: Scale = 1.1  # forwards that it has more per call sold in excess
    unpaired_im: Scale = 1.2


# ─── the rule set ─────────────────────────────────────────────────────────────────────────────────


class Fold(StrEnum):
    SUM = "sum"
    CARRY = "carry"  # c <- min(c, 0) + g from the first expiry to the last: a gain does not pay for a later loss


@dataclass(frozen=True, slots=True)
class Factor:
    mm: Scale = 1.0
    im: Scale = 1.0


@dataclass(frozen=True)
class Rules:
    name: str = field(default="custom", metadata={GIVEN: True})
    discounted: bool = True  # options are worth their discounted value
    floor_rates: bool = False  # rates below 0 count as 0
    window: Seconds = 0.0  # of the settlement average; in it a forward is partly observed
    inverse: bool = False  # profits are paid in the underlying: its units are counted, at today's spot
    put_floor: bool = False  # a put is worth at least its intrinsic value (American)
    band: Share | None = None  # spot is held within this share of ``mark``
    stress_cap: Above | None = None  # most that volatility widens the price moves of scenarios; None: it does not
    scenarios: tuple[Scenario, ...] = ()
    ranges: Mapping[str, Range] = field(default_factory=dict)
    vol: VolShock = VolShock()
    skew: Skew = Skew()
    discount: StaticDiscount | None = None
    basis: Basis | None = None
    fold: Fold = Fold.SUM
    groups: tuple[Group, ...] = ()
    standard: Standard | None = None  # in the place of scenarios
    factor: Factor = Factor()  # of the loss
    scaled: bool = False  # the factor applies to charges too, but for confidence and a lost peg
    roll: Levy = Levy()  # of perps and futures at their prices
    perp: PerpLevy = PerpLevy()
    naked: NakedLevy = NakedLevy()
    gross: Levy = Levy()  # of short options times spot
    haircut: Haircut = Haircut()
    size: Size | None = None
    confidence: Confidence = Confidence()
    peg: Peg | None = None
    minimum: Minimum = Minimum()
    calendar: Mapping[str, Amount] = field(default_factory=dict)  # US dollars per unit of delta spread over expiries
    delivery: Delivery = Delivery()
    credits: tuple[Credit, ...] = ()

    def named(self, title: str) -> Rules:
        """The same rules with one scenario."""
        return replace(self, scenarios=tuple(one for one in self.scenarios if one.title == title))

    def stretched(self, by: float) -> Rules:
        """The same rules with all price moves times ``by``."""
        return self if by == 1 else replace(self, scenarios=tuple(one.stretched(by) for one in self.scenarios))

    @property
    def trusted(self) -> Rules:
        """The same rules with the scenarios of the basis contingency: what a trusted caller is checked on."""
        spots = (self.basis.up, self.basis.down, 1.0) if self.basis else ()
        return replace(self, scenarios=tuple(Scenario(spot=spot) for spot in spots))


def of(table: Mapping[str, T], name: str) -> T | None:
    """The entry of an underlying, or the one of all others."""
    return table.get(name, table.get(ANY))
