"""What keeps the clearing house going and pays nobody: proofs, cures, restarts, and the waterfall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from keeper.model import Costs, HealthReport, Key, Kind, Needs, Opportunity, Reason
from keeper.protocols.options import auction, waterfall
from keeper.protocols.options.desk import CURE, DUTY, DUTY_LEG, FLAG_LEG, Desk
from keeper.protocols.options.offers import NAME, Plan, Sale, opportunity_id
from keeper.protocols.options.risk import Price
from keeper.units import WAD, mul_down, mul_up

Step = tuple[str, str, tuple[Any, ...]]
WORSE = 102  # per cent of the requirement in the proven scenario, from which on a worse one is worth its gas


def in_auction(desk: Desk, s: Sale) -> Iterator[Opportunity]:
    """At most one per auction: the first that applies."""
    for duty in (_cure, _restart, _deleverage, _socialise, _close_out, _improve):
        found = duty(desk, s)
        if found is not None:
            yield found
            return


def elsewhere(desk: Desk, suspects: Sequence[HealthReport]) -> Iterator[Opportunity]:
    """What has expired is paid out, and a debt that nothing stands behind is shared."""
    accounts = {report.key.id for report in suspects} | {desk.settings.account}
    for account in sorted(accounts):
        pf = desk.portfolio(account)
        if waterfall.expired(pf.legs, desk.at.timestamp) and _settled(desk, account):
            yield _duty(desk, Kind.SETTLE, account, [("Clearing", "settle", (account,))], DUTY)
        elif waterfall.holds_only_debt(pf) and account != desk.settings.account:
            yield _duty(desk, Kind.SOCIALISE, account, [("Waterfall", "socialise", (account,))], DUTY)


def _settled(desk: Desk, account: int) -> bool:
    """Whether every expired leg has its settlement price."""
    for series, _ in desk.portfolio(account).legs:
        feed, expiry = desk.state.feed(series >> 112), series >> 72 & 0xFFFFFFFFFF
        if expiry <= desk.at.timestamp and (feed is None or feed.time < expiry):
            return False
    return True


# ─── of a running auction ─────────────────────────────────────────────────────────────────────────


def _cure(desk: Desk, s: Sale) -> Opportunity | None:
    h = desk.market().assess(s.pf)
    p = desk.state.params(desk.state.version()).auction
    if h.stale or h.equity < mul_up(h.mm, WAD + p.buffer // 5):
        return None
    step = ("Liquidator", "cure", (s.account,))
    return _duty(desk, Kind.CURE, s.account, [step], CURE + DUTY_LEG * len(s.pf.legs), s)


def _restart(desk: Desk, s: Sale) -> Opportunity | None:
    if (
        s.live < s.params.t1 + s.params.t2
        or s.refusal is not None
        or desk.state.breaker().level(desk.at.timestamp) >= 2
    ):
        return None
    trigger, spot = (desk.market(mode).assess(s.pf) for mode in (Price.TRIGGER, Price.SPOT))
    if trigger.healthy or spot.healthy or _queue_open(desk, s):
        return None
    step = ("Liquidator", "restart", (s.account, trigger.worst))
    return _duty(desk, Kind.RESTART, s.account, [step], DUTY + FLAG_LEG * len(s.pf.legs), s)


def _queue_open(desk: Desk, s: Sale) -> bool:
    queue = desk.state.queue(s.account)
    return queue is not None and queue.flagged_at == s.running.flagged_at


def _deleverage(desk: Desk, s: Sale) -> Opportunity | None:
    """Every leg of an insolvent account against those who depend most on it, as far as one transaction goes."""
    offer = auction.make_offer(s.health, s.params, auction.rho_at(s.params, s.live), s.fund_left)
    opened = _queue_open(desk, s)
    if s.refusal or not s.open or not waterfall.may_queue(s.health, offer, s.params, s.live, opened):
        return None
    queue = desk.state.queue(s.account)
    start = queue.cash if opened and queue else s.pf.cash
    now = waterfall.balance(desk.market(), s.pf, start)
    if not opened:  # the insurance pays first
        short = max(0, now.debts - now.assets)
        now = waterfall.Balance(now.assets + min(short, s.fund_left + desk.state.clearing().reserve), now.debts)
    steps, gas = list[Step](), DUTY
    for leg in s.pf.legs:
        who = waterfall.creditors(desk.market(), desk.state, s.account, leg, now.rate)
        cost = DUTY * len(who) + DUTY_LEG * sum(len(desk.portfolio(one).legs) for one in who)
        if who and gas + cost < desk.most_gas:
            steps.append(("Waterfall", "deleverage", (s.account, leg.series, who)))
            gas += cost
    if not steps:
        return None
    found = _duty(desk, Kind.DELEVERAGE, s.account, steps, gas, s)
    return found


def _socialise(desk: Desk, s: Sale) -> Opportunity | None:
    offer = auction.make_offer(s.health, s.params, auction.rho_at(s.params, s.live), s.fund_left)
    if s.refusal or not s.open or not waterfall.may_socialise(s.health, offer, s.params, s.live):
        return None
    step = ("Waterfall", "socialise", (s.account,))
    return _duty(desk, Kind.SOCIALISE, s.account, [step], DUTY + FLAG_LEG * len(s.pf.legs), s)


def _close_out(desk: Desk, s: Sale) -> Opportunity | None:
    """Nobody bought until rho1: the rest goes to the counterparties, at mark."""
    if s.refusal or not s.open or s.live < s.params.t1 or s.health.equity < 0 or not s.pf.legs:
        return None
    found = waterfall.close_out(desk.market(), desk.state, s.account, s.health, s.params)
    if found is None:
        return None
    step = ("Waterfall", "closeOut", (s.account, list(found.counterparties), list(found.steps)))
    legs = sum(len(desk.portfolio(one).legs) for one in found.counterparties)
    return _duty(desk, Kind.CLOSE_OUT, s.account, [step], DUTY * (2 + len(found.steps)) + DUTY_LEG * legs, s)


def _improve(desk: Desk, s: Sale) -> Opportunity | None:
    h = desk.market(version=s.running.version).assess(s.pf)
    if h.stale or h.mm * 100 < s.health.mm * WORSE:
        return None
    step = ("Liquidator", "improve", (s.account, h.worst))
    return _duty(desk, Kind.IMPROVE, s.account, [step], DUTY + 2 * FLAG_LEG * len(s.pf.legs), s)


def _duty(desk: Desk, kind: Kind, account: int, steps: Sequence[Step], gas: int, s: Sale | None = None) -> Opportunity:
    record = desk.state.account(account)
    fee = desk.gas(gas)
    evidence = {"equity": s.health.equity, "mm": s.health.mm, "live": s.live} if s else {}
    return Opportunity(
        id=opportunity_id(kind, account, record.change_id if record else 0, s.running.flagged_at if s else 0),
        protocol=NAME,
        key=Key("account", account),
        kind=kind,
        at=desk.at,
        gain=0,
        costs=Costs(gas=fee, failure=mul_down(fee, desk.settings.reverts)),
        needs=Needs(gas=gas),
        plan=Plan(account, steps=tuple(steps)),
        refusal=Reason.GAS_ABOVE_CAP if gas > desk.most_gas else None,
        evidence=evidence,
    )
