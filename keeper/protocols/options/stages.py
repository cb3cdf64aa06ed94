"""Sealed bids: what can be committed, must be opened, and is to be filled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from keeper.model import Costs, Key, Kind, Needs, Opportunity, Reason
from keeper.protocols.options import sealed
from keeper.protocols.options.desk import REVEAL, Desk
from keeper.protocols.options.offers import NAME, Plan, Sale, offered, opportunity_id
from keeper.protocols.options.records import SealedBid
from keeper.protocols.options.sealed import Phase, Terms
from keeper.units import mul_down, mul_up


def stage(desk: Desk, s: Sale, secret: bytes) -> Iterator[Opportunity]:
    """What the sealed stage of one auction asks of us now. Without a secret nothing: a bid could not be opened."""
    if not secret or not desk.state.is_guest(desk.settings.desk):
        return
    phase = sealed.phase(desk.state, s.account, s.running, desk.at.timestamp)
    mine = next((b for b in _bids(desk, s) if b.bidder == desk.settings.account), None)
    if phase is Phase.COMMIT and mine is None:
        yield _commit(desk, s)
    if phase is Phase.REVEAL and mine is not None and mine.hash:
        yield _reveal(desk, s, mine, secret)
    if phase is Phase.AWARD and mine is not None and mine.most:
        yield _award(desk, s, mine)


def _bids(desk: Desk, s: Sale) -> tuple[SealedBid, ...]:
    return desk.state.sealed(s.account, s.running.flagged_at)


def _commit(desk: Desk, s: Sale) -> Opportunity:
    """Valued at rhoSealed; which discount is bid, the strategy says by what it wants to gain."""
    p, bond = s.params, mul_up(s.health.mm, s.params.bond)
    terms = Terms(s.health, p, s.fund_left, 0)
    offer = terms.offer(p.rho_sealed)
    share, after = desk.affordable(s.pf, offer, p.min_slice, s.pressure(desk))
    terms = replace(terms, share=share)
    refusal = s.refusal
    if refusal is None and (not share or after.equity - after.im - bond < desk.settings.reserve):
        refusal = Reason.CAPITAL_RESERVED
    fraction, gas = terms.most(p.rho_sealed), desk.commit_gas(s.pf)
    swaps = desk.hedges([mul_down(delta, fraction) for delta in s.health.deltas])
    gas_ = gas + REVEAL + desk.bid_gas(s.pf, len(swaps))
    costs = desk.costs(s.pf, fraction, after, swaps, gas_, s.account, s.impact(desk, fraction))
    return Opportunity(
        id=opportunity_id(Kind.COMMIT, s.account, s.running.flagged_at),
        protocol=NAME,
        key=Key("account", s.account),
        kind=Kind.COMMIT,
        at=desk.at,
        gain=terms.gain(p.rho_sealed),
        costs=costs,
        needs=Needs(cash=bond, margin=bond, gas=gas),
        plan=Plan(s.account, fraction=fraction, terms=terms, flagged_at=s.running.flagged_at),
        expires=desk.at.timestamp - s.live + p.commit_time,
        refusal=refusal,
        evidence={"mm": s.health.mm, "equity": s.health.equity, "bond": bond, "fraction": fraction},
    )


def _reveal(desk: Desk, s: Sale, mine: SealedBid, secret: bytes) -> Opportunity:
    """Its gain is what the bid brings if it wins; what is lost otherwise is the bond."""
    flagged_at = s.running.flagged_at
    rho, most = sealed.read_note(secret, s.account, flagged_at, mine.note)
    offer = Terms(s.health, s.params, s.fund_left, 0).offer(rho)
    fraction = min(most, offer.fmax)
    impact = s.impact(desk, fraction)
    after = desk.with_slice(s.pf, fraction, offer, impact)
    swaps = desk.hedges([mul_down(delta, fraction) for delta in s.health.deltas])
    args = (s.account, mine.bidder, rho, most, sealed.salt(secret, s.account, flagged_at))
    return Opportunity(
        id=opportunity_id(Kind.REVEAL, s.account, flagged_at),
        protocol=NAME,
        key=Key("account", s.account),
        kind=Kind.REVEAL,
        at=desk.at,
        gain=mul_down(offer.equity - offer.total, fraction),
        costs=desk.costs(s.pf, fraction, after, swaps, REVEAL + desk.bid_gas(s.pf, len(swaps)), s.account, impact),
        needs=Needs(gas=REVEAL),
        plan=Plan(s.account, steps=(("Sealed", "reveal", args),)),
        expires=desk.at.timestamp - s.live + s.params.commit_time + s.params.reveal_time,
        evidence={"rho": rho, "fraction": fraction, "bond": mine.bond},
    )


def _award(desk: Desk, s: Sale, mine: SealedBid) -> Opportunity:
    """Ours is filled once those with a lower discount are; whoever comes first may do it for all."""
    before = sealed.queue(_bids(desk, s)).index(mine)
    offer = Terms(s.health, s.params, s.fund_left, 0).offer(mine.rho)
    if before:
        return offered(desk, s, Kind.AWARD, offer, 0, desk.at.timestamp, Reason.OUTBID)
    if s.refusal is None and not s.open:
        return offered(desk, s, Kind.AWARD, offer, 0, desk.at.timestamp, Reason.AUCTION_NOT_STARTED)
    fraction = min(mine.most, offer.fmax)
    after = desk.with_slice(s.pf, fraction, offer, s.impact(desk, fraction))
    made = offered(desk, s, Kind.AWARD, offer, fraction, desk.at.timestamp, s.refusal, after)
    plan = replace(made.plan, steps=(("Sealed", "award", (s.account,)),), bond=mine.bond)
    return replace(made, plan=plan, costs=made.costs if s.refusal is None else Costs())
