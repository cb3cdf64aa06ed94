"""Scenarios of one underlying: its profit and loss in each, the basis contingency, and the worst of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum

import numpy as np

from keeper.margin.black76 import Floats
from keeper.margin.rules.book import Market
from keeper.margin.rules.parameters import Fold, Range, Rules, Scenario, of
from keeper.margin.rules.result import Components, Scan
from keeper.margin.rules.revalue import Valued, gains, value

BASIS = "basis"


@dataclass(frozen=True)
class Scanning:
    """One market under the scenarios of a rule set."""

    market: Market
    rules: Rules

    @cached_property
    def range(self) -> Range:
        return of(self.rules.ranges, self.market.name) or Range()

    @cached_property
    def terms(self) -> tuple[Valued, ...]:
        return self._valued(self.rules.scenarios)

    def _valued(self, scenarios: Sequence[Scenario]) -> tuple[Valued, ...]:
        return tuple(value(t, self.market.spot, scenarios, self.range, self.rules) for t in self.market.terms)

    @cached_property
    def factors(self) -> Floats:
        """(S,) what spot is multiplied by."""
        return np.array([one.factor(self.range) for one in self.rules.scenarios], dtype=np.float64)

    @cached_property
    def pnl(self) -> Floats:
        """(S,) profit and loss as far as it counts. Arrays come weighted from the clearing house."""
        weights = np.array([one.weight for one in self.rules.scenarios], dtype=np.float64)
        total = (self._options() + self._linear()) * weights
        for one in self.market.arrays:
            total = total - one.size * np.array(one.losses)
        beyond = np.array([one.beyond for one in self.rules.scenarios], dtype=np.float64)
        return np.where(total < 0, np.minimum(0.0, total + beyond), total)

    def _options(self) -> Floats:
        total = np.zeros(len(self.rules.scenarios))
        for valued in self.terms:
            carried = np.minimum(total, 0.0) if self.rules.fold == Fold.CARRY else total
            total = carried + self._paid(valued.mark, gains(valued, self.rules.scenarios, self.rules))
        return total if not self._exposure or self.rules.fold == Fold.SUM else np.minimum(total, 0.0)

    def _linear(self) -> Floats:
        """Everything that moves in proportion to spot; it comes after all expiries."""
        return self._paid(0.0, (self.factors - 1) * self._exposure)

    def _paid(self, now: float, gain: Floats) -> Floats:
        """US dollars at today's spot that a gain on what is worth ``now`` comes to."""
        return (now + gain) / self.factors - now if self.rules.inverse else gain

    @cached_property
    def _exposure(self) -> float:
        """US dollars per 100 % of spot, without options."""
        m = self.market
        perp = m.perp.size * m.perp.price if m.perp else 0.0
        futures = sum(t.futures * t.variable for t in m.terms)
        return perp + futures + (m.units + sum(one.units for one in m.assets)) * m.spot

    @cached_property
    def basis(self) -> float:
        """The basis contingency, at most 0."""
        b = self.rules.basis
        if b is None:
            return 0.0
        moves = (Scenario(spot=b.up), Scenario(spot=b.down))
        worst = ((v.term.tau, float((v.units @ v.gain).min())) for v in self._valued(moves))
        return sum(min(change, 0.0) * (b.add + b.mult * tau) for tau, change in worst)

    def orders(self, at: int) -> tuple[float, float, float]:
        """Gains of one scenario by delta, gamma and vega, weighted."""
        scenario, spot = self.rules.scenarios[at], self.market.spot
        move = float(self.factors[at] - 1)
        of_options = 0.0 if scenario.skewed else move * spot
        delta = self._exposure * move + sum(v.spot_delta for v in self.terms) * of_options
        gamma = sum(float(v.units @ v.gamma) for v in self.terms) * of_options**2 / 2
        vega = sum(float(v.units @ (v.vega * v.shift[:, at])) for v in self.terms)
        return delta * scenario.weight, gamma * scenario.weight, vega * scenario.weight

    @property
    def delta(self) -> float:
        """Units of the underlying, all instruments."""
        m = self.market
        linear = self._exposure / m.spot if m.spot else 0.0
        return linear + sum(v.spot_delta for v in self.terms) + sum(one.size * one.delta for one in m.arrays)

    @property
    def reach(self) -> float:
        """The largest delta that is left after any number of the earliest expiries, where early ones hide no later."""
        left, largest = self.delta, abs(self.delta)
        for v in self.terms if self.rules.fold == Fold.CARRY else ():
            left -= v.spot_delta
            largest = max(largest, abs(left))
        return largest


def scan(name: str, together: Sequence[Scanning], offset: float, rules: Rules) -> Scan:
    """The worst scenario of markets that are scanned together; gains count ``offset`` against other's losses."""
    each = [one.pnl for one in together]
    alone = len(each) == 1
    total = each[0] if alone else sum((np.where(p < 0, p, p * offset) for p in each), np.zeros(len(rules.scenarios)))
    pnl = [(one.title, float(p)) for one, p in zip(rules.scenarios, total, strict=True)]
    if rules.basis is not None:
        pnl.insert(0, (BASIS, sum(one.basis for one in together)))
    worst = min(pnl, key=lambda one: one[1], default=("", 0.0))
    loss = max(0.0, -worst[1])
    return Scan(name, worst[0] if loss else None, loss, tuple(pnl), _parts(together, worst[0], loss))


def _parts(together: Sequence[Scanning], worst: str, loss: float) -> Components | None:
    """What the loss of a scenario is made of."""
    titles = [one.title for one in together[0].rules.scenarios]
    if not loss or worst not in titles:
        return None
    at = titles.index(worst)
    delta, gamma, vega = (-fsum(gains) for gains in zip(*(one.orders(at) for one in together), strict=True))
    return Components(delta, gamma, vega, fsum((loss, -delta, -gamma, -vega)))
