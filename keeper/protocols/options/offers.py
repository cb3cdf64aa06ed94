"""What can be done at one moment: flag, bid, take over, hedge, top up. Each with its value and its plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from keeper.model import Costs, HealthReport, Key, Kind, Needs, Opportunity, Reason
from keeper.protocols.options import auction
from keeper.protocols.options.auction import Offer, Pressure
from keeper.protocols.options.curve import DutchCurve
from keeper.protocols.options.desk import DEPOSIT, FLAG, FLAG_LEG, PHASE_LEG, SWAP, Desk
from keeper.protocols.options.hedge import Swap
from keeper.protocols.options.params import AuctionParams
from keeper.protocols.options.records import Auction
from keeper.protocols.options.risk import Health, Portfolio, Price, market
from keeper.protocols.options.sealed import Phase, Terms, phase
from keeper.protocols.options.waterfall import holds_only_debt
from keeper.protocols.options.whatif import moved
from keeper.units import WAD, mul_down

NAME = "options"


@dataclass(frozen=True, slots=True)
class Plan:
    """The arguments of the calls. ``worth`` is what the whole account is to us at the protocol's marks, usd."""

    account: int
    scenario: int = 0
    fraction: int = 0
    worth: int = 0
    change_id: int = 0
    swaps: tuple[Swap, ...] = ()
    deposit: int = 0  # native units of cash
    steps: tuple[tuple[str, str, tuple[Any, ...]], ...] = ()  # contract, function, arguments
    terms: Terms | None = None  # of a sealed bid
    bought: Portfolio | None = None  # what a quote adds to the own account
    flagged_at: int = 0  # of the auction it is for
    bond: int = 0  # usd, comes back with an award


def opportunity_id(kind: Kind, account: int, *state: int) -> bytes:
    """24 bytes that stay the same while the same thing is on offer."""
    text = ":".join(map(str, (NAME, kind, account, *state)))
    return blake2b(text.encode(), digest_size=24).digest()


# ─── flag ─────────────────────────────────────────────────────────────────────────────────────────


def flags(desk: Desk, suspects: Sequence[HealthReport]) -> Iterator[Opportunity]:
    """One per unhealthy account without an auction; its gain is what the auction should bring us later."""
    for report in suspects:
        auctioned = desk.state.auction(report.key.id)
        if report.healthy or report.key.id == desk.settings.account or (auctioned and auctioned.flagged_at):
            continue
        if holds_only_debt(desk.portfolio(report.key.id)):
            continue  # there is nothing to auction
        yield _flag(desk, report)


