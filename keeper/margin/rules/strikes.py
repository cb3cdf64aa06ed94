"""Rules without scenarios: what the options of an expiry require by their strikes (Derive's StandardManager)."""

from __future__ import annotations

from math import fsum, inf

from keeper.margin.rules.book import Series, Term
from keeper.margin.rules.parameters import Standard
from keeper.margin.rules.result import Line
from keeper.margin.rules.revalue import Valued


def line(market: str, spot: float, v: Valued, p: Standard) -> Line:
    """What is taken off the mark of an expiry: the better of isolated and greatest loss, for each margin."""
    marks = [float(units * now) for units, now in zip(v.units, v.now, strict=True)]
    each = [_isolated(one, mark, spot, p) for one, mark in zip(v.term.series, marks, strict=True)]
    greatest = greatest_loss(v.term) if p.greatest else -inf
    unpaired = min(0.0, sum(one.units for one in v.term.series if one.is_call)) * v.term.forward
    mm, by_mm = _better(fsum(one[0] for one in each), greatest + unpaired * p.unpaired_mm)
    im, by_im = _better(fsum(one[1] for one in each), greatest + unpaired * p.unpaired_im)
    by = by_mm if by_mm == by_im else f"{by_mm}, initially {by_im}"
    mark = fsum(marks)
    return Line(f"options {market} {v.term.name}: {by}", mm - mark, im - mark)


def _better(isolated: float, greatest: float) -> tuple[float, str]:
    return (isolated, "isolated") if isolated >= greatest else (greatest, "greatest loss")


def greatest_loss(t: Term) -> float:
    """The least payoff at expiry, at 0 and at every strike; at most 0. Calls in excess are charged apart."""
    return min(0.0, *(_payoff(t, price) for price in (0.0, *(one.strike for one in t.series))))


def _payoff(t: Term, price: float) -> float:
    return fsum(one.units * max(0.0, price - one.strike if one.is_call else one.strike - price) for one in t.series)


def _isolated(one: Series, mark: float, spot: float, p: Standard) -> tuple[float, float]:
    """(maintenance, initial) margin of one series by itself; a long one neither needs nor gives any."""
    if one.units > 0:
        return 0.0, 0.0
    out = max(0.0, one.strike - spot if one.is_call else spot - one.strike) / spot
    im = max(p.least, p.most - out) * spot * one.units + mark
    of_spot, of_mark = (p.call, p.call_mark) if one.is_call else (p.put, p.put_mark)
    mm = min(of_spot * spot * one.units, of_mark * mark) + mark + p.fee * spot * one.units
    return mm, im if one.is_call else min(im, p.put_scale * mm)
