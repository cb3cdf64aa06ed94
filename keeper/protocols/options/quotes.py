"""``Quotes.sol`` seen by a provider: the option that restores an account in auction, and what may be asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from keeper.model import Key, Kind, Needs, Opportunity
from keeper.protocols.options import auction, waterfall
from keeper.protocols.options.desk import COMMIT, SWAP, Desk
from keeper.protocols.options.offers import NAME, Plan, Sale, opportunity_id
from keeper.protocols.options.records import Leg
from keeper.protocols.options.risk import Health, Portfolio, Price
from keeper.protocols.options.slices import merge
from keeper.units import WAD, mul_down, mul_up

STEPS: Final = (0, 5, 10, 20)  # per cent by which the bought strikes are further out than the sold ones
TICK: Final = 10**8  # strikes are whole dollars
LOT: Final = 10**15  # wad; ``Clearing.LOT``


@dataclass(frozen=True, slots=True)
class Quote:
    package: tuple[Leg, ...]  # what the account receives, all long
    value: int  # usd, at the bid price
    excess: int  # usd, what is asked beyond it


def offers_for(desk: Desk, s: Sale) -> Iterator[Opportunity]:
    """The best quote for an account in auction, if any would be taken now."""
    if s.refusal or not s.open:
        return
    most = _most(s)
    found = [q for step in STEPS if (q := _quote(desk, s, step, most)) is not None]
    if found:
        yield _opportunity(desk, s, max(found, key=lambda q: (q.excess, -q.value)))


def _most(s: Sale) -> int:
    """What the owner would lose by the largest bid now: no more may be asked beyond the value."""
    o = auction.make_offer(s.health, s.params, auction.rho_at(s.params, s.live), s.fund_left)
    return mul_down(mul_down(o.mm, o.rho_paid), o.fmax)


def _quote(desk: Desk, s: Sale, step: int, most: int) -> Quote | None:
    """All shorts of the account hedged at strikes ``step`` per cent further out; None when that does not suffice."""
    package = tuple(sorted(_hedge(leg, step) for leg in s.pf.legs if leg.size < 0))
    if not package:
        return None
    market = desk.market()
    value = waterfall.worth(market, Portfolio(0, package))
    after = market.assess(merge(merge(s.pf, Portfolio(0, package)), Portfolio(-value, ())))
    buffer = desk.state.params(desk.state.version()).auction.buffer
    spare = after.equity - mul_up(after.mm, WAD + buffer // 5)
    excess = min(most, spare) * 99 // 100  # the next second may be a little worse
    return Quote(package, value, excess) if excess > 0 else None


def _hedge(leg: Leg, step: int) -> Leg:
    strike = leg.series & 2**64 - 1
    is_call = leg.series >> 64 & 1
    further = strike * (100 + step if is_call else 100 - step) // 100 if step else strike
    word = leg.series >> 64 << 64 | (max(TICK, further // TICK * TICK) if step else strike)
    return Leg(word, -(leg.size // LOT) * LOT)


def _opportunity(desk: Desk, s: Sale, q: Quote) -> Opportunity:
    record = desk.state.account(s.account)
    change_id = record.change_id if record else 0
    sold = Portfolio(q.value + q.excess, tuple(leg._replace(size=-leg.size) for leg in q.package))
    after: Health = desk.market(Price.INITIAL).assess(merge(desk.own, sold))
    swaps = desk.hedges([new - old for new, old in zip(after.deltas, desk.health.deltas, strict=True)])
    gas = desk.commit_gas(s.pf) + COMMIT + desk.floor_gas(sold) + SWAP * len(swaps)
    words = [leg.series << 128 | leg.size for leg in q.package]
    args = (s.account, desk.settings.account, words, q.value + q.excess, change_id)
    return Opportunity(
        id=opportunity_id(Kind.QUOTE, s.account, s.running.flagged_at, change_id),
        protocol=NAME,
        key=Key("account", s.account),
        kind=Kind.QUOTE,
        at=desk.at,
        gain=q.excess,
        costs=desk.costs(sold, WAD, after, swaps, gas, s.account),
        needs=Needs(margin=max(0, desk.headroom - (after.equity - after.im)), gas=gas, tokens=desk.wanted(swaps)),
        plan=Plan(s.account, steps=(("Quotes", "cover", args),), bought=sold, swaps=swaps),
        evidence={"equity": s.health.equity, "mm": s.health.mm, "value": q.value, "excess": q.excess},
    )
