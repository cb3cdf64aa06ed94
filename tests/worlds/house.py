"""A clearing house with people in it: deposit, trade, flag, bid and whatever else a test wants, each as one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keeper.errors import Reverted
from keeper.model import Address
from keeper.protocols.options import auction
from keeper.protocols.options.auction import Offer
from keeper.protocols.options.book import CONTRACTS
from keeper.protocols.options.records import pack_leg, series_of
from keeper.protocols.options.risk import Health, Portfolio, Price, market, portfolio
from keeper.simulation.deploy import actor
from keeper.units import WAD
from tests.worlds.options import EXPIRIES, SPOTS, OptionsWorld

USD = 10**6  # native units of cash
FOREVER = 2**40
LIMIT = 10**40  # usd wad: no price limit
Leg = tuple[int, int, bool, float, float]  # underlying, expiry, is a call, strike, size


class House(OptionsWorld):
    """Amounts in US dollars as people say them; accounts by the name of their owner."""

    def open(self) -> House:
        """Prices published, and a fund-raiser's accounts known."""
        self.open_markets()
        return self

    # ── who ──

    def who(self, name: str) -> Address:
        return actor(name)[1]

    def account(self, name: str) -> int:
        """``name`` or ``name/1``: sub-accounts of one owner."""
        owner, _, number = name.partition("/")
        return int.from_bytes(self.who(owner)) | int(number or 0) << 160

    # ── acting ──

    def do(self, name: str, contract: str, function: str, *args: Any, now: int | None = None) -> Any:
        """One transaction by the owner ``name``; Broken when it reverts."""
        owner = self.who(name.partition("/")[0])
        return self.send(owner, getattr(self.dep, contract.lower()), self.c[contract].call(function, *args), now)

    def govern(self, contract: str, function: str, *args: Any) -> Any:
        return self.send(self.governor, getattr(self.dep, contract.lower()), self.c[contract].call(function, *args))

    def refused(self, name: str, contract: str, function: str, *args: Any, later: int = 1) -> str:
        """Name of the error with which this fails ``later`` seconds on; "" when it succeeds."""
        owner = self.who(name.partition("/")[0])
        request = {
            "from": owner,
            "to": getattr(self.dep, contract.lower()),
            "data": self.c[contract].call(function, *args),
        }
        time = {"time": hex(self.now + later), "number": hex(self.node.head().number + 1)}
        try:
            self.node.rpc("eth_call", request, "latest", {}, time)
        except Reverted as error:
            found = (one.error(error.data) for one in CONTRACTS.values())
            return next((e[0] for e in found if e), error.data.hex() or "revert")
        return ""

    def give(self, name: str, dollars: float, asset: int = 0) -> None:
        """Mint and deposit: US dollars of cash, or units of an asset."""
        unit = self.state.clearing().assets[asset].unit
        amount, owner = round(dollars * unit), self.who(name.partition("/")[0])
        token = self.dep.tokens[asset]
        self.send(self.governor, token, self.c["Token"].call("mint", owner, amount))
        self.send(owner, token, self.c["Token"].call("approve", self.dep.clearing, amount))
        self.do(name, "Clearing", "deposit", self.account(name), asset, amount)

    def insure(self, dollars: float, reserve: bool = False) -> None:
        self.give("insurer", dollars)
        self.do("insurer", "Clearing", "fundFrom", self.account("insurer"), round(dollars * WAD), reserve)

    def trade(self, a: str, b: str, legs: Sequence[Leg], premium: float = 0.0) -> None:
        """``a`` receives the legs and pays the premium to ``b``, who has authorised everybody here."""
        taker, maker = a.partition("/")[0], b.partition("/")[0]
        self.do(maker, "Clearing", "authorise", self.who(taker), True)
        self.do(
            a, "Clearing", "trade", self.account(a), self.account(b), words(legs), round(premium * WAD), FOREVER, 0, b""
        )

    def flag(self, name: str, by: str = "keeper", now: int | None = None) -> None:
        self.do(by, "Liquidator", "flag", self.account(name), self.health(name, Price.TRIGGER).worst, now=now)

    def bid(self, name: str, by: str, most: int = WAD, now: int | None = None) -> None:
        self.do(by, "Liquidator", "bid", self.account(name), self.account(by), most, LIMIT, self.change(name), now=now)

    def ripen(self, seconds: int, spot: Sequence[float] | None = None) -> None:
        """Let so much live time pass: prices are published every ten seconds."""
        goal = self.now + seconds
        while self.now < goal:
            for u, price in enumerate(spot or self.spots()):
                self.publish(u, price, min(goal, self.now + 10) if u == 0 else None)
        self.follow()

    def fall(self, *spot: float, seconds: int = 120) -> None:
        """New prices, for long enough that every mark has followed; the smile stays what it was."""
        self.ripen(seconds, spot)
        for i, expiry in enumerate(EXPIRIES):
            self.publish_smile(0, expiry, 700_000 - 50_000 * i)

    def skip(self, to: int, spot: Sequence[float] | None = None) -> None:
        """Nobody publishes until ``to``; then everybody does."""
        for u, price in enumerate(spot or self.spots()):
            self.publish(u, price, to if u == 0 else None)
        self.ripen(20)

    # ── asking ──

    def spots(self) -> list[float]:
        return [feed.spot / 10**8 for u in range(len(SPOTS)) if (feed := self.state.feed(u))]

    def change(self, name: str) -> int:
        record = self.state.account(self.account(name))
        return record.change_id if record else 0

    def holds(self, name: str) -> Portfolio:
        return self.holds_id(self.account(name))

    def holds_id(self, account: int) -> Portfolio:
        record = self.state.account(account)
        return portfolio(record, self.state.clearing()) if record else Portfolio(0, ())

    def health(self, name: str, mode: Price = Price.BID, later: int = 0) -> Health:
        """At the last block, or as many seconds after it."""
        return market(self.book, self.state.version(), self.now + later, mode).assess(self.holds(name))

    def size(self, name: str, leg: Leg) -> int:
        return dict(self.holds(name).legs).get(word(leg) >> 128, 0)

    def offer(self, name: str) -> Offer:
        """What its auction offers, by our telling."""
        running = self.state.auction(self.account(name))
        assert running is not None
        p = self.state.params(running.version).auction
        h = market(self.book, running.version, self.now, Price.BID).assess(self.holds(name), running.scenario)
        t, _ = auction.elapsed(self.state, running, h.underlyings, self.now)
        clearing, caps = self.state.clearing(), self.state.caps()
        left = auction.fund_left(p, clearing.fund, caps, h.mm, running.spent, self.now)
        return auction.make_offer(h, p, auction.rho_at(p, t), left)

    def auctioned(self, name: str) -> bool:
        running = self.state.auction(self.account(name))
        return bool(running and running.flagged_at)

    def total(self) -> int:
        """All that is owed: cash of everybody and the insurance, usd."""
        clearing = self.state.clearing()
        cash = sum(
            portfolio(record, clearing).cash
            for key in self.book.keys("account")
            if (record := self.state.account(key.id))
        )
        return cash + clearing.fund + clearing.reserve

    def backed(self) -> int:
        """The cash tokens of the clearing house, usd."""
        held = self.ask("Token", self.dep.tokens[0], "balanceOf", self.dep.clearing)
        return int(held) * (WAD // USD)


def word(leg: Leg) -> int:
    u, expiry, call, strike, size = leg
    return pack_leg(u, expiry, call, round(strike * 10**8), round(size * 10**15) * 10**3)


def words(legs: Sequence[Leg]) -> list[int]:
    return [word(leg) for leg in legs]


__all__ = ["EXPIRIES", "SPOTS", "House", "Leg", "series_of", "word", "words"]
