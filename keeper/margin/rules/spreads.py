"""What SPAN adds to the scan of each underlying, and what it gives back: spreads, delivery, the least charge.

Deltas are those of the model, in units of the underlying.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import copysign

from keeper.margin.rules.parameters import Credit, Rules, of
from keeper.margin.rules.result import Line
from keeper.margin.rules.scan import Scanning


def lines(one: Scanning, credit: float) -> Iterator[Line]:
    """Intra-commodity and delivery charges and the inter-commodity credit of one underlying."""
    name, rules = one.market.name, one.rules
    deltas = _by_expiry(one)
    long, short = sum(max(0.0, d) for d in deltas.values()), sum(max(0.0, -d) for d in deltas.values())
    calendar = (of(rules.calendar, name) or 0.0) * min(long, short)
    yield Line(f"calendar {name}", -calendar, -calendar)
    left = {t.name: t.left for t in one.market.terms}
    near = sum(abs(d) for expiry, d in deltas.items() if left.get(expiry, 0.0) < rules.delivery.within)
    delivery = (of(rules.delivery.charge, name) or 0.0) * near
    yield Line(f"delivery {name}", -delivery, -delivery)
    yield Line(f"credit {name}", credit, credit)


def _by_expiry(one: Scanning) -> dict[str, float]:
    deltas: dict[str, float] = {}
    spot = one.market.spot
    for v in one.terms:
        futures = v.term.futures * v.term.variable / spot if spot else 0.0
        deltas[v.term.name] = v.spot_delta + futures
    for array in one.market.arrays:
        deltas[array.expiry] = deltas.get(array.expiry, 0.0) + array.size * array.delta
    return deltas


def minimum(one: Scanning) -> float:
    """The least requirement of the options held, US dollars."""
    sizes = [series.size for t in one.market.terms for series in t.series]
    sizes += [array.size for array in one.market.arrays if array.option]
    m = one.rules.minimum
    return m.contract * sum(map(abs, sizes)) + m.short * sum(max(0.0, -size) for size in sizes)


# ─── inter-commodity credits ──────────────────────────────────────────────────────────────────────


def credits(scanned: Sequence[Scanning], rules: Rules) -> dict[str, float]:
    """By underlying, US dollars: spreads are formed in the order of the rules and use up the deltas they take.

    Each leg saves rate x (price risk per delta) x (delta spread): SPAN's weighted futures price risk.
    """
    by_name = {one.market.name: one for one in scanned}
    remaining = {name: one.delta for name, one in by_name.items()}
    saved = dict.fromkeys(by_name, 0.0)
    for credit in rules.credits:
        spreads = _spreads(credit, remaining)
        for name, ratio in credit.legs.items() if spreads else ():
            taken = spreads * abs(ratio)
            saved[name] += credit.rate * taken * _price_risk(by_name[name])
            remaining[name] -= copysign(taken, remaining[name])
    return saved


def _spreads(credit: Credit, remaining: Mapping[str, float]) -> float:
    """How many spreads the deltas form: every one on its side, or every one on the other."""
    counts = [remaining.get(name, 0.0) / ratio if ratio else 0.0 for name, ratio in credit.legs.items()]
    return min(map(abs, counts), default=0.0) if all(c > 0 for c in counts) or all(c < 0 for c in counts) else 0.0


def _price_risk(one: Scanning) -> float:
    """US dollars per unit of net delta: the worst loss less what time and volatility have in it.

    Scenarios of the same move are averaged, so that volatility cancels; those without a move are the time risk.
    """
    pnl, factors = one.pnl, one.factors
    if not len(pnl) or not one.delta:
        return 0.0
    moved = factors == factors[int(pnl.argmin())]
    still = factors == 1.0
    time = -float(pnl[still].mean()) if still.any() else 0.0
    return max(0.0, -float(pnl[moved].mean()) - time) / abs(one.delta)
