"""``Waterfall.sol`` in Python: recovery rate, order of the queue, who is closed against whom; equal to the wei."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from keeper.protocols.options import auction
from keeper.protocols.options.auction import Offer
from keeper.protocols.options.params import AuctionParams
from keeper.protocols.options.records import Leg, State
from keeper.protocols.options.risk import Health, Market, Portfolio, portfolio
from keeper.units import WAD, mul_down, mul_up

MOST: Final = 8  # counterparties of one call: each is valued in every scenario


@dataclass(frozen=True, slots=True)
class Balance:
    """What an account in the queue has and owes, usd."""

    assets: int
    debts: int

    @property
    def rate(self) -> int:
        """Recovery rate, wad, rounded down; WAD when nobody need lose anything."""
        return WAD if self.assets >= self.debts else self.assets * WAD // self.debts


def worth(market: Market, pf: Portfolio) -> int:
    """Equity at the market's price, rounded down: the same in every scenario."""
    return market.assess(pf, 0).equity


def balance(market: Market, pf: Portfolio, start: int) -> Balance:
    """``Waterfall.balance``; ``start`` is the cash with which the queue was opened."""
    longs, shorts = (
        worth(market, Portfolio(0, tuple(leg for leg in pf.legs if (leg.size > 0) is side))) for side in (True, False)
    )
    has = max(start, 0) + pf.cash - start + longs + worth(market, Portfolio(0, (), pf.collateral))
    return Balance(max(0, has), -shorts + max(-start, 0))


def value(market: Market, series: int, n: int) -> int:
    return worth(market, Portfolio(0, (Leg(series, n),)))


def price(market: Market, series: int, n: int, rate: int) -> int:
    """What a counterparty pays for ``n`` contracts of the account: short ones (negative) at the recovery rate."""
    whole = value(market, series, n)
    return whole if n > 0 else -mul_down(-whole, rate)


def score(market: Market, series: int, held: int, equity: int) -> int:
    """Value of the whole position over the equity of its holder, wad."""
    return abs(value(market, series, held)) * WAD // equity


def size_of(pf: Portfolio, series: int) -> int:
    return next((leg.size for leg in pf.legs if leg.series == series), 0)


def shrunk(pf: Portfolio, series: int, n: int, cash: int) -> Portfolio:
    """A counterparty after closing ``n`` contracts of the account's side, and ``cash``."""
    legs = (leg._replace(size=leg.size + n) if leg.series == series else leg for leg in pf.legs)
    return replace(pf, cash=pf.cash + cash, legs=tuple(leg for leg in legs if leg.size))


def holders(state: State, series: int, sign: int, without: int) -> Iterator[tuple[int, Portfolio]]:
    """Accounts with a position of one sign in a series, other sub-accounts of the same owner left out."""
    house, owner = state.clearing(), without & (1 << 160) - 1
    for key in state.view.keys("account"):
        record = state.account(key.id)
        if record is None or key.id & (1 << 160) - 1 == owner:
            continue
        if any(leg.series == series and leg.size * sign > 0 for leg in record.legs):
            yield key.id, portfolio(record, house)


# ─── queue ────────────────────────────────────────────────────────────────────────────────────────


def creditors(market: Market, state: State, account: int, leg: Leg, rate: int) -> list[int]:
    """Whom to close one leg against, those first whose equity depends most on it; none that would be passed over."""
    found = _scored(market, leg.series, holders(state, leg.series, -1 if leg.size > 0 else 1, account))
    chosen, rest = list[int](), leg.size
    for _, who, pf in sorted(found, key=lambda one: one[:2]):
        held = size_of(pf, leg.series)
        n = -held if abs(held) < abs(rest) else rest
        if rest and len(chosen) < MOST and _stays_sound(market, state, who, leg.series, n, rate):
            chosen.append(who)
            rest -= n
    return chosen


