"""``Liquidator.sol`` in Python: discount, price and largest slice, equal to the contract to the wei."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from keeper.protocols.options import oracle
from keeper.protocols.options.maths import exp_wad, sqrt
from keeper.protocols.options.params import AuctionParams
from keeper.protocols.options.records import Auction, Caps, Flow, State
from keeper.protocols.options.risk import Health
from keeper.units import WAD, div_trunc, mul_down, mul_up

MAX_AGE: Final = 2**23 - 1  # seconds that ``lib/Auction.sol`` knows an auction's clock to have begun before the flag
WIDTH: Final = 36  # bits per underlying of ``Clocks``: counts 1 | live seconds 22 | messages 13
LIVE: Final = 2**22 - 1
ROUND: Final = 2**13 - 1
COUNTS: Final = 1 << 35


@dataclass(frozen=True, slots=True)
class Offer:
    """``Liquidator.Offer``. Amounts usd, of the whole account."""

    equity: int
    mm: int
    rho: int
    rho_paid: int
    price: int
    fmax: int
    fee: int
    refused: int = 0

    @property
    def total(self) -> int:
        """What a bidder pays for everything."""
        return self.price + self.fee


@dataclass(frozen=True, slots=True)
class Pressure:
    """What the delta of an account costs its buyers, on top of what was sold before: ``Liquidator._impact``."""

    params: AuctionParams
    depths: tuple[int, ...]  # usd
    exposures: tuple[int, ...]  # usd, of the whole account
    flows: tuple[Flow, ...]

    def charge(self, fraction: int, now: int) -> int:
        """Usd, for a slice bought at ``now``: for each underlying impact ((F + e)^2 - F^2) / depth, at least 0."""
        if not self.params.impact:
            return 0
        each = zip(self.depths, self.exposures, self.flows, strict=True)
        return sum(self._one(depth, mul_down(whole, fraction), flow, now) for depth, whole, flow in each)

    def _one(self, depth: int, e: int, flow: Flow, now: int) -> int:
        grown = e * (2 * flow_at(flow, self.params.impact_time, now) + e)
        return -(-grown * self.params.impact // (depth * WAD)) if grown > 0 else 0


def flow_at(flow: Flow, fade: int, now: int) -> int:
    """``Liquidator.flowAt``: what is left at ``now`` of the delta that was sold, usd."""
    return div_trunc(flow.usd * exp_wad(-((now - flow.time) * WAD // fade)), WAD) if flow.usd else 0


def pressure(state: State, version: int, h: Health) -> Pressure:
    """Of an account in auction under a parameter set."""
    p = state.params(version)
    flows = tuple(state.flow(u) for u in range(len(h.exposures)))
    return Pressure(p.auction, p.risk.depths, h.exposures, flows)


def rho_at(p: AuctionParams, t: int) -> int:
    """The discount after ``t`` live seconds, wad."""
    if t < p.t1:
        return p.rho0 + (p.rho1 - p.rho0) * t // p.t1
    t -= p.t1
    return p.rho1 + (p.rho2 - p.rho1) * t // p.t2 if t < p.t2 else p.rho2


def live_at(p: AuctionParams, rho: int) -> int | None:
    """Fewest live seconds after which the discount is at least ``rho``; None when it never is."""
    if rho <= p.rho0:
        return 0
    if rho <= p.rho1:
        return -(-(rho - p.rho0) * p.t1 // (p.rho1 - p.rho0))
    if rho <= p.rho2:
        return p.t1 + -(-(rho - p.rho1) * p.t2 // (p.rho2 - p.rho1))
    return None


def rho_paid(p: AuctionParams, equity: int, mm: int, rho: int) -> int:
    """``rho``, capped where the fund would pay: max(E / Q, rhoFund) while E >= 0, rho2 below."""
    if equity < 0 or mm == 0:
        return min(rho, p.rho2)
    return min(rho, max(equity * WAD // mm, p.rho_fund))


def fmax(equity: int, mm: int, convex: int, rho: int, p: AuctionParams) -> int:
    """The largest slice, wad: after it E / Q = 1 + buffer; everything once the price is not positive."""
    if not mm:  # its legs have been settled
        return WAD if equity < 0 else 0
    cost = mm * rho // WAD
    x = equity - cost
    if x <= 0:
        return WAD
    b = (mm - convex) * (WAD + p.buffer) // WAD - cost
    c = convex * (WAD + p.buffer) // WAD
    root = sqrt(b * b + 4 * c * x)
    g = -(-2 * x * WAD // (b + root)) if b >= 0 else -(-(-b + root) * WAD // (2 * c))
    if g >= WAD:
        return 0
    return WAD if mm * g // WAD < p.dust else max(WAD - g, p.min_slice)


def make_offer(h: Health, p: AuctionParams, rho: int, fund_left: int) -> Offer:
    """P = E - rhoPaid Q, never below what the fund may pay; the bidder pays P and the fee."""
    paid = rho_paid(p, h.equity, h.mm, rho)
    discount = h.mm * paid // WAD
    wanted = h.equity - discount
    price = max(wanted, -fund_left)
    fee = mul_up(max(0, min(discount, price)), p.fee)
    most = fmax(h.equity, h.mm, h.convex, paid, p)
    return Offer(h.equity, h.mm, rho, paid, price, most, fee, refused=price - wanted)


def fund_left(p: AuctionParams, fund: int, caps: Caps, mm: int, spent_here: int, now: int) -> int:
    """What the fund may still pay for an auction for which it has already paid ``spent_here``, usd."""
    spent = caps.fund_spent if now < caps.epoch_start + p.epoch else 0
    here = max(0, (fund + spent_here) * p.fund_per_auction // WAD - spent_here)
    epoch = max(0, (fund + spent) * p.fund_per_epoch // WAD - spent)
    return min(mm * p.rho_fund // WAD, here, epoch)


def elapsed(state: State, a: Auction, underlyings: int, now: int) -> tuple[int, int]:
    """(live seconds since the clock began, messages since the flag), the least over the underlyings."""
    t, rounds = now - a.since, 2**256
    for u in range(underlyings.bit_length()):
        then = a.clocks >> WIDTH * u
        if underlyings >> u & 1 and then & COUNTS:
            live, round_ = _pulse(state, u, now)
            t, rounds = min(t, live - (then >> 13) & LIVE), min(rounds, round_ - then & ROUND)
    return t, rounds


def _pulse(state: State, underlying: int, now: int) -> tuple[int, int]:
    feed = state.feed(underlying)
    if feed is None:
        raise LookupError(f"underlying {underlying} has no price")
    return oracle.clock(feed, now, state.config()), feed.round
