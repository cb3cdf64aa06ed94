"""Portfolios cut and merged, as ``Clearing.slice`` does it."""

from __future__ import annotations

from itertools import zip_longest

from keeper.protocols.options.records import Leg
from keeper.protocols.options.risk import Portfolio
from keeper.units import mul_down


def cut(pf: Portfolio, fraction: int) -> Portfolio:
    """What ``fraction`` (wad) of a portfolio is: all amounts floored, so that shorts round away from zero."""
    legs = (leg._replace(size=mul_down(leg.size, fraction)) for leg in pf.legs)
    collateral = tuple(mul_down(amount, fraction) for amount in pf.collateral)
    return Portfolio(mul_down(pf.cash, fraction), tuple(leg for leg in legs if leg.size), collateral)


def merge(a: Portfolio, b: Portfolio) -> Portfolio:
    """Both together: sizes of one series net."""
    sizes = {leg.series: leg.size for leg in a.legs}
    for leg in b.legs:
        sizes[leg.series] = sizes.get(leg.series, 0) + leg.size
    legs = tuple(Leg(series, size) for series, size in sorted(sizes.items()) if size)
    collateral = tuple(x + y for x, y in zip_longest(a.collateral, b.collateral, fillvalue=0))
    return Portfolio(a.cash + b.cash, legs, collateral)
