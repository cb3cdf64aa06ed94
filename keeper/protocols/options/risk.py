"""``Risk.sol`` in Python: equity and requirement of a portfolio, equal to the contract to the wei.

A ``Market`` is everything that does not depend on the account: prices, shocked forwards and the value of each
series in each scenario. It is made once per moment, price and parameter set, and then serves any number of accounts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Final, NamedTuple
from weakref import WeakKeyDictionary

from keeper.ports import View
from keeper.protocols.options import oracle
from keeper.protocols.options.normal import SCALE
from keeper.protocols.options.params import RiskParams
from keeper.protocols.options.records import Account, Clearing, Leg, State, series_of
from keeper.protocols.options.shocks import Moves, Term, clamp_price, discount_of, root_of
from keeper.protocols.options.shocks import Price as Price
from keeper.protocols.options.valued import Valued, likely, valued
from keeper.units import BPS, WAD, div_trunc, mul_down, mul_up

Priced = tuple[int, oracle.Prices, oracle.Feed, oracle.Config]  # the clamped price (wad), and what it is made of
ALL: Final = None  # every scenario
MOST: Final = 4_096  # portfolios whose health is remembered


@dataclass(frozen=True, slots=True)
class Portfolio:
    """What ``Clearing.portfolio`` returns: collateral in wad units by asset id, legs sorted."""

    cash: int
    legs: tuple[Leg, ...]
    collateral: tuple[int, ...] = ()


def portfolio(account: Account, clearing: Clearing) -> Portfolio:
    """What an account holds now: positive cash has its share in the losses since it last changed."""
    held = zip(account.collateral, clearing.assets, strict=False)
    amounts = tuple(amount * WAD // asset.unit for amount, asset in held)
    return Portfolio(cash_of(account, clearing), account.legs, amounts)


def cash_of(account: Account, clearing: Clearing) -> int:
    """``Clearing._cash``, usd."""
    lost = account.cash > 0 and account.index != clearing.index
    return account.cash * clearing.index // account.index if lost else account.cash


@dataclass(frozen=True, slots=True)
class Health:
    """``Types.Health``. All amounts usd."""

    equity: int
    mm: int
    im: int
    convex: int
    loss: int
    worst: int
    underlyings: int
    clamped: bool
    stale: bool
    exposures: tuple[int, ...] = ()  # delta x price of each underlying, collateral included
    deltas: tuple[int, ...] = ()  # in units; not on chain

    @property
    def healthy(self) -> bool:
        return self.equity >= self.mm


class Components(NamedTuple):
    """``Types.Components``: what the loss of the worst scenario is made of, usd."""

    loss: int
    delta: int
    gamma: int
    vega: int
    remainder: int
    worst: int


@dataclass(slots=True)
class _Book:
    """Sums over the legs of one underlying; see ``Risk.Book``."""

    carried: list[int]
    worth: int = 0
    delta: int = 0
    least: int = 0  # of delta between two expiries, 0 included
    most: int = 0
    calls: int = 0
    puts: int = 0
    shorts: int = 0
    doubt: int = 0


@dataclass(slots=True)
class Market:
    """Prices and series values at one moment, in one price mode, under one parameter set."""

    state: State
    params: RiskParams
    now: int
    mode: Price
    _prices: dict[int, Priced] = field(default_factory=dict)
    _moves: dict[int, Moves] = field(default_factory=dict)
    _terms: dict[tuple[int, int], Term] = field(default_factory=dict)
    _values: dict[int, Valued] = field(default_factory=dict)
    _usual: Market | None = None
    _assessed: dict[tuple[Portfolio, int | None], Health] = field(default_factory=dict)

    def price(self, underlying: int) -> int:
        """The clamped price, wad."""
        return self._price(underlying)[0]

    def _price(self, underlying: int) -> Priced:
        found = self._prices.get(underlying)
        if found is None:
            feed = self.state.feed(underlying)
            if feed is None:
                raise LookupError(f"underlying {underlying} has no price")
            config = self.state.config()
            quote = oracle.prices(feed, self.now, config)
            found = self._prices[underlying] = clamp_price(quote, self.mode, self.params), quote, feed, config
        return found

    def term(self, underlying: int, expiry: int) -> Term:
        key = underlying, expiry
        found = self._terms.get(key)
        if found is None:
            found = self._terms[key] = self._term(underlying, expiry)
        return found

    def _term(self, underlying: int, expiry: int) -> Term:
        price, quote, feed, config = self._price(underlying)
        raw = self.state.smile(underlying, expiry)
        if raw is None:
            raise LookupError(f"underlying {underlying} has no smile for expiry {expiry}")
        smile, left = oracle.smile(raw, feed, self.now, config), max(0, expiry - self.now)
        root_t, discount = root_of(left), discount_of(smile.rate, left)
        fixed, open_ = 0, WAD
        if self.now + config.window > expiry:  # else nothing of the average is known yet
            fixed, open_ = oracle.observed(feed, self.state.steps(underlying), expiry, self.now, config)
        rest = price * open_ // WAD
        forward = (fixed + rest) * WAD // discount
        moving = rest * WAD // (fixed + rest) if fixed else WAD
        confidence, moves = min(quote.confidence, smile.confidence), self.moves(underlying)
        return Term(forward, discount, open_, root_t, left, moving, smile, confidence, self.params, moves)

    def moves(self, underlying: int) -> Moves:
        """The price move of each scenario, stretched by what volatility asks for."""
        if underlying not in self._moves:
            self._moves[underlying] = Moves(self.params.scenarios, self._stretch(underlying))
        return self._moves[underlying]

    def _stretch(self, underlying: int) -> int:
        feed = self.state.feed(underlying)
        if self.params.stress_cap <= WAD or feed is None:
            return WAD
        stress = oracle.stress(feed, self.now, self.state.config())
        return min(stress.at_once if self.mode == Price.INITIAL else stress.eased, self.params.stress_cap)

    def widened(self, underlying: int) -> bool:
        """Whether initial margin is asked for scenarios wider than those of maintenance."""
        return self._stretch(underlying) > self.usual._stretch(underlying)

    @property
    def usual(self) -> Market:
        """The same, as maintenance sees it."""
        if self._usual is None:
            self._usual = Market(self.state, self.params, self.now, Price.BID)
        return self._usual

    def value(self, series: int) -> Valued:
        found = self._values.get(series)
        if found is None:
            underlying, expiry, is_call, k = series_of(series)
            found = self._values[series] = valued(self.term(underlying, expiry), is_call, k)
        return found

    # ── health ──

    def assess(self, pf: Portfolio, named: int | None = ALL) -> Health:
        """``Risk.assess``. ``named``: None for all scenarios, or one scenario index per underlying, a byte each."""
        found = self._assessed.get((pf, named))
        if found is None:
            if len(self._assessed) >= MOST:
                self._assessed.clear()
            found = self._assessed[pf, named] = self._assess(pf, named)
        return found

    def like(self, other: Market) -> bool:
        """Whether all prices and moves are the same: then everything is, but for initial margin by wider moves."""
        if Price.INITIAL in (self.mode, other.mode):
            return False
        held = [u for u in range(len(self.params.depths)) if self.state.feed(u)]
        try:
            return all(
                self._price(u) == other._price(u) and self.moves(u).factor == other.moves(u).factor for u in held
            )
        except (ArithmeticError, LookupError, ValueError):  # whoever holds it will hear of it
            return False

    def share(self, other: Market) -> None:
        """Work with what ``other``, which is like this one, has valued."""
        self._terms, self._values, self._assessed = other._terms, other._values, other._assessed

    def _assess(self, pf: Portfolio, named: int | None) -> Health:
        equity, mm, im, convex, loss, worst, used, clamped, stale = pf.cash, 0, 0, 0, 0, 0, 0, False, False
        deltas, exposures = list[int](), list[int]()
        by_underlying = {u: tuple(legs) for u, legs in groupby(pf.legs, lambda leg: leg.series >> 112)}
        if by_underlying.keys() - range(len(self.params.depths)):
            raise LookupError("unknown underlying")
        for u in range(len(self.params.depths)):
            legs, units = by_underlying.get(u, ()), self.collateral(pf, u)
            if not legs and not units:
                deltas.append(0)
                exposures.append(0)
                continue
            price, quote, *_ = self._price(u)
            value_ = mul_down(units, price)
            scenarios = self._likely(u, legs, value_) if named is ALL else (named >> 8 * u & 0xFF,)
            book = self._revalue(legs, scenarios)
            equity += book.worth + value_
            lost, at = self._loss(book, self.moves(u), value_, scenarios)
            at = at if named is ALL else scenarios[0]
            size = self._size(u, reach(book, units), price)
            both = size + self._shared(book, price)
            shorts = mul_up(book.shorts, price)
            cut_mm, cut_im = self._haircuts(pf, u, price)
            mm += mul_up(self.params.mm_factor, lost) + both + mul_up(shorts, self.params.floor_gross_mm) + cut_mm
            im += mul_up(self.params.im_factor, lost) + both + mul_up(shorts, self.params.floor_gross_im) + cut_im
            convex, loss, worst, used = convex + size, loss + lost, worst | at << 8 * u, used | 1 << u
            clamped, stale = clamped or price != quote.spot, stale or quote.stale
            deltas.append(book.delta + units)
            exposures.append(mul_down(book.delta + units, price))
        if self.mode == Price.INITIAL and any(used >> u & 1 and self.widened(u) for u in range(len(deltas))):
            im = max(im, self.usual.assess(pf, named).mm)  # wider moves are not worse for every book
        sums = (equity, mm, im, convex, loss, worst, used, clamped, stale)
        return Health(*sums, exposures=tuple(exposures), deltas=tuple(deltas))

    def _likely(self, u: int, legs: Sequence[Leg], collateral: int) -> Sequence[int]:
        """Scenarios of which one is the worst; the others need not be told exactly."""
        if not legs:
            return range(len(self.params.scenarios))
        return likely([(leg, self.value(leg.series)) for leg in legs], collateral, self.moves(u).factor)

    def loss(self, pf: Portfolio, underlying: int, scenario: int) -> int:
        """The weighted loss of one underlying in one scenario, usd."""
        book = self._revalue((leg for leg in pf.legs if leg.series >> 112 == underlying), (scenario,))
        value_ = mul_down(self.collateral(pf, underlying), self.price(underlying))
        return self._loss(book, self.moves(underlying), value_, (scenario,))[0]

    def collateral(self, pf: Portfolio, underlying: int) -> int:
        """Units of collateral whose price is that of the underlying, wad."""
        held = zip(pf.collateral[1:], self.params.assets[1:], strict=False)
        return sum(amount for amount, asset in held if asset.underlying == underlying)

    def _revalue(self, legs: Iterable[Leg], scenarios: Sequence[int]) -> _Book:
        """Fold over expiries: c <- min(c, 0) + g."""
        b = _Book([0] * len(scenarios))
        for (u, expiry), group in groupby(legs, lambda leg: (leg.series >> 112, leg.series >> 72 & 0xFFFFFFFFFF)):
            t = self.term(u, expiry)
            gained, worth, calls, puts = [0] * len(scenarios), 0, 0, 0
            for series, n in group:
                v = self.value(series)
                worth += n * v.now // WAD
                gained = [g + n * v.gain(s) // WAD for g, s in zip(gained, scenarios, strict=True)]
                b.delta += div_trunc((n * v.delta >> SCALE) * t.open, WAD)
                b.shorts += max(0, -n)
                b.doubt += abs(n) * (BPS - t.confidence) // BPS
                calls, puts = (calls + n, puts) if series >> 64 & 1 else (calls, puts + n)
            b.worth += mul_down(worth, t.discount)
            b.carried = [min(c, 0) + mul_down(g, t.discount) for c, g in zip(b.carried, gained, strict=True)]
            b.calls, b.puts = min(b.calls, 0) + calls, min(b.puts, 0) + puts
            b.least, b.most = min(b.least, b.delta), max(b.most, b.delta)
        return b

    def _loss(self, b: _Book, moves: Moves, collateral: int, scenarios: Sequence[int]) -> tuple[int, int]:
        """(worst weighted loss, its scenario)."""
        lost = self._weighted(b, moves, collateral, scenarios)
        loss = max([0, *lost])
        return loss, scenarios[lost.index(loss)] if loss else 0

    def _weighted(self, b: _Book, moves: Moves, collateral: int, scenarios: Sequence[int]) -> list[int]:
        """What each scenario loses; negative what it gains."""
        lost = []
        for pnl, index in zip(b.carried, scenarios, strict=True):
            if collateral:
                pnl = min(pnl, 0) + mul_down(collateral, moves[index].by)
            lost.append(mul_up(-pnl, self.params.scenarios[index].weight * 10**14))
        return lost

    def losses(self, pf: Portfolio) -> tuple[tuple[int, ...], ...]:
        """(U, S) usd that a portfolio loses by underlying and scenario, weighted; negative what it gains."""
        every = range(len(self.params.scenarios))
        return tuple(tuple(self._lost(pf, u, every)) for u in range(len(self.params.depths)))

    def _lost(self, pf: Portfolio, u: int, scenarios: Sequence[int]) -> list[int]:
        legs, units = [leg for leg in pf.legs if leg.series >> 112 == u], self.collateral(pf, u)
        if not legs and not units:
            return [0] * len(scenarios)
        return self._weighted(self._revalue(legs, scenarios), self.moves(u), mul_down(units, self.price(u)), scenarios)

    def _size(self, underlying: int, delta: int, price: int) -> int:
        """lambda (delta p)^2 / depth, usd: the part of the requirement that grows with the square of the size."""
        exposure = mul_up(delta, price)
        return mul_up(self.params.lambda_, -(-exposure * exposure // self.params.depths[underlying]))

    def _shared(self, b: _Book, price: int) -> int:
        """Naked shorts and low confidence, usd."""
        naked = max(0, -b.calls) + max(0, -b.puts)
        doubt = mul_up(mul_up(b.doubt, price), self.params.confidence)
        return mul_up(mul_up(naked, price), self.params.floor_naked) + doubt

    def _haircuts(self, pf: Portfolio, underlying: int, price: int) -> tuple[int, int]:
        mm = im = 0
        for amount, asset in zip(pf.collateral[1:], self.params.assets[1:], strict=False):
            if asset.underlying == underlying and amount:
                worth = mul_up(amount, price)
                mm, im = mm + mul_up(worth, asset.haircut_mm), im + mul_up(worth, asset.haircut_im)
        return mm, im


def reach(b: _Book, units: int) -> int:
    """``Risk._reach``: the largest delta there is, now or once some of the expiries are over."""
    delta = b.delta + units
    return max(abs(delta - b.least), abs(delta - b.most))


def standing(view: View, pf: Portfolio, now: int, mode: Price, named: int | None = ALL) -> Health:
    """``Risk.standing``: the current set, or the one before where that is kinder while it is phased out."""
    state = State(view)
    h = market(view, state.version(), now, mode).assess(pf, named)
    ramp = state.ramp()
    growth = ramp.growth(now)
    if growth is None:
        return h
    old = _before(market(view, ramp.previous, now, mode), pf, named, growth)
    clamped = h.clamped or old.clamped
    h, old = replace(h, clamped=clamped), replace(old, clamped=clamped)
    return old if h.equity - h.mm < old.equity - old.mm else h


def _before(old: Market, pf: Portfolio, named: int | None, growth: int) -> Health:
    """``Risk._before``: in the named scenarios, and in all where those do not condemn it."""
    count, used = len(old.params.scenarios), range(len(old.params.depths))
    if named is not ALL and all(named >> 8 * u & 0xFF < count for u in used):
        h = old.assess(pf, named)
        if h.equity < (mm := mul_up(h.mm, growth)):
            return replace(h, mm=mm)
    h = old.assess(pf)
    return replace(h, mm=mul_up(h.mm, growth))


def market(view: View, version: int, now: int, mode: Price) -> Market:
    """The market of a view at its last block: made once, however often it is asked for."""
    key = view.ref.hash, version, now, mode
    made = _MARKETS.setdefault(view, {})
    if key not in made:
        if len(made) >= 16:
            made.clear()
        state = State(view)
        new = Market(state, state.params(version).risk, now, mode)
        for known, other in made.items():
            if known[:3] == key[:3] and new.like(other):
                new.share(other)
                break
        made[key] = new
    return made[key]


_MARKETS: WeakKeyDictionary[View, dict[tuple[bytes, int, int, Price], Market]] = WeakKeyDictionary()
