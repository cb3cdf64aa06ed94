"""What can be done at one moment: flag, bid, take over, hedge, top up. Each with its value and its plan."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

from keeper.model import Costs, HealthReport, Key, Kind, Needs, Opportunity, Reason
from keeper.protocols.options import auction
from keeper.protocols.options.auction import Offer
from keeper.protocols.options.curve import DutchCurve
from keeper.protocols.options.desk import DEPOSIT, FLAG, FLAG_LEG, SWAP, Desk
from keeper.protocols.options.hedge import Swap
from keeper.protocols.options.records import Auction
from keeper.protocols.options.risk import Health, Portfolio
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


def opportunity_id(kind: Kind, account: int, *state: int) -> bytes:
    """24 bytes that stay the same while the same thing is on offer."""
    text = ":".join(map(str, (NAME, kind, account, *state)))
    return blake2b(text.encode(), digest_size=24).digest()


# ─── flag ─────────────────────────────────────────────────────────────────────────────────────────


def flags(desk: Desk, suspects: Sequence[HealthReport]) -> Iterator[Opportunity]:
    """One per unhealthy account without an auction; its gain is what the auction should bring us later."""
    for report in suspects:
        running = desk.state.auction(report.key.id)
        if report.healthy or report.key.id == desk.settings.account or (running and running.flagged_at):
            continue
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
    swaps = desk.hedges(_scaled(h, offer.fmax))
    costs = desk.costs(pf, offer.fmax, swaps, gas + desk.bid_gas(pf, len(swaps)))
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
        refusal=_cannot_flag(desk, h),
        evidence={"equity": report.equity, "mm": report.requirement, "scenario": report.scenario},
    )


def _cannot_flag(desk: Desk, h: Health) -> Reason | None:
    if desk.state.breaker().level >= 2:
        return Reason.MARKET_PAUSED
    if h.stale:
        return Reason.ORACLE_STALE
    return Reason.GRACE_PERIOD if _in_grace(desk, h, desk.state.version()) else None


def _in_grace(desk: Desk, h: Health, version: int) -> bool:
    grace = desk.state.params(version).auction.grace
    feeds = (desk.state.feed(u) for u in range(h.underlyings.bit_length()) if h.underlyings >> u & 1)
    return any(feed is not None and desk.at.timestamp < feed.resumed + grace for feed in feeds)


# ─── bid and take over ────────────────────────────────────────────────────────────────────────────


def sales(desk: Desk) -> Iterator[Opportunity]:
    """A bid in every running auction, and a takeover where we are a backstop."""
    for key in desk.state.view.keys("auction"):
        running = desk.state.auction(key.id)
        if running is None or not running.flagged_at or key.id == desk.settings.account:
            continue
        pf = desk.portfolio(key.id)
        h = desk.market(version=running.version).assess(pf, running.scenario)
        yield _bid(desk, key.id, running, pf, h)
        if desk.state.is_backstop(desk.settings.desk):
            yield _takeover(desk, key.id, running, pf, h)


def _bid(desk: Desk, account: int, running: Auction, pf: Portfolio, h: Health) -> Opportunity:
    params, now = desk.state.params(running.version).auction, desk.at.timestamp
    live, rounds = auction.elapsed(desk.state, running, h.underlyings, now)
    left = _fund_left(desk, h, running.spent)
    offer = auction.make_offer(h, params, auction.rho_at(params, live), left)
    share = desk.affordable(pf, offer, params.min_slice)
    curve = DutchCurve(h, params, left, now - live, share or WAD)
    fraction = curve.fraction(now)
    opens = max(running.flagged_at + params.bid_delay, now - live + params.bid_delay)
    refusal = _cannot_buy(desk, h, running.version)
    if refusal is None and not share:
        refusal = Reason.CAPITAL_RESERVED
    if refusal is None and rounds < params.bid_rounds:
        refusal = Reason.AUCTION_NOT_STARTED
    return _sale(desk, Kind.BID, account, running, pf, h, offer, fraction, curve, opens, refusal)


def _takeover(desk: Desk, account: int, running: Auction, pf: Portfolio, h: Health) -> Opportunity:
    params, now = desk.state.params(running.version).auction, desk.at.timestamp
    live, _ = auction.elapsed(desk.state, running, h.underlyings, now)
    left = _fund_left(desk, h, running.spent)
    offer = auction.make_offer(h, params, params.rho_take, left)
    low = h.equity < mul_down(h.mm, params.h_take)
    since = auction.live_at(params, params.rho_take) or 0
    opens = now - live + (since if low else max(since, params.t1 + 1))
    refusal = _cannot_buy(desk, h, running.version)
    if refusal is None and desk.with_slice(pf, WAD, offer).equity - desk.with_slice(pf, WAD, offer).im < (
        desk.settings.reserve
    ):
        refusal = Reason.CAPITAL_RESERVED
    caps = desk.state.caps()
    taken = caps.taken if now < caps.epoch_start + params.epoch else 0
    if refusal is None and taken + h.mm > params.take_per_epoch:
        refusal = Reason.BID_ABOVE_CAP
    return _sale(desk, Kind.TAKEOVER, account, running, pf, h, offer, WAD, None, opens, refusal)


def _sale(
    desk: Desk,
    kind: Kind,
    account: int,
    running: Auction,
    pf: Portfolio,
    h: Health,
    offer: Offer,
    fraction: int,
    curve: DutchCurve | None,
    opens: int,
    refusal: Reason | None,
) -> Opportunity:
    record = desk.state.account(account)
    change_id = record.change_id if record else 0
    swaps = desk.hedges(_scaled(h, fraction))
    gas = desk.bid_gas(pf, len(swaps))
    after = desk.with_slice(pf, fraction, offer)
    return Opportunity(
        id=opportunity_id(kind, account, running.flagged_at, change_id),
        protocol=NAME,
        key=Key("account", account),
        kind=kind,
        at=desk.at,
        gain=_gain(offer, fraction),
        costs=desk.costs(pf, fraction, swaps, gas),
        needs=Needs(margin=desk.headroom - (after.equity - after.im), gas=gas),
        plan=Plan(account, 0, fraction, h.equity, change_id, swaps),
        curve=curve,
        opens=opens,
        refusal=refusal,
        evidence={
            "equity": h.equity,
            "mm": h.mm,
            "rho": offer.rho_paid,
            "price": offer.price,
            "fee": offer.fee,
            "fmax": offer.fmax,
            "fraction": fraction,
        },
    )


def _cannot_buy(desk: Desk, h: Health, version: int) -> Reason | None:
    if desk.state.breaker().level >= 3:
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
    swaps = desk.hedges([desk.net_delta(u) for u in range(len(desk.health.deltas))])
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
        needs=Needs(gas=gas),
        plan=plan,
        evidence=evidence,
    )
