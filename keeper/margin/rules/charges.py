"""What is charged beside the loss: perps, naked and gross shorts, haircuts, size, doubt about feeds, a lost peg.

Amounts are summands of the margins, so charges are negative; lines of zero are dropped by the engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import inf

from keeper.margin.rules.book import Asset, Book, Market, Term
from keeper.margin.rules.parameters import Doubt, Levy, Netting, Pegged, Quote, Rules, Source, Worth, of
from keeper.margin.rules.result import Line


def _charge(what: str, base: float, levy: Levy) -> Line:
    return Line(what, -base * levy.mm, -base * levy.im)


# ─── perps, shorts, collateral ────────────────────────────────────────────────────────────────────


def static(m: Market, rules: Rules) -> Iterator[Line]:
    """The charges that ``scaled`` multiplies."""
    if m.perp:
        price = m.spot if rules.perp.price == Quote.SPOT else m.perp.price
        yield _charge(f"perps {m.name}", abs(m.perp.size) * price, rules.perp)
    yield _charge(f"roll {m.name}", _unspread(m), rules.roll)
    yield _charge(f"naked shorts {m.name}", _naked(m, rules.naked.net) * m.spot, rules.naked)
    yield _charge(f"short options {m.name}", sum(t.shorts for t in m.terms) * m.spot, rules.gross)
    for one in m.assets:
        base = one.value if rules.haircut.charged == Worth.VALUE else one.notional
        yield _charge(f"haircut {one.title}", base, one.haircut)
        if rules.haircut.counted == Worth.NOTIONAL:
            more = one.notional - one.value
            yield Line(f"{one.title} counts by its price", more, more)


def _unspread(m: Market) -> float:
    """US dollars of perps and of the futures of every expiry, without offsets between them."""
    perp = abs(m.perp.size) * m.perp.price if m.perp else 0.0
    return perp + sum(abs(t.futures) * t.forward for t in m.terms)


def _naked(m: Market, net: Netting) -> float:
    """Units of short options that no long ones cover."""
    if net == Netting.STRIKE:
        return sum(_naked_strikes(t) for t in m.terms)
    calls = puts = 0.0
    for t in m.terms:
        calls = min(calls, 0.0) + sum(one.units for one in t.series if one.is_call)
        puts = min(puts, 0.0) + sum(one.units for one in t.series if not one.is_call)
    return max(0.0, -calls) + max(0.0, -puts)


def _naked_strikes(t: Term) -> float:
    nets: dict[float, float] = {}
    for one in t.series:
        nets[one.strike] = nets.get(one.strike, 0.0) + one.units
    return sum(max(0.0, -net) for net in nets.values())


def size(m: Market, delta: float, rules: Rules) -> Iterator[Line]:
    """factor x^2 / depth, at most ``most`` x, for x = |delta| spot; see ``Scanning.reach``"""
    if rules.size is not None and (depth := of(rules.size.depth, m.name)) is not None:
        exposure = abs(delta * m.spot)
        most = rules.size.most * exposure if rules.size.most is not None else inf
        charge = min(rules.size.factor * exposure**2 / depth, most)
        yield Line(f"size {m.name}", -charge, -charge)


# ─── doubt ────────────────────────────────────────────────────────────────────────────────────────


def doubt(m: Market, rules: Rules) -> Iterator[Line]:
    """Low confidence in feeds, as a share of what is valued with them."""
    c = rules.confidence
    for what, charge in _doubts(m, rules):
        yield Line(f"confidence {m.name} {what}", -charge if c.maintenance else 0.0, -charge)


def _doubts(m: Market, rules: Rules) -> Iterator[tuple[str, float]]:
    c = rules.confidence
    if m.perp:
        yield "perps", _doubted(m, c.perp, {}, abs(m.perp.size) * m.spot)
    for t in m.terms:
        units = t.shorts if c.shorts_only else sum(abs(one.units) for one in t.series)
        yield t.name, _doubted(m, c.option, t.confidence, units * m.spot)
    for one in m.assets:
        yield one.title, _doubted(m, c.collateral, {Source.OWN: one.confidence}, _at_stake(one, rules))


def _doubted(m: Market, d: Doubt, own: Mapping[Source, float], notional: float) -> float:
    sure = m.least_confidence(d.of, own)
    return (1 - sure) * d.rate * notional if sure < d.threshold else 0.0


def _at_stake(one: Asset, rules: Rules) -> float:
    """US dollars of collateral; none of what counts by its price but, after the haircut, for nothing (SRM)."""
    if rules.haircut.charged == Worth.VALUE:
        return one.value
    return 0.0 if rules.haircut.counted == Worth.NOTIONAL and one.haircut.im >= 1 else one.notional


# ─── the peg ──────────────────────────────────────────────────────────────────────────────────────


def depeg(book: Book, rules: Rules) -> float:
    """max(0, threshold - stable price) factor"""
    return max(0.0, rules.peg.threshold - book.stable) * rules.peg.factor if rules.peg else 0.0


def lost_peg(m: Market, lost: float, rules: Rules) -> Iterator[Line]:
    """Per short option and perp, where it does not add to the factor of the loss."""
    if rules.peg is not None and rules.peg.on == Pegged.POSITIONS:
        units = sum(t.shorts for t in m.terms) + (abs(m.perp.size) if m.perp else 0.0)
        yield Line(f"depeg {m.name}", 0.0, -units * m.spot * lost)
