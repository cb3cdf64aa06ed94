"""One engine for all rule sets: marks, the loss, charges, and the two margins as sums of lines.

margin = marks - factor x loss - charges        maintenance and initial: each its own factor and charges
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from keeper.margin.rules import charges, spreads, strikes
from keeper.margin.rules.book import Book
from keeper.margin.rules.parameters import Group, Pegged, Rules
from keeper.margin.rules.result import Greeks, Line, Result, Scan
from keeper.margin.rules.scan import Scanning, scan


def assess(book: Book, rules: Rules) -> Result:
    """Both margins of a book. Total: whatever ``reading`` accepts has a margin."""
    trusted = _Assessment(book, rules.trusted).result(None).maintenance if rules.basis else None
    return _Assessment(book, rules).result(trusted)


@dataclass(frozen=True)
class _Assessment:
    book: Book
    rules: Rules

    def result(self, trusted: float | None) -> Result:
        marks = (_both("cash", self.book.cash), *(line for one in self.markets for line in _marks(one)))
        required = [line for line in self._requirements() if line.mm or line.im]
        required += self._at_least(required)
        greeks = tuple(_greeks(one) for one in self.markets if one.market.name)
        scans, notes = tuple(self.scans), self.book.notes
        return Result(self.rules.name, marks, tuple(required), scans, greeks, self._factor, notes, trusted)

    @cached_property
    def markets(self) -> list[Scanning]:
        return [Scanning(market, self.rules.stretched(market.stress[0])) for market in self.book.markets]

    def _initially(self, one: Scanning) -> Scanning:
        """The market under the scenarios of the initial margin."""
        mm, im = one.market.stress
        return one if im == mm else Scanning(one.market, self.rules.stretched(im))

    def _requirements(self) -> Iterator[Line]:
        lost = charges.depeg(self.book, self.rules)
        for line in self._losses():
            yield line.times(*self._factor)
        for one in self.markets:
            for line in self._charges(one):
                yield line.times(*self._factor) if self.rules.scaled else line
            yield from charges.doubt(one.market, self.rules)
            yield from charges.lost_peg(one.market, lost, self.rules)

    def _at_least(self, required: list[Line]) -> Iterator[Line]:
        """Scenarios that are wider initially are not worse for every book: the initial margin is then the other one."""
        if any(mm != im for mm, im in (one.market.stress for one in self.markets)):
            less = sum(line.mm for line in required) - sum(line.im for line in required)
            if less < 0:
                yield Line("initial at least maintenance", 0.0, less)

    def _charges(self, one: Scanning) -> Iterator[Line]:
        yield from charges.static(one.market, self.rules)
        yield from charges.size(one.market, one.reach, self.rules)

    # ── the loss ──

    @cached_property
    def _factor(self) -> tuple[float, float]:
        on_loss = self.rules.peg is not None and self.rules.peg.on == Pegged.LOSS
        more = charges.depeg(self.book, self.rules) if on_loss else 0.0
        return self.rules.factor.mm, self.rules.factor.im + more

    def _losses(self) -> Iterator[Line]:
        """What the factor multiplies."""
        if standard := self.rules.standard:
            for one in self.markets:
                yield from (strikes.line(one.market.name, one.market.spot, v, standard) for v in one.terms)
            return
        saved = spreads.credits(self.markets, self.rules)
        for (members, offset), found in zip(self._together, self.scans, strict=True):
            initially = self._scan([self._initially(one) for one in members], offset)
            lines = [Line(f"loss {found.of}: {found.worst}", -found.loss, -initially.loss)]
            lines += [line for one in members for line in spreads.lines(one, saved[one.market.name])]
            least = sum(spreads.minimum(one) for one in members)
            yield from (*lines, _rest(f"minimum {found.of}", least, lines))

    @cached_property
    def scans(self) -> list[Scan]:
        return [self._scan(members, offset) for members, offset in self._together]

    def _scan(self, members: list[Scanning], offset: float) -> Scan:
        return scan(" + ".join(one.market.name for one in members), members, offset, self.rules)

    @cached_property
    def _together(self) -> list[tuple[list[Scanning], float]]:
        """Markets that are scanned together: the groups of the rules, and every other one by itself."""
        if self.rules.standard:
            return []
        groups = [(self._members(group), group.offset) for group in self.rules.groups]
        grouped = {one.market.name for members, _ in groups for one in members}
        alone = [one for one in self.markets if one.market.name and one.market.name not in grouped]
        return [(members, offset) for members, offset in groups if members] + [([one], 0.0) for one in alone]

    def _members(self, group: Group) -> list[Scanning]:
        return [one for one in self.markets if one.market.name in group.members]


def _both(what: str, amount: float) -> Line:
    return Line(what, amount, amount)


def _rest(what: str, least: float, lines: list[Line]) -> Line:
    """What lines lack of a least requirement."""
    mm, im = sum(line.mm for line in lines), sum(line.im for line in lines)
    return Line(what, min(0.0, -least - mm), min(0.0, -least - im))


def _marks(one: Scanning) -> Iterator[Line]:
    m = one.market
    for v in one.terms:
        if v.term.series:
            yield _both(f"options {m.name} {v.term.name}", v.mark)
        if v.term.futures_pnl:
            yield _both(f"futures {m.name} {v.term.name}", v.term.futures_pnl)
    if m.perp:
        yield _both(f"perps {m.name}", m.perp.value)
    if m.units:
        yield _both(f"spot {m.name}", m.units * m.spot)
    yield from (_both(asset.title, asset.value) for asset in m.assets)
    yield from (_both(array.title, array.size * array.value) for array in m.arrays if array.value)


def _greeks(one: Scanning) -> Greeks:
    gamma = sum(float(v.units @ v.gamma) for v in one.terms)
    vega = sum(float(v.units @ v.vega) for v in one.terms)
    return Greeks(one.market.name, one.delta, gamma, vega)
