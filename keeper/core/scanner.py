"""Opportunities in the order in which they deserve our resources, and why the rest are not taken up."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from keeper.model import Kind, Opportunity, Reason
from keeper.units import WAD

UPKEEP = (Kind.REVEAL, Kind.TOP_UP, Kind.HEDGE)  # first: the one has a deadline, the others are our own house
DUTIES = (  # last: they cost gas, and the market is better for them
    Kind.IMPROVE,
    Kind.CURE,
    Kind.RESTART,
    Kind.CLOSE_OUT,
    Kind.DELEVERAGE,
    Kind.SOCIALISE,
    Kind.SETTLE,
)
UNPAID = (*UPKEEP, *DUTIES)


def rank(found: Iterable[Opportunity], busy: Collection[bytes], resting: Collection[bytes]) -> list[Opportunity]:
    """Upkeep first, then by expected profit per gas, then by id. ``busy`` is in flight, ``resting`` has just failed."""
    marked = (_marked(o, busy, resting) for o in found)
    return sorted(marked, key=lambda o: (UPKEEP.index(o.kind) if o.kind in UPKEEP else len(UPKEEP), -o.per_gas, o.id))


def later(o: Opportunity, until: int) -> int:
    """Expected US dollars (wad) of a bid that waits: won at ``until``, if nobody has bought by then."""
    if o.curve is None or o.odds is None:
        return 0
    alive, step = WAD, o.odds.block_time
    for at in range(o.at.timestamp, until, step):
        alive = alive * (WAD - o.odds.hazard(o.curve.gain(at) - o.costs.total, at)) // WAD
    net = o.curve.gain(until) - o.costs.total
    chance = o.odds.chance(net, until)
    return alive * (net * chance - o.costs.failure * (WAD - chance)) // WAD**2


def _marked(o: Opportunity, busy: Collection[bytes], resting: Collection[bytes]) -> Opportunity:
    if o.id in busy:
        return replace(o, refusal=Reason.INFLIGHT_DUPLICATE)
    return replace(o, refusal=Reason.COOLDOWN) if o.id in resting else o
