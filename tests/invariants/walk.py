"""A crowd on a clearing house: people do one thing at a time, and each is kept with what was before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from keeper.errors import Broken
from keeper.model import Address, Fact
from keeper.protocols.options import auction
from keeper.protocols.options.auction import Offer
from keeper.protocols.options.params import ParamSet, RiskParams, local
from keeper.protocols.options.records import Account, Auction, Clearing, Stage, pack_leg, unpack_leg
from keeper.protocols.options.risk import Health, Market, Portfolio, Price, cash_of, market, portfolio
from keeper.simulation.deploy import actor
from keeper.simulation.node import Anvil
from keeper.units import WAD, mul_down
from tests.worlds.acts import refusal
from tests.worlds.options import DEPTHS, EXPIRIES, SPOTS, OptionsWorld

USD: Final = 10**6  # native units of cash
PLENTY: Final = 10**30  # native units that everybody holds of every token
TRADERS: Final = tuple(f"trader {i}" for i in range(5))
MAKER, BIDDERS, BACKSTOP, BROKER, INSURER = "maker", ("bidder 0", "bidder 1"), "backstop", "broker", "insurer"
PEOPLE: Final = (*TRADERS, MAKER, *BIDDERS, BACKSTOP, INSURER)
RICH: Final = {MAKER: 50_000_000, BIDDERS[0]: 5_000_000, BIDDERS[1]: 2_000, BACKSTOP: 5_000_000, INSURER: 1_000_000}
POCKET: Final = 15_000  # US dollars that a trader begins with


@dataclass(frozen=True)
class Before:
    """What the laws compare with."""

    accounts: dict[int, Account]
    auctions: dict[int, Auction]
    clearing: Clearing
    stages: dict[int, Stage]


@dataclass(frozen=True)
class Deed:
    """One thing that was tried. ``why`` it failed is known only where somebody asked."""

    what: str
    by: str
    said: tuple[Any, ...]
    at: int
    done: bool
    before: Before
    facts: tuple[Fact, ...] = ()
    accounts: tuple[int, ...] = ()  # that it is about
    promised: bool = False  # must not fail
    forbidden: bool = False  # must not succeed
    halves: int | None = None  # equity of the bidder had it bought the same in two bids

    def __str__(self) -> str:
        return f"{self.at} {'' if self.done else 'refused: '}{self.by} {self.what} {self.said}"


@dataclass
class Walk(OptionsWorld):
    """``seed`` decides everything that is random."""

    seed: int = 0
    sets: ParamSet = field(default_factory=lambda: paced(local(DEPTHS)))
    deeds: list[Deed] = field(default_factory=list)
    spots: list[float] = field(default_factory=lambda: list(SPOTS))
    settled: int = 0  # legs paid out so far: each may round down by a wei
    shared: int = 0  # losses shared so far: each moves the index, which has 18 decimals
    bonds_lost: int = 0  # usd, of bonds held by the sealed stage, taken by shared losses
    rhos: dict[int, tuple[Auction, int]] = field(default_factory=dict)  # what each running auction last offered
    sealed: dict[tuple[int, int, int], tuple[int, int, bytes]] = field(default_factory=dict)  # what bidders know
    stages: set[tuple[int, int]] = field(default_factory=set)  # auctions with a commitment
    stricter: tuple[int, ...] = ()  # versions that each have one factor or haircut raised; never accepted

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rng = Random(self.seed)
        self.open_markets()
        for name in PEOPLE:
            self._equip(name)
        for name, dollars in {**dict.fromkeys(TRADERS, POCKET), **RICH}.items():
            self.do(name, "Clearing", "deposit", self.account(name), 0, dollars * USD)
        self.do(INSURER, "Clearing", "fundFrom", self.account(INSURER), 500_000 * WAD, False)
        self.govern("Liquidator", "setBackstop", self.who(BACKSTOP), True)
        for name in (*BIDDERS, MAKER):
            self.govern("Sealed", "invite", self.who(name), True)
        self.stricter = tuple(self._proposed(risk) for risk in stricter(self.sets.risk))

    def _proposed(self, risk: RiskParams) -> int:
        self.govern("Params", "propose", replace(self.sets, risk=risk).as_abi())
        return max(key.id for key in self.book.keys("params"))

    def _equip(self, name: str) -> None:
        """Tokens, and two permissions: the clearing house may take them, the broker may trade."""
        who = self.who(name)
        txs = [(self.governor, token, self.c["Token"].call("mint", who, PLENTY)) for token in self.dep.tokens]
        txs += [(who, token, self.c["Token"].call("approve", self.dep.clearing, PLENTY)) for token in self.dep.tokens]
        txs.append((who, self.dep.clearing, self.c["Clearing"].call("authorise", self.who(BROKER), True)))
        self.driver.send_all(txs, self.now + 1)
        self.now = self.node.head().timestamp
        self.follow()

    # ── who ──

    def who(self, name: str) -> Address:
        return actor(name)[1]

    def account(self, name: str) -> int:
        return int.from_bytes(self.who(name))

    def name(self, account: int) -> str:
        return next((name for name in PEOPLE if self.account(name) == account), hex(account))

    # ── doing ──

    def do(self, by: str, contract: str, function: str, *args: Any, **more: Any) -> Deed:
        """One transaction, in a block of its own one to three seconds later; reverting is an answer, not an error."""
        return self._sent(by, self.who(by), contract, function, args, more)

    def govern(self, contract: str, function: str, *args: Any, **more: Any) -> Deed:
        return self._sent("governor", self.governor, contract, function, args, more)

    def _sent(
        self, by: str, sender: Address, contract: str, function: str, args: tuple[Any, ...], more: dict[str, Any]
    ) -> Deed:
        before, data = self.before(), self.c[contract].call(function, *args)
        self.now = more.pop("at", self.now + self.rng.randint(1, 3))
        try:
            self.driver.send_all([(sender, getattr(self.dep, contract.lower()), data)], self.now)
            done = True
        except Broken:
            done = False
        facts = tuple(self.follow())
        said = tuple(self.name(one) if isinstance(one, int) and one > 2**100 else one for one in args)
        deed = Deed(function, by, said, self.now, done, before, facts, **more)
        self.deeds.append(deed)
        return deed

    def publish_all(self, seconds: int = 1) -> None:
        """Prices of all underlyings that take one, in one block."""
        if len(self.frozen()) == len(self.spots):
            return self.at(self.now + seconds)
        before = self.before()
        self.now += seconds
        txs, frozen = [], self.frozen()
        for u, spot in enumerate(self.spots):
            args = (u, round(spot * 10**8), self.now, 10_000)
            signature = self.sign("spot", ("uint256",) * 4, *args)
            if u not in frozen:
                txs.append((self.publisher, self.dep.oracle, self.c["Oracle"].call("publish", *args, signature)))
        try:
            self.driver.send_all(txs, self.now)
            done = True
        except Broken:
            done = False
        facts = tuple(self.follow())
        self.deeds.append(Deed("publish", "publisher", tuple(self.spots), self.now, done, before, facts))
        return None

    # ── what would be ──

    def halved(self, by: str, account: int, most: int, at: int) -> int | None:
        """The bidder's equity had it bought ``most`` in two bids; None when they would have been refused."""
        bidder, record = self.account(by), self.state.account(account)
        expected = record.change_id if record else 0
        with self.undone():
            parts = (most // 2, (most - most // 2) * WAD // (WAD - most // 2))  # of all, then of the rest
            bids = [(account, bidder, part, 10**40, expected + n) for n, part in enumerate(parts)]
            sent = [(self.who(by), self.dep.liquidator, self.c["Liquidator"].call("bid", *args)) for args in bids]
            try:
                self.driver.send_all(sent, at)
            except Broken:
                return None
            self.follow()
            self.now = at
            return self.health(bidder, Price.BID).equity

    def marks(self, later: int, pokes: int) -> list[int]:
        """Slow and fast marks of every feed at a later time, if its price were published again so often until then."""
        with self.undone():
            for n in range(pokes):
                for u in range(len(self.spots)):
                    feed = self.state.feed(u)
                    assert feed is not None
                    self.publish(u, feed.spot / 10**8, self.now + 1 + (n == 0))
            self.at(max(later, self.now + 1))
            return [mark for u in range(len(self.spots)) for mark in self._marks(u)]

    def _marks(self, u: int) -> tuple[int, int]:
        _, slow, fast, *_ = self.ask("Oracle", self.dep.oracle, "prices", u)
        return slow, fast

    def refusal(self, contract: str, function: str, *args: Any) -> str | None:
        """The error it would end with at the last block; None when it would pass."""
        found = refusal(self, contract, function, *args)
        return found[0] if found else None

    # ── looking ──

    def before(self) -> Before:
        auctions = {key.id: one for key in self.book.keys("auction") if (one := self.state.auction(key.id))}
        stages = {key.id: self.book.get(key) for key in self.book.keys("sealed")}
        return Before(dict(self.accounts()), auctions, self.state.clearing(), stages)

    def accounts(self) -> Iterator[tuple[int, Account]]:
        for key in sorted(self.book.keys("account"), key=lambda one: one.id):
            if (record := self.state.account(key.id)) is not None:
                yield key.id, record

    def holds(self, account: int) -> Portfolio:
        found = self.state.account(account)
        return portfolio(found, self.state.clearing()) if found else Portfolio(0, ())

    def cash(self) -> list[int]:
        """Of every account, usd, its share in losses included."""
        return [cash_of(one, self.state.clearing()) for _, one in self.accounts()]

    def prices(self, mode: Price, version: int | None = None) -> Market:
        return market(self.book, version or self.state.version(), self.now, mode)

    def health(self, account: int, mode: Price) -> Health:
        return self.prices(mode).assess(self.holds(account))

    def portfolio(self, package: Sequence[int]) -> Portfolio:
        return Portfolio(0, tuple(sorted(map(unpack_leg, package))), (0,) * len(self.dep.tokens))

    def worth(self, package: Sequence[int], mode: Price = Price.BID) -> int:
        return self.prices(mode).assess(self.portfolio(package)).equity

    def offer(self, account: int) -> Offer:
        """What a running auction offers, as Python tells it."""
        running = self.state.auction(account)
        assert running is not None
        return self.offered(self.holds(account), running, self.state.clearing().fund)

    def offered(self, pf: Portfolio, running: Auction, fund: int) -> Offer:
        """The same of what an account held, and of an auction that may have ended in the last block."""
        p = self.state.params(running.version).auction
        h = self.prices(Price.BID, running.version).assess(pf, running.scenario)
        t, _ = auction.elapsed(self.state, running, h.underlyings, self.now)
        left = auction.fund_left(p, fund, self.state.caps(), h.mm, running.spent, self.now)
        return auction.make_offer(h, p, auction.rho_at(p, t), left)

    def dearest(self, account: int) -> int:
        """usd, what the owner would lose by the largest bid now."""
        o = self.offer(account)
        return mul_down(mul_down(o.mm, o.rho_paid), o.fmax)

    def running(self) -> list[int]:
        """Accounts with a running auction."""
        return [key.id for key in self.book.keys("auction") if (a := self.state.auction(key.id)) and a.flagged_at]

    def frozen(self) -> list[int]:
        """Underlyings whose feed takes no prices."""
        return [u for u in range(len(self.spots)) if (feed := self.state.feed(u)) and feed.frozen]

    def level(self) -> int:
        return self.state.breaker().level(self.now)

    def told(self) -> str:
        """The last deeds, for a message about a failure."""
        return "\n".join(map(str, self.deeds[-12:]))


def paced(sets: ParamSet) -> ParamSet:
    """Sealed stages that last a few steps of a walk."""
    return replace(sets, auction=replace(sets.auction, commit_time=15, reveal_time=20))


def stricter(r: RiskParams) -> tuple[RiskParams, ...]:
    """Each with one number that asks for more."""
    assets = tuple(a if i == 0 else a._replace(haircut_mm=a.haircut_mm * 2) for i, a in enumerate(r.assets))
    return (
        replace(r, mm_factor=r.mm_factor * 11 // 10),
        replace(r, floor_gross_mm=r.floor_gross_mm * 12 // 10),
        replace(r, floor_naked=r.floor_naked * 2),
        replace(r, lambda_=r.lambda_ * 2),
        replace(r, confidence=r.confidence * 2),
        replace(r, assets=assets),
    )


def begun(node: Anvil, seed: int) -> Walk:
    return Walk(node, seed=seed)


def word(u: int, expiry: int, call: bool, strike: float, size: float) -> int:
    return pack_leg(u, expiry, call, round(strike * 10**8), round(size * 1000) * 10**15)


__all__ = ["EXPIRIES", "SPOTS", "Walk", "begun", "word"]