def _flag(desk: Desk, report: HealthReport) -> Opportunity:
    account = report.key.id
    pf = desk.portfolio(account)
    params = desk.state.params(desk.state.version()).auction
    h = desk.market().assess(pf, report.scenario)
    curve = DutchCurve(h, params, _fund_left(desk, h, 0), desk.at.timestamp)
    # The gain at the discount where an auction usually ends for us: a third of the way to rho1.
    offer = curve.offer(desk.at.timestamp + params.t1 // 3)
    gas = FLAG + FLAG_LEG * len(pf.legs)
    if desk.state.ramp().growth(desk.at.timestamp):  # the set before must condemn it too, at worst in all scenarios
        gas += PHASE_LEG * len(pf.legs)
    swaps = desk.hedges(_scaled(h, offer.fmax))
    impact = desk.impact(h, desk.state.version(), offer.fmax)
    after = desk.with_slice(pf, offer.fmax, offer, impact)
    costs = desk.costs(pf, offer.fmax, after, swaps, gas + desk.bid_gas(pf, len(swaps)), account, impact)
    record = desk.state.account(account)
    return Opportunity(
        id=opportunity_id(Kind.FLAG, account, record.change_id if record else 0),
        protocol=NAME,
        key=report.key,
        kind=Kind.FLAG,
        at=desk.at,
        gain=_gain(offer, offer.fmax),
        costs=costs,
        needs=Needs(gas=gas),
        plan=Plan(account, scenario=report.scenario),
        refusal=_cannot_flag(desk, h) or _own_doing(desk, pf, h),
        evidence={"equity": report.equity, "mm": report.requirement, "scenario": report.scenario},
    )


def _cannot_flag(desk: Desk, h: Health) -> Reason | None:
    breaker, version = desk.state.breaker(), desk.state.version()
    if breaker.level(desk.at.timestamp) >= 2:
        return Reason.MARKET_PAUSED
    if h.stale:
        return Reason.ORACLE_STALE
    if desk.at.timestamp < breaker.calm_since + desk.state.params(version).auction.grace:
        return Reason.GRACE_PERIOD
    return Reason.GRACE_PERIOD if _in_grace(desk, h, version) else None


def _own_doing(desk: Desk, pf: Portfolio, h: Health) -> Reason | None:
    """What is liquidatable only through our own trades is left alone: they are taken back, then it is judged."""
    view, version = desk.state.view, desk.state.version()
    for u in range(h.underlyings.bit_length()):
        if h.underlyings >> u & 1 and (factor := desk.pushed(u)) != 1.0:
            view = moved(view, (u,), 1 / factor)
    if view is desk.state.view:
        return None
    markets = (market(view, version, desk.at.timestamp, mode) for mode in (Price.TRIGGER, Price.SPOT))
    return Reason.OWN_IMPACT if any(m.assess(pf).healthy for m in markets) else None


def _in_grace(desk: Desk, h: Health, version: int) -> bool:
    grace = desk.state.params(version).auction.grace
    feeds = (desk.state.feed(u) for u in range(h.underlyings.bit_length()) if h.underlyings >> u & 1)
    return any(feed is not None and desk.at.timestamp < feed.resumed + grace for feed in feeds)


# ─── bid and take over ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Sale:
    """One running auction at the moment."""

    account: int
    running: Auction
    params: AuctionParams
    pf: Portfolio
    health: Health
    live: int  # seconds on the live clock
    rounds: int  # price messages since the clock began
    fund_left: int  # usd
    refusal: Reason | None  # why nobody can buy now
    opens: int  # timestamp at which the delay before the first bid is over
    open: bool  # it is, and enough prices were published

    def pressure(self, desk: Desk) -> Pressure:
        return auction.pressure(desk.state, self.running.version, self.health)

    def impact(self, desk: Desk, fraction: int) -> int:
        """What the delta of a slice costs now, usd."""
        return desk.impact(self.health, self.running.version, fraction)


def running(desk: Desk) -> list[Sale]:
    """Every auction but one of our own account."""
    found = ((key.id, desk.state.auction(key.id)) for key in desk.state.view.keys("auction"))
    return [_sale(desk, id, a) for id, a in found if a and a.flagged_at and id != desk.settings.account]


def sales(desk: Desk, s: Sale) -> Iterator[Opportunity]:
    """A bid in a running auction, and a takeover where we are a backstop."""
    yield _bid(desk, s)
    if desk.state.is_backstop(desk.settings.desk):
        yield _takeover(desk, s)


def _sale(desk: Desk, account: int, running: Auction) -> Sale:
    pf = desk.portfolio(account)
    h = desk.market(version=running.version).assess(pf, running.scenario)
    live, rounds = auction.elapsed(desk.state, running, h.underlyings, desk.at.timestamp)
    params = desk.state.params(running.version).auction
    left = _fund_left(desk, h, running.spent)
    opens = max(running.flagged_at, desk.at.timestamp - live) + params.bid_delay
    ready = opens <= desk.at.timestamp and rounds >= params.bid_rounds
    refusal = _cannot_buy(desk, h, running.version)
    return Sale(account, running, params, pf, h, live, rounds, left, refusal, opens, ready)


def _bid(desk: Desk, s: Sale) -> Opportunity:
    offer = auction.make_offer(s.health, s.params, auction.rho_at(s.params, s.live), s.fund_left)
    opens, refusal = s.opens, s.refusal
    closed = phase(desk.state, s.account, s.running, desk.at.timestamp) not in (Phase.NONE, Phase.OVER)
    if refusal is None and (closed or not s.open):
        refusal = Reason.AUCTION_NOT_STARTED
    if refusal is not None:
        return offered(desk, s, Kind.BID, offer, 0, opens, refusal)
    if not offer.fmax:
        return offered(desk, s, Kind.BID, offer, 0, opens, Reason.NOT_UNDERWATER)
    share, after = desk.affordable(s.pf, offer, s.params.min_slice, s.pressure(desk))
    if not share:
        return offered(desk, s, Kind.BID, offer, 0, opens, Reason.CAPITAL_RESERVED)
    curve = DutchCurve(s.health, s.params, s.fund_left, desk.at.timestamp - s.live, share)
    return offered(desk, s, Kind.BID, offer, curve.fraction(desk.at.timestamp), opens, None, after, curve)


def _takeover(desk: Desk, s: Sale) -> Opportunity:
    offer = auction.make_offer(s.health, s.params, s.params.rho_take, s.fund_left)
    since = auction.live_at(s.params, s.params.rho_take) or 0
    low = s.health.equity < mul_down(s.health.mm, s.params.h_take)
    opens = desk.at.timestamp - s.live + (since if low else max(since, s.params.t1 + 1))
    refusal = s.refusal
    if refusal is None and (opens > desk.at.timestamp or not s.open):
        refusal = Reason.AUCTION_NOT_STARTED
    if refusal is None and _taken(desk, s.params) + s.health.mm > s.params.take_per_epoch:
        refusal = Reason.BID_ABOVE_CAP
    if refusal is not None:
        return offered(desk, s, Kind.TAKEOVER, offer, 0, opens, refusal)
    after = desk.with_slice(s.pf, WAD, offer, s.impact(desk, WAD))
    if after.equity - after.im < desk.settings.reserve:
        return offered(desk, s, Kind.TAKEOVER, offer, 0, opens, Reason.CAPITAL_RESERVED)
    return offered(desk, s, Kind.TAKEOVER, offer, WAD, opens, None, after)


def _taken(desk: Desk, params: AuctionParams) -> int:
    caps = desk.state.caps()
    return caps.taken if desk.at.timestamp < caps.epoch_start + params.epoch else 0


def offered(
    desk: Desk,
    s: Sale,
    kind: Kind,
    offer: Offer,
    fraction: int,
    opens: int,
    refusal: Reason | None,
    after: Health | None = None,
    curve: DutchCurve | None = None,
) -> Opportunity:
    """The opportunity; costs are worked out only for what can be had now (``after`` given)."""
    record = desk.state.account(s.account)
    change_id = record.change_id if record else 0
    costs, needs, swaps = Costs(), Needs(), tuple[Swap, ...]()
    if after is not None:
        swaps = desk.hedges(_scaled(s.health, fraction))
        gas = desk.bid_gas(s.pf, len(swaps))
        costs = desk.costs(s.pf, fraction, after, swaps, gas, s.account, s.impact(desk, fraction))
        needs = desk.needs(s.pf, fraction, after, swaps, gas)
    return Opportunity(
        id=opportunity_id(kind, s.account, s.running.flagged_at, change_id),
        protocol=NAME,
        key=Key("account", s.account),
        kind=kind,
        at=desk.at,
        gain=_gain(offer, fraction),
        costs=costs,
        needs=needs,
        plan=Plan(s.account, 0, fraction, s.health.equity, change_id, swaps),
        curve=curve,
        opens=opens,
        refusal=refusal,
        evidence={
            "equity": s.health.equity,
            "mm": s.health.mm,
            "rho": offer.rho_paid,
            "price": offer.price,
            "fee": offer.fee,
            "fmax": offer.fmax,
            "fraction": fraction,
        },
        scale=mul_down(s.health.mm, fraction),
    )


def _cannot_buy(desk: Desk, h: Health, version: int) -> Reason | None:
    if desk.state.breaker().level(desk.at.timestamp) >= 3:
        return Reason.MARKET_PAUSED
    if h.stale:
        return Reason.ORACLE_STALE
    return Reason.GRACE_PERIOD if _in_grace(desk, h, version) else None


def _fund_left(desk: Desk, h: Health, spent: int) -> int:
    params = desk.state.params(desk.state.version()).auction
    return auction.fund_left(params, desk.state.clearing().fund, desk.state.caps(), h.mm, spent, desk.at.timestamp)


def _gain(offer: Offer, fraction: int) -> int:
    return mul_down(offer.equity - offer.total, fraction)


def _scaled(h: Health, fraction: int) -> list[int]:
    return [mul_down(delta, fraction) for delta in h.deltas]


# ─── own upkeep ───────────────────────────────────────────────────────────────────────────────────


def upkeep(desk: Desk) -> Iterator[Opportunity]:
    """Delta outside its band, margin below its floor. These cost money and are not judged by profit."""
    swaps = desk.rehedges()
    if swaps:
        costs = Costs(gas=desk.gas(SWAP * len(swaps)), hedge=sum(max(0, s.cost) for s in swaps))
        plan = Plan(desk.settings.account, swaps=swaps)
        yield _own(desk, Kind.HEDGE, plan, costs, SWAP * len(swaps), {"swaps": len(swaps)})
    short = desk.settings.floor - desk.headroom
    if desk.own.legs and short > 0 and desk.tokens[0]:
        unit = desk.state.clearing().assets[0].unit
        wanted = -(-(short + desk.settings.floor) * unit // WAD)
        plan = Plan(desk.settings.account, deposit=min(wanted, desk.tokens[0]))
        yield _own(desk, Kind.TOP_UP, plan, Costs(gas=desk.gas(DEPOSIT)), DEPOSIT, {"headroom": desk.headroom})


def _own(desk: Desk, kind: Kind, plan: Plan, costs: Costs, gas: int, evidence: dict[str, int]) -> Opportunity:
    record = desk.state.account(plan.account)
    return Opportunity(
        id=opportunity_id(kind, plan.account, record.change_id if record else 0, *desk.tokens),
        protocol=NAME,
        key=Key("account", plan.account),
        kind=kind,
        at=desk.at,
        gain=0,
        costs=costs,
        needs=Needs(gas=gas, tokens=_spent(desk, plan)),
        plan=plan,
        evidence=evidence,
    )


def _spent(desk: Desk, plan: Plan) -> tuple[int, ...]:
    """Native units of each asset."""
    swapped = desk.wanted(plan.swaps)
    return (swapped[0] + plan.deposit, *swapped[1:])