def _stays_sound(market: Market, state: State, who: int, series: int, n: int, rate: int) -> bool:
    record = state.account(who)
    assert record is not None
    after = shrunk(portfolio(record, state.clearing()), series, n, -price(market, series, n, rate))
    return market.assess(after).healthy


# ─── close-out ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class CloseOut:
    """Arguments of ``closeOut`` and what it comes to."""

    counterparties: tuple[int, ...]  # rising
    steps: tuple[tuple[int, int], ...]  # (series, index into the counterparties)
    fraction: int  # wad
    discount: int  # usd, what the counterparties get


def close_out(market: Market, state: State, account: int, h: Health, p: AuctionParams) -> CloseOut | None:
    """Counterparties against whom the slice that nobody bought can be closed; None when there are not enough."""
    record = state.account(account)
    assert record is not None
    f = auction.fmax(h.equity, h.mm, h.convex, p.rho1, p)
    discount = mul_up(min(mul_down(h.mm, p.rho1), h.equity), f)
    excluded = set[int]()
    for _ in range(MOST):
        after = dict[int, Portfolio]()
        pairs = [pair for leg in record.legs for pair in _filled(market, state, account, leg, f, after, excluded)]
        if None in pairs or not after or len(after) > MOST:
            return None
        weak = _weak(market, after, discount)
        if not weak:
            names = tuple(sorted(after))
            steps = tuple((series, names.index(who)) for series, who in (p for p in pairs if p))
            return CloseOut(names, steps, f, discount)
        excluded |= weak
    return None


def _filled(
    market: Market, state: State, account: int, leg: Leg, f: int, after: dict[int, Portfolio], excluded: Iterable[int]
) -> Iterator[tuple[int, int] | None]:
    """Holders of the other side, who depends most on it first, until the share of one leg is closed; None when it
    cannot be."""
    rest, sign = mul_down(leg.size, f), -1 if leg.size > 0 else 1
    found = [(who, pf) for who, pf in holders(state, leg.series, sign, account) if who not in excluded]
    for _, who, pf in sorted(_scored(market, leg.series, found), key=lambda one: one[:2]):
        if not rest:
            return
        held = size_of(pf, leg.series)
        n = -held if abs(held) < abs(rest) else rest
        after[who] = shrunk(after.get(who, pf), leg.series, n, -value(market, leg.series, n))
        rest -= n
        yield leg.series, who
    if rest:
        yield None


def _scored(
    market: Market, series: int, found: Iterable[tuple[int, Portfolio]]
) -> Iterator[tuple[int, int, Portfolio]]:
    """(score, the largest least; account; what it holds) of those with equity."""
    for who, pf in found:
        equity = worth(market, pf)
        if equity > 0:
            yield -score(market, series, size_of(pf, series), equity), who, pf


def _weak(market: Market, after: dict[int, Portfolio], discount: int) -> set[int]:
    """Who would be below his requirement, his part of the discount included."""
    h = {who: market.assess(pf) for who, pf in after.items()}
    total = sum(one.mm for one in h.values())
    share = {who: discount * one.mm // total if total else discount // len(h) for who, one in h.items()}
    return {who for who, one in h.items() if one.equity + share[who] < one.mm}


# ─── when ─────────────────────────────────────────────────────────────────────────────────────────


def may_queue(h: Health, offer: Offer, p: AuctionParams, t: int, opened: bool) -> bool:
    """Whether ``deleverage`` is open to an account in auction."""
    return h.equity < 0 and (opened or offer.refused > 0 or t >= p.t1 + p.t2)


def may_socialise(h: Health, offer: Offer, p: AuctionParams, t: int) -> bool:
    return h.equity < 0 and offer.refused > 0 and t >= p.t1 + p.adl_delay


def holds_only_debt(pf: Portfolio) -> bool:
    return pf.cash < 0 and not pf.legs and not any(pf.collateral)


def expired(legs: Sequence[Leg], now: int) -> bool:
    return any(leg.series >> 72 & 0xFFFFFFFFFF <= now for leg in legs)
