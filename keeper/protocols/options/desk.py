"""Our own side at one moment: what we hold, what more would cost, what we can afford."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import add
from typing import Final

from keeper.margin import black76
from keeper.model import Capital, Costs, Moment, Needs
from keeper.protocols.options import auction
from keeper.protocols.options.auction import Offer
from keeper.protocols.options.hedge import Swap, crowded, plan_swap
from keeper.protocols.options.maths import ln_wad
from keeper.protocols.options.records import State, series_of
from keeper.protocols.options.risk import Health, Market, Portfolio, Price, market, portfolio
from keeper.protocols.options.settings import Settings
from keeper.protocols.options.shocks import sigma
from keeper.protocols.options.slices import cut, merge
from keeper.units import WAD, mul_down, mul_up

# Gas in units, measured on the deployed contracts (tests/contracts/test_gas.py keeps them honest).
FLAG, BID, SWAP, DEPOSIT = 230_000, 420_000, 160_000, 170_000
FLAG_LEG, PHASE_LEG, MOVED_LEG, MARGIN_LEG = 18_000, 17_000, 45_000, 45_000
FLOOR, FLOOR_LEG = 130_000, 12_000  # own equity, read before and after a purchase
COMMIT, REVEAL, CURE, DUTY, DUTY_LEG = 400_000, 90_000, 260_000, 420_000, 60_000
SHARE_LEFT: Final = 0.01  # of a price, at least, after our own trades
MOST: Final = 2**24  # of one transaction


@dataclass
class Desk:
    """Made once per block and then asked about any number of accounts. Money is usd, wad."""

    settings: Settings
    state: State
    at: Moment
    condemned: frozenset[int] = frozenset()  # accounts under water, beside those in auction
    _spread: dict[int, int] = field(default_factory=dict)  # series -> half spread per contract, usd

    # ── prices ──

    def market(self, mode: Price = Price.BID, version: int | None = None) -> Market:
        version = self.state.version() if version is None else version
        return market(self.state.view, version, self.at.timestamp, mode)

    def portfolio(self, account: int) -> Portfolio:
        record = self.state.account(account)
        return portfolio(record, self.state.clearing()) if record else Portfolio(0, ())

    def gas(self, units: int) -> int:
        """What gas costs at the predicted base fee and the usual tip."""
        wei = units * (self.at.base_fee + self.settings.tip)
        return mul_up(wei, self.market(Price.SPOT).price(self.settings.coin))

    # ── what we hold ──

    @cached_property
    def own(self) -> Portfolio:
        return self.portfolio(self.settings.account)

    @cached_property
    def health(self) -> Health:
        return self.market(Price.INITIAL).assess(self.own)

    @cached_property
    def tokens(self) -> tuple[int, ...]:
        """Native units of each asset outside the clearing house."""
        return tuple(self.state.balance(asset) for asset in range(len(self.state.clearing().assets)))

    @property
    def headroom(self) -> int:
        """E - Q_im of the own account."""
        return self.health.equity - self.health.im

    def net_delta(self, u: int) -> int:
        """Wad units: the account, and what the desk holds beyond its inventory."""
        flat = self.settings.inventory[u] if u < len(self.settings.inventory) else 0
        beyond = (self.tokens[u + 1] - flat) * WAD // self.state.clearing().assets[u + 1].unit
        return self.health.deltas[u] + beyond

    @cached_property
    def capital(self) -> Capital:
        """The own initial margin, linear: scenario by scenario, and in a last row what does not depend on them."""
        m = self.market(Price.INITIAL)
        losses = tuple(tuple(mul_up(m.params.im_factor, x) for x in row) for row in m.losses(self.own))
        scenarios = sum(max(0, *row) for row in losses)
        room = self.health.equity - self.settings.reserve - (self.health.im - scenarios)
        return Capital(self.tokens, room, (*losses, (0,) * len(m.params.scenarios)), self.settings.contracts.tokens)

    def needs(self, pf: Portfolio, fraction: int, after: Health, swaps: Sequence[Swap], gas: int) -> Needs:
        """What buying ``fraction`` of a portfolio takes. Of its scenarios only the losses: gains may yet be lost."""
        m, own = self.market(Price.INITIAL), self.capital.losses[:-1]
        lost = m.losses(cut(pf, fraction))
        losses = tuple(tuple(mul_up(m.params.im_factor, max(0, x)) for x in row) for row in lost)
        used = self.headroom - (after.equity - after.im)
        more = sum(max(0, *map(add, a, b)) - max(0, *a) for a, b in zip(own, losses, strict=True))
        fixed = (max(0, used - more),) * len(m.params.scenarios)
        return Needs(margin=used, gas=gas, tokens=self.wanted(swaps), losses=(*losses, fixed))

    def pushed(self, u: int) -> float:
        """What our own recent trades have made of the reported price, as a factor; 1 when there were none.

        As if nothing had come back since: mid of a constant product, times the weight of the pool.
        """
        pool, since = self.state.pool(u), self.at.timestamp - self.settings.impact
        sold = sum(push.sold for push in self.state.pushes(u) if push.time > since)
        if pool is None or not sold or not self.settings.pool_weight:
            return 1.0
        weight, before = self.settings.pool_weight / WAD, max(1, pool.base - sold)
        return max(SHARE_LEFT, 1 - weight + weight * (before / pool.base) ** 2)

    # ── what more would cost ──

    def impact(self, h: Health, version: int, fraction: int) -> int:
        """What the delta of a slice costs us, whatever we do with it: ``auction.Pressure``."""
        return auction.pressure(self.state, version, h).charge(fraction, self.at.timestamp)

    def with_slice(self, pf: Portfolio, fraction: int, offer: Offer, impact: int = 0) -> Health:
        """The own account after a bid, as the contract will check it."""
        paid = Portfolio(-mul_up(offer.price, fraction) - mul_up(offer.fee, fraction) - impact, ())
        return self.market(Price.INITIAL).assess(merge(merge(self.own, cut(pf, fraction)), paid))

    def affordable(self, pf: Portfolio, offer: Offer, least: int, pressure: auction.Pressure) -> tuple[int, Health]:
        """(share of ``offer.fmax`` that leaves margin and reserve: 1, 1/2, 1/4 ... or 0, wad; own health with it)."""
        share = WAD
        while offer.fmax * share // WAD >= least:
            fraction = offer.fmax * share // WAD
            h = self.with_slice(pf, fraction, offer, pressure.charge(fraction, self.at.timestamp))
            if h.equity - h.im >= self.settings.reserve:
                return share, h
            share //= 2
        return 0, self.health

    def hedges(self, deltas: Sequence[int]) -> tuple[Swap, ...]:
        """Swaps for what ``deltas`` (wad units per underlying, about to be ours) put beyond the band, to its edge.

        Never more than the delta itself: several bids of one block do not see each other.
        """
        return self._swaps([self._beyond(u, self.net_delta(u) + d, abs(d)) if d else 0 for u, d in enumerate(deltas)])

    def rehedges(self) -> tuple[Swap, ...]:
        """Swaps that bring the own net delta back to the edge of its band (trade to the edge: Whalley-Wilmott)."""
        nets = [self.net_delta(u) for u in range(len(self.health.deltas))]
        return self._swaps([self._beyond(u, net, abs(net)) if net else 0 for u, net in enumerate(nets)])

    def _beyond(self, u: int, net: int, most: int) -> int:
        band = self.settings.band * WAD // self.market().price(u)
        excess = min(max(0, abs(net) - band), most)
        return excess if net > 0 else -excess

    def _swaps(self, excess: Sequence[int]) -> tuple[Swap, ...]:
        swaps, cash = list[Swap](), self.tokens[0]
        assets = self.state.clearing().assets
        for u, delta in enumerate(excess):
            pool = self.state.pool(u)
            if pool is None or abs(delta) * self.market().price(u) // WAD < self.settings.least_hedge:
                continue
            held, price = self.tokens[u + 1], self.market().price(u)
            swap = plan_swap(pool, delta, price, u, assets[u + 1], assets[0], held, cash, self.settings.tolerance)
            if swap is not None:
                swaps.append(swap)
                cash -= 0 if swap.sell else swap.amount_in
        return tuple(swaps)

    def wanted(self, swaps: Sequence[Swap]) -> tuple[int, ...]:
        """Native units of each asset that these swaps take from the desk."""
        wanted = [0] * len(self.tokens)
        for swap in swaps:
            wanted[swap.underlying + 1 if swap.sell else 0] += swap.amount_in
        return tuple(wanted)

    def overdrawn(self, swaps: Sequence[Swap]) -> bool:
        """Whether these swaps together need more than the desk holds."""
        return any(want > have for want, have in zip(self.wanted(swaps), self.tokens, strict=True))

    @cached_property
    def forced(self) -> Mapping[int, tuple[int, ...]]:
        """Delta by underlying, wad units, of each account that is under water now: whoever buys it trades that away.

        The first generation of the cascade at today's price (``margin/cascade.py``): what those trades would condemn
        in turn is not looked at here.
        """
        running = (
            key.id for key in self.state.view.keys("auction") if (a := self.state.auction(key.id)) and a.flagged_at
        )
        accounts = {*running, *self.condemned} - {self.settings.account}
        return {account: self.market().assess(self.portfolio(account)).deltas for account in sorted(accounts)}

    def crowd(self, swaps: Sequence[Swap], account: int) -> int:
        """Usd more that these swaps are expected to cost, because buyers of other accounts trade the same way first."""
        return sum(self._crowd(swap, account) for swap in swaps if self.settings.crowd)

    def _crowd(self, swap: Swap, account: int) -> int:
        u, assets, pool = swap.underlying, self.state.clearing().assets, self.state.pool(swap.underlying)
        if pool is None:
            return 0
        flow = sum(deltas[u] for other, deltas in self.forced.items() if other != account)
        ahead = mul_down(max(0, flow if swap.sell else -flow), self.settings.crowd) * assets[u + 1].unit // WAD
        return crowded(pool, swap, ahead, self.market().price(u), assets[u + 1], assets[0], self.settings.tolerance)

    def costs(
        self,
        pf: Portfolio,
        fraction: int,
        after: Health,
        swaps: Sequence[Swap],
        gas: int,
        account: int,
        impact: int = 0,
    ) -> Costs:
        """Of holding ``fraction`` of an account's portfolio once it is ours (``after``), and of getting there."""
        margin, fee = max(0, after.im - self.health.im), self.gas(gas)
        return Costs(
            gas=fee,
            slippage=impact,
            hedge=sum(max(0, swap.cost) for swap in swaps),
            crowd=self.crowd(swaps, account),
            carry=mul_up(self._spreads(pf), fraction) + mul_up(margin, self.settings.capital),
            failure=mul_up(fee, self.settings.reverts),
        )

    def _spreads(self, pf: Portfolio) -> int:
        """Half the quoted spread of every leg, usd."""
        return sum(mul_up(abs(leg.size), self._half_spread(leg.series)) for leg in pf.legs)

    def _half_spread(self, word: int) -> int:
        """Vega times vol points, at least a part of spot; usd per contract."""
        if word not in self._spread:
            series, market = series_of(word), self.market()
            t = market.term(series.underlying, series.expiry)
            ln = ln_wad(t.forward * WAD // series.strike) if t.forward else 0
            w = sigma(t, ln) * t.root_t // WAD
            _, vega = black76.gamma_vega(t.forward / WAD, series.strike / WAD, w / WAD)
            quoted = int(float(vega) * t.root_t * self.settings.half_spread / WAD)
            self._spread[word] = max(quoted, mul_up(market.price(series.underlying), self.settings.least_spread))
        return self._spread[word]

    @property
    def most_gas(self) -> int:
        """Units that the plan of one transaction may expect to take: half again is its limit."""
        return MOST * 2 // 3 - 100_000

    def commit_gas(self, pf: Portfolio) -> int:
        """Units a sealed bid takes: the account's requirement in one scenario, own initial margin in all."""
        return COMMIT + FLAG_LEG * len(pf.legs) + DUTY_LEG * len(self.own.legs)

    def bid_gas(self, pf: Portfolio, swaps: int) -> int:
        """Units a bid takes: legs moved, initial margin over own and bought legs, own equity before and after."""
        together = self._together(pf)
        return BID + MOVED_LEG * len(pf.legs) + MARGIN_LEG * together + SWAP * swaps + self.floor_gas(pf)

    def floor_gas(self, pf: Portfolio) -> int:
        """Units that it takes to read our own equity before and after ``pf`` has become ours."""
        return FLOOR + FLOOR_LEG * (len(self.own.legs) + self._together(pf))

    def _together(self, pf: Portfolio) -> int:
        """Series in it and in our own account."""
        return len({leg.series for leg in (*pf.legs, *self.own.legs)})
