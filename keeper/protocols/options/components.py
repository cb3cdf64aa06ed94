"""``Risk.components``: what the loss of the worst scenario is made of, equal to the contract to the wei."""

from __future__ import annotations

from typing import NamedTuple

from keeper.protocols.options.maths import density, ln_wad, value
from keeper.protocols.options.normal import ONE, SCALE
from keeper.protocols.options.records import Leg, series_of
from keeper.protocols.options.risk import ALL, Components, Market, Portfolio
from keeper.protocols.options.shocks import sigma
from keeper.units import WAD, div_trunc, mul_down

MIN_W = 10**9  # below it an option has neither gamma nor vega


class Gains(NamedTuple):
    """First and second order gains of one underlying in one scenario, usd."""

    delta: int
    gamma: int
    vega: int


def components(market: Market, pf: Portfolio, named: int | None = ALL) -> Components:
    """In the worst scenario of each underlying, or in those that are named (8 bits each)."""
    h = market.assess(pf, named)
    delta = gamma = vega = 0
    for u in range(len(market.params.depths)):
        at = h.worst >> 8 * u & 0xFF
        if not market.loss(pf, u, at):
            continue
        weight = market.params.scenarios[at].weight * 10**14
        gains = _gains(market, pf, u, at)
        delta, gamma, vega = (
            sum_ - div_trunc(gain * weight, WAD) for sum_, gain in zip((delta, gamma, vega), gains, strict=True)
        )
    return Components(h.loss, delta, gamma, vega, h.loss - delta - gamma - vega, h.worst)


def _gains(market: Market, pf: Portfolio, underlying: int, at: int) -> Gains:
    units = market.collateral(pf, underlying)
    found = [_leg(market, leg, at) for leg in pf.legs if leg.series >> 112 == underlying]
    cash = mul_down(mul_down(units, market.price(underlying)), market.moves(underlying)[at].by)
    return Gains(cash + sum(g.delta for g in found), sum(g.gamma for g in found), sum(g.vega for g in found))


def _leg(market: Market, leg: Leg, at: int) -> Gains:
    """delta dF, gamma dF^2 / 2 and vega dw of one leg."""
    underlying, expiry, is_call, k = series_of(leg.series)
    t = market.term(underlying, expiry)
    ln = ln_wad(max(1, t.forward * WAD // k))
    w = sigma(t, ln) * t.root_t // WAD
    _, n1 = value(True, t.forward, k, ln, w)
    there = t.shocked(at)
    move = there.forward - t.forward
    delta, gamma, vega = (n1 if is_call else n1 - ONE) * move >> SCALE, 0, 0
    if w >= MIN_W:
        phi = density(ln, w)
        shocked = max(0, w * there.factor // WAD + there.addend)
        gamma = div_trunc(div_trunc(div_trunc(phi * move, t.forward) * move, w), 2)
        vega = div_trunc(div_trunc(phi * (shocked - w), WAD) * t.forward, WAD)
    n = div_trunc(leg.size * t.discount, WAD)
    return Gains(*(div_trunc(n * gain, WAD) for gain in (delta, gamma, vega)))
