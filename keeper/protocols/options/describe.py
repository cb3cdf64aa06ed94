"""One account for people: what it holds, where it stands, what would change that."""

from __future__ import annotations

from dataclasses import dataclass

from keeper.model import Moment
from keeper.ports import View
from keeper.protocols.options import auction
from keeper.protocols.options.params import Scenario
from keeper.protocols.options.records import State, series_of
from keeper.protocols.options.risk import Health, Market, Portfolio, Price, Priced, market, portfolio, standing
from keeper.units import BPS, WAD

STEPS = 60  # per cent of the price that are tried on each side


@dataclass(slots=True)
class WhatIf(Market):
    """The market with every price multiplied."""

    factor: int = WAD

    def _price(self, underlying: int) -> Priced:
        price, quote, feed, config = Market._price(self, underlying)
        return price * self.factor // WAD, quote, feed, config


def describe(view: View, account: int, at: Moment) -> list[tuple[str, str]]:
    """Lines of (what, how much)."""
    state = State(view)
    record = state.account(account)
    if record is None:
        return [("account", "holds nothing here")]
    pf = portfolio(record, state.clearing())
    lines = [("cash", _usd(pf.cash)), *_holdings(state, pf, at), *_standing(view, pf, at)]
    return [*lines, *_breach(state, pf, at), *_auction(state, account, pf, at)]


def _holdings(state: State, pf: Portfolio, at: Moment) -> list[tuple[str, str]]:
    m = market(state.view, state.version(), at.timestamp, Price.BID)
    lines = [(f"collateral {a}", f"{n / WAD:,.6f}") for a, n in enumerate(pf.collateral) if n]
    for word, size in pf.legs:
        s = series_of(word)
        value = m.value(word).now * m.term(s.underlying, s.expiry).discount // WAD * size // WAD
        days = (s.expiry - at.timestamp) / 86_400
        kind = "call" if s.is_call else "put"
        what = f"{size / WAD:+,.3f} {kind} on {s.underlying}, strike {s.strike / WAD:,.2f}, {days:.1f} days"
        lines.append((what, _usd(value)))
    return lines


def _standing(view: View, pf: Portfolio, at: Moment) -> list[tuple[str, str]]:
    lines = []
    for mode in Price:
        h = standing(view, pf, at.timestamp, mode)
        lines.append((f"at {mode.name.lower()} price", _sums(h)))
    scenarios = State(view).params(State(view).version()).risk.scenarios
    worst = [_scenario(scenarios[h.worst >> 8 * u & 0xFF]) for u in range(3) if h.underlyings >> u & 1]
    return [*lines, ("worst scenario", "; ".join(worst))]


def _sums(h: Health) -> str:
    health = f"{h.equity / h.mm:.3f}" if h.mm else "no requirement"
    return f"equity {_usd(h.equity)}, maintenance {_usd(h.mm)}, initial {_usd(h.im)}, health {health}"


def _scenario(s: Scenario) -> str:
    weight = "" if s.weight == BPS else f", {s.weight / 100:g} % of it"
    return f"price {s.spot / 100:+g} %, vol {s.vol / 100:+g} %{weight}"


def _breach(state: State, pf: Portfolio, at: Moment) -> list[tuple[str, str]]:
    """The nearest moves of all prices, down and up, at which the account changes from healthy to not, or back."""
    now = _healthy(state, pf, at, 0)
    found = []
    for sign in (-1, 1):
        moves = (sign * i * WAD // 100 for i in range(1, STEPS + 1))
        far = next((move for move in moves if _healthy(state, pf, at, move) != now), None)
        if far is not None:
            near = far - sign * WAD // 100
            for _ in range(12):
                middle = (near + far) // 2
                near, far = (middle, far) if _healthy(state, pf, at, middle) == now else (near, middle)
            found.append(f"{far * 100 / WAD:+.2f} %")
    what = "liquidatable at a move of" if now else "liquidatable now; healthy at a move of"
    return [(what, " or ".join(found) or f"none within {STEPS} %")]


def _healthy(state: State, pf: Portfolio, at: Moment, move: int) -> bool:
    params = state.params(state.version()).risk
    return WhatIf(state, params, at.timestamp, Price.SPOT, factor=WAD + move).assess(pf).healthy


def _auction(state: State, account: int, pf: Portfolio, at: Moment) -> list[tuple[str, str]]:
    running = state.auction(account)
    if running is None or not running.flagged_at:
        return [("auction", "none")]
    h = market(state.view, running.version, at.timestamp, Price.BID).assess(pf, running.scenario)
    p = state.params(running.version).auction
    live, rounds = auction.elapsed(state, running, h.underlyings, at.timestamp)
    left = auction.fund_left(p, state.clearing().fund, state.caps(), h.mm, running.spent, at.timestamp)
    o = auction.make_offer(h, p, auction.rho_at(p, live), left)
    clock = f"{live} live seconds, {rounds} prices since its start"
    price = f"rho {o.rho_paid / WAD:.4f}, price {_usd(o.price)}, fee {_usd(o.fee)}, at most {o.fmax / WAD:.2%}"
    return [("auction", clock), ("offer", price)]


def _usd(wad: int) -> str:
    return f"{'-' if wad < 0 else ''}${abs(wad) / WAD:,.2f}"
