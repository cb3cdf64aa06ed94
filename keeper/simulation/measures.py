"""What a crash did to those who were liquidated in it, in the measures of the design's review of its auction.

    saved   share of the liquidated accounts that never lost the whole of themselves
    loss    value given away at the true price, which is the path's and not the oracle's
    fund    what the insurance paid, and the negative equity that is left
    rho, t  discount of each sale, and how long after the flag it came

Amounts are basis points of the gross notional (sizes times price) of the liquidated accounts when first flagged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import quantiles
from typing import Any, Final

from keeper.model import Fact
from keeper.ports import View
from keeper.protocols.options.records import State
from keeper.protocols.options.risk import Market, Portfolio, Price, portfolio
from keeper.protocols.options.whatif import moved
from keeper.simulation.world import World
from keeper.units import BPS, WAD

UNSOLD: Final = {  # facts of the waterfall, as a reader of the report knows them
    "closed_out": "closed out",
    "queue": "queues",
    "deleveraged": "legs closed in them",
    "deficit": "deficits made up",
}
FORCED: Final = ("sold", "closed_out", "deleveraged")  # what takes something from an account


@dataclass(frozen=True)
class Measured:
    """``loss`` and ``fund`` in bp of gross notional; ``rho`` and ``seconds`` (of the market) are median and 90 %.
    ``steps`` counts what happened on chain, whoever did it; ``shared`` is US dollars of loss that everybody bore."""

    flagged: int
    liquidated: int
    saved: float
    loss: float
    fund: float
    rho: tuple[float, float]
    seconds: tuple[float, float]
    steps: Mapping[str, int]
    shared: float

    def rows(self) -> list[tuple[str, str]]:
        kept = round(self.saved * self.liquidated)
        return [
            ("accounts flagged", f"{self.flagged}, of which {self.liquidated} lost something"),
            ("saved", f"{self.saved:.2f}: {kept} of {self.liquidated} never lost the whole account"),
            ("owners gave away", f"{self.loss:.1f} bp of their gross notional, at the true price"),
            ("insurance", f"{self.fund:.1f} bp of the same, with what is left below zero"),
            ("discount at sale", "rho {:.3f} median, {:.3f} at 90 %".format(*self.rho)),
            ("flag to sale", "{:.0f} s of the market median, {:.0f} s at 90 %".format(*self.seconds)),
            ("what nobody bought", self._unsold()),
        ]

    def _unsold(self) -> str:
        told = ", ".join(f"{what} {self.steps[name]}" for name, what in UNSOLD.items() if self.steps.get(name))
        return f"{told}; ${self.shared:,.2f} borne by everybody" if told else "nothing"


@dataclass
class Measures:
    """Told every block; ``speed``: market seconds in a chain second."""

    world: World
    speed: int = 1
    _flagged: dict[int, int] = field(default_factory=dict)  # account -> time of its last flag
    _notional: dict[int, int] = field(default_factory=dict)  # account -> usd, when first flagged
    _hit: set[int] = field(default_factory=set)  # who lost something
    _whole: set[int] = field(default_factory=set)  # who lost everything
    _given: int = 0  # usd
    _paid: int = 0  # usd, by fund and reserve
    _shared: int = 0  # usd, by all cash
    _steps: Counter[str] = field(default_factory=Counter)
    _rhos: list[float] = field(default_factory=list)
    _waits: list[int] = field(default_factory=list)  # chain seconds
    _before: dict[int, Portfolio] = field(default_factory=dict)  # what those in auction held a block ago

    def look(self, facts: Iterable[Fact], true: Sequence[float]) -> None:
        """``true``: the market's price of each underlying at the last block, US dollars."""
        prices = _Prices(self.world.book, self.world.now, true)
        for fact in facts:
            if fact.key.kind == "account":
                self._fact(fact, prices)
        self._before = {key.id: self._holds(key.id) for key in self.world.state.view.keys("auction")}

    def _holds(self, account: int) -> Portfolio:
        record = self.world.state.account(account)
        return portfolio(record, self.world.state.clearing()) if record else Portfolio(0, ())

    def _fact(self, fact: Fact, prices: _Prices) -> None:
        account, a = fact.key.id, fact.amounts
        self._steps[fact.name] += 1
        if fact.name == "flagged":
            self._flagged[account] = self.world.now
            self._notional.setdefault(account, prices.gross(self._holds(account)))
            self._before.setdefault(account, self._holds(account))
        if fact.name in FORCED:
            self._hit.add(account)
        if fact.name == "sold":
            self._sale(account, a, prices)
        if fact.name in ("closed_out", "deleveraged") and not self._holds(account).legs:
            self._whole.add(account)
        self._given += a["compensation"] if fact.name == "closed_out" else 0
        self._shared += a["amount"] if fact.name == "socialised" else 0
        self._paid += a["from_fund"] + a["from_reserve"] if fact.name in ("queue", "deficit") else 0

    def _sale(self, account: int, a: Mapping[str, int], prices: _Prices) -> None:
        equity = a["equity"] + prices.gap(self._before[account])
        self._given += equity * a["fraction"] // WAD - max(0, a["price"])
        self._paid += max(0, -a["price"])
        self._rhos.append(a["rho"] / WAD)
        self._waits.append(self.world.now - self._flagged[account])
        if a["takeover"] or a["fraction"] == WAD:
            self._whole.add(account)

    def result(self, left: float) -> Measured:
        """``left``: negative equity that stands, US dollars."""
        gross = sum(self._notional[account] for account in self._hit) / WAD
        in_bp = BPS / gross if gross else 0.0
        waits = [float(wait * self.speed) for wait in self._waits]
        return Measured(
            flagged=len(self._notional),
            liquidated=len(self._hit),
            saved=1 - len(self._whole) / len(self._hit) if self._hit else 1.0,
            loss=self._given / WAD * in_bp,
            fund=(self._paid / WAD + left) * in_bp,
            rho=_spread(self._rhos),
            seconds=_spread(waits),
            steps=dict(self._steps),
            shared=self._shared / WAD,
        )


class _Prices:
    """The market's own prices of one moment, beside those that bids are made at."""

    def __init__(self, view: View, now: int, true: Sequence[float]) -> None:
        params = State(view).params(State(view).version()).risk
        self._true, self._args = true, (params, now)
        self._bid = Market(State(view), *self._args, Price.BID)
        for u, price in enumerate(true):
            feed = State(view).feed(u)
            assert feed is not None
            view = moved(view, [u], price * 10**8 / feed.spot)
        self._spot = Market(State(view), *self._args, Price.SPOT)

    def gap(self, pf: Portfolio) -> int:
        """usd, by which a portfolio is worth more than at the price of bids."""
        return self._spot.assess(pf, 0).equity - self._bid.assess(pf, 0).equity

    def gross(self, pf: Portfolio) -> int:
        """usd, sizes times price."""
        return sum(round(abs(leg.size) * self._true[leg.series >> 112 & 0xFF]) for leg in pf.legs)


def _spread(values: Sequence[Any]) -> tuple[float, float]:
    """(median, 90 %); zeros when there is nothing."""
    if len(values) < 2:
        return (values[0], values[0]) if values else (0.0, 0.0)
    deciles = quantiles(values, n=10, method="inclusive")
    return deciles[4], deciles[8]
