"""A whole market on one node: the clearing house, its traders and makers, a keeper's desk, rivals.

``build`` deploys and opens everything from a seed; afterwards the world only moves by signed transactions
(``market.py``), so that a run can be recorded and replayed from its state.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from eth_abi.abi import encode
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from keeper.core.book import Book  # arrow: the world follows its own events, as a check and for the rivals
from keeper.model import Address, BlockBatch, BlockRef, Call, Fact, Log
from keeper.protocols.abi import Contract
from keeper.protocols.desk import RULES, pins
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.params import ParamSet, local
from keeper.protocols.options.records import State, pack_leg, unpack_leg
from keeper.protocols.options.risk import Market, Portfolio, Price
from keeper.protocols.options.settings import Contracts, Settings
from keeper.simulation.deploy import Deployment, Driver, deploy, options
from keeper.simulation.harsh import hardships
from keeper.simulation.node import CHAIN_ID, Anvil
from keeper.simulation.portfolios import Grid, Plan, expiries, portfolios
from keeper.simulation.surface import Regime, Surface
from keeper.simulation.wallets import Wallet
from keeper.units import WAD, mul_down, wad

GENESIS: Final = 1_700_006_400  # a multiple of every settlement window
SPOTS: Final = (2_000.0, 40_000.0)  # US dollars
DECIMALS: Final = (18, 8)  # of the underlyings' tokens
DEPTHS: Final = (wad(20_000_000), wad(30_000_000))  # of the pools, one side
REGIMES: Final = (Regime(atm=0.65), Regime(atm=0.55, response=1.3))
BLOCK_TIME: Final = 4  # seconds
USD: Final = 10**6  # native units of cash
ETHER: Final = 10**18
SUPPLY: Final = 10**15 * USD
KEEPER_STOCK: Final = (4_000_000, 6_000_000)  # US dollars of each underlying outside it
USAGE: Final = (0.6, 0.98)  # initial margin over equity when an account is opened


@dataclass(frozen=True)
class Purses:
    """What people begin with, native units of cash."""

    fund: int = 3_000_000 * USD
    keeper: int = 20_000_000 * USD  # of which half is margin in the clearing house
    rival: int = 20_000_000 * USD


THIN: Final = Purses(fund=30_000 * USD, rival=20_000 * USD)


@dataclass(frozen=True)
class Size:
    """What to build."""

    seed: int = 1
    accounts: int = 200
    rivals: int = 3
    spots: tuple[float, ...] = SPOTS
    harsh: bool = False

    @property
    def purses(self) -> Purses:
        return THIN if self.harsh else Purses()


@dataclass
class World:
    """One built world. ``now`` is the time of the last block."""

    node: Anvil
    size: Size
    dep: Deployment = field(init=False)
    desk: Address = field(init=False)
    book: Book = field(init=False)
    state: State = field(init=False)
    plans: tuple[Plan, ...] = field(init=False)
    surfaces: tuple[Surface, ...] = field(init=False)
    now: int = GENESIS
    block_time: int = BLOCK_TIME
    unhealthy: dict[int, tuple[int, int]] = field(default_factory=dict)  # account -> since which block, scenario

    def __post_init__(self) -> None:
        seed = self.size.seed
        self.c = options()
        self.governor, self.publisher, self.arbitrageur = (Wallet(n, seed) for n in ("governor", "publisher", "arb"))
        self.owner, self.keeper = Wallet("desk owner", seed), Wallet("keeper", seed)
        self.rivals = tuple(Wallet(f"rival {i}", seed) for i in range(self.size.rivals))
        self.makers = tuple(Wallet(f"maker {u}", seed) for u in range(len(self.size.spots)))
        self.traders: tuple[Wallet, ...] = ()  # one for each plan
        self.expiries = expiries(GENESIS)
        self.series = {(u, e) for u in range(len(self.size.spots)) for e in self.expiries}

    @property
    def contracts(self) -> Contracts:
        d = self.dep
        return Contracts(
            d.clearing, d.liquidator, d.oracle, d.params, d.tokens, d.pools, d.block, d.waterfall, d.sealed, d.quotes
        )

    @property
    def stock(self) -> tuple[int, ...]:
        """Native units of each underlying that the keeper's desk begins with."""
        spots = enumerate(self.size.spots)
        return tuple(int(KEEPER_STOCK[u] / spot * 10 ** DECIMALS[u]) for u, spot in spots)

    @property
    def settings(self) -> Settings:
        """What a keeper of this world is configured with."""
        return Settings(
            contracts=self.contracts,
            account=int.from_bytes(self.desk),
            desk=self.desk,
            inventory=self.stock,
            reserve=wad(100_000),
            floor=wad(200_000),
        )

    # ── following ──

    def ref(self, number: int) -> BlockRef:
        b = self.node.rpc("eth_getBlockByNumber", hex(number), False)
        hash_, parent = (bytes.fromhex(b[name][2:]) for name in ("hash", "parentHash"))
        numbers = (int(b[name], 16) for name in ("timestamp", "baseFeePerGas", "gasUsed", "gasLimit"))
        return BlockRef(number, hash_, parent, *numbers)

    def follow(self) -> list[Fact]:
        """Bring the world's own book up to the head; what happened in the new blocks."""
        head, facts = self.node.head().number, list[Fact]()
        while self.book.ref.number < head:
            ref = self.ref(self.book.ref.number + 1)
            facts += self.book.apply(BlockBatch(ref, tuple(self._logs(ref))))
        self.now = self.book.ref.timestamp
        return facts

    def _logs(self, ref: BlockRef) -> Iterator[Log]:
        addresses = sorted({f.address for f in self.book.interests.logs})
        for log in self.node.rpc("eth_getLogs", {"blockHash": ref.hash, "address": addresses}):
            topics = tuple(bytes.fromhex(topic[2:]) for topic in log["topics"])
            address, data, tx = (bytes.fromhex(log[name][2:]) for name in ("address", "data", "transactionHash"))
            yield Log(address, topics, data, tx, int(log["logIndex"], 16))

    # ── messages ──

    def sign_message(self, kind: str, types: Sequence[str], *values: Any) -> bytes:
        """An oracle message, signed by the publisher."""
        return self._sign(self.publisher, self.dep.oracle, kind, types, *values)

    def _sign(self, who: Wallet, contract: Address, kind: str, types: Sequence[str], *values: Any) -> bytes:
        digest = keccak(encode(("uint256", "address", "string", *types), (CHAIN_ID, contract, kind, *values)))
        s = PrivateKey(who.key).sign_msg_hash(digest)
        return bytes(s.r.to_bytes(32) + s.s.to_bytes(32) + bytes([27 + s.v]))

    def spot_call(self, u: int, spot: int, time: int) -> Call:
        """``spot`` with 8 decimals."""
        args = (u, spot, time, 10_000)
        signature = self.sign_message("spot", ("uint256",) * 4, *args)
        return Call(self.dep.oracle, self.c["Oracle"].call("publish", *args, signature))

    def smile_call(self, u: int, expiry: int, smile: Sequence[int], time: int) -> Call:
        args = (u, expiry, *smile, time, 10_000)
        signature = self.sign_message("smile", ("uint256",) * 3 + ("int256",) * 3 + ("uint256",) * 2, *args)
        return Call(self.dep.oracle, self.c["Oracle"].call("publishSmile", *args, signature))


# ─── building ─────────────────────────────────────────────────────────────────────────────────────


def build(node: Anvil, size: Size) -> World:
    """Deploy, fund and open everything. Deterministic: the same size gives the same state, block for block."""
    return _Builder(World(node, size)).build()


class _Builder:
    def __init__(self, world: World) -> None:
        self.w = world
        self.driver = Driver(world.node)
        self.c: dict[str, Contract] = world.c

    def build(self) -> World:
        w = self.w
        w.dep = deploy(self.driver, w.governor.address, w.publisher.address, self._params())
        w.desk = self.driver.deploy(w.owner.address, self.c["Desk"], w.owner.address)
        w.book = Book(Options(w.settings), w.ref(0))
        w.state = State(w.book)
        self._pools()
        self._first_prices()
        self._desk()
        self._participants()
        self._portfolios()
        self._release()
        return w

    def _params(self) -> ParamSet:
        return local(DEPTHS[: len(self.w.size.spots)])

    def _send(self, *txs: tuple[Address, Address, bytes]) -> None:
        """Mine these together, a second after the last block."""
        if txs:
            self.driver.send_all(txs, self.w.now + 1)
            self.w.now = self.w.node.head().timestamp

    def _mint(self, token: Address, to: Address, amount: int) -> tuple[Address, Address, bytes]:
        return self.w.governor.address, token, self.c["Token"].call("mint", to, amount)

    def _approve(self, who: Address, token: Address, spender: Address) -> tuple[Address, Address, bytes]:
        return who, token, self.c["Token"].call("approve", spender, SUPPLY * 10**12)

    def _deposit(self, who: Wallet, asset: int, amount: int) -> tuple[Address, Address, bytes]:
        return who.address, self.w.dep.clearing, self.c["Clearing"].call("deposit", who.account, asset, amount)

    # ── steps ──

    def _pools(self) -> None:
        w, g = self.w, self.w.governor.address
        for u, (pool, spot) in enumerate(zip(w.dep.pools, w.size.spots, strict=True)):
            usd = DEPTHS[u] // WAD
            base = int(usd / spot * 10 ** DECIMALS[u])
            self._send(self._mint(w.dep.tokens[0], g, usd * USD), self._mint(w.dep.tokens[u + 1], g, base))
            self._send(self._approve(g, w.dep.tokens[0], pool), self._approve(g, w.dep.tokens[u + 1], pool))
            self._send((g, pool, self.c["SpotPool"].call("add", base, usd * USD)))

    def _first_prices(self) -> None:
        self._spots()
        w = self.w
        w.surfaces = tuple(Surface(REGIMES[u], GENESIS, spot) for u, spot in enumerate(w.size.spots))
        for u in range(len(w.size.spots)):
            calls = [w.smile_call(u, e, w.surfaces[u].smile(e), w.now + 1) for e in w.expiries]
            self._send(*((w.publisher.address, call.target, call.data) for call in calls))

    def _spots(self) -> None:
        w = self.w
        calls = [w.spot_call(u, round(spot * 10**8), w.now + 1) for u, spot in enumerate(w.size.spots)]
        self._send(*((w.publisher.address, call.target, call.data) for call in calls))

    def _desk(self) -> None:
        """The keeper's capital, and what its hot key may do with it."""
        w, owner, desk = self.w, self.w.owner.address, self.c["Desk"]
        where = {
            "Liquidator": [w.dep.liquidator],
            "Clearing": [w.dep.clearing],
            "Sealed": [w.dep.sealed],
            "Waterfall": [w.dep.waterfall],
            "Quotes": [w.dep.quotes],
            "SpotPool": list(w.dep.pools),
        }
        rules = [
            (
                owner,
                w.desk,
                desk.call("allow", target, self.c[contract].functions[function].selector, True, pins(words, w.desk)),
            )
            for (contract, function), words in RULES.items()
            for target in where[contract]
        ]
        self._send(*rules, (owner, w.desk, desk.call("setOperator", w.keeper.address, True)))
        spenders = [(w.dep.tokens[0], w.dep.clearing)]
        spenders += [
            (token, pool) for u, pool in enumerate(w.dep.pools) for token in (w.dep.tokens[0], w.dep.tokens[u + 1])
        ]
        self._send(
            *(self._as_desk(token, self.c["Token"].call("approve", to, SUPPLY * 10**12)) for token, to in spenders)
        )
        stock = zip(w.dep.tokens[1:], w.stock, strict=True)
        cash = w.size.purses.keeper
        self._send(self._mint(w.dep.tokens[0], w.desk, cash), *(self._mint(t, w.desk, n) for t, n in stock))
        deposit = self.c["Clearing"].call("deposit", int.from_bytes(w.desk), 0, cash // 2)
        backstop = self.c["Liquidator"].call("setBackstop", w.desk, True)
        self._send(self._as_desk(w.dep.clearing, deposit), (w.governor.address, w.dep.liquidator, backstop))
        guests = (w.desk, *(rival.address for rival in w.rivals[::2]))
        invite = self.c["Sealed"].call
        self._send(*((w.governor.address, w.dep.sealed, invite("invite", guest, True)) for guest in guests))

    def _as_desk(self, target: Address, data: bytes) -> tuple[Address, Address, bytes]:
        return self.w.owner.address, self.w.desk, self.c["Desk"].call("asOwner", target, data)

    def _participants(self) -> None:
        """Makers, rivals and the fund get cash; the arbitrageur gets both sides of every pool."""
        w = self.w
        usdc, clearing, purses = w.dep.tokens[0], w.dep.clearing, w.size.purses
        cash = [(w.governor, purses.fund), *((m, 10**9 * USD) for m in w.makers)]
        cash += [(rival, purses.rival) for rival in w.rivals]
        self._send(*(self._mint(usdc, who.address, n) for who, n in cash))
        self._send(*(self._approve(who.address, usdc, clearing) for who, _ in cash))
        self._send(*(self._deposit(who, 0, n) for who, n in cash))
        give = self.c["Clearing"].call("fundFrom", w.governor.account, purses.fund * (WAD // USD), False)
        self._send((w.governor.address, clearing, give))
        arb = w.arbitrageur.address
        for u, pool in enumerate(w.dep.pools):
            stock = int(DEPTHS[u] / WAD / w.size.spots[u] * 10 ** DECIMALS[u]) * 20
            self._send(self._mint(usdc, arb, DEPTHS[u] // WAD * USD * 20), self._mint(w.dep.tokens[u + 1], arb, stock))
            self._send(self._approve(arb, usdc, pool), self._approve(arb, w.dep.tokens[u + 1], pool))

    def _portfolios(self) -> None:
        """Every trader sells or buys a package against the maker of its underlying, at the model's value."""
        w = self.w
        grids = [
            Grid(u, round(spot * 10**8), round(spot * 10**6), w.expiries, DECIMALS[u])
            for u, spot in enumerate(w.size.spots)
        ]
        w.plans = portfolios(w.size.seed, w.size.accounts, grids)
        if w.size.harsh:
            w.plans += hardships(len(w.plans), grids)
        w.traders = tuple(Wallet(f"trader {i}", w.size.seed) for i in range(len(w.plans)))
        w.follow()
        market = Market(w.state, w.state.params(1).risk, w.now + 4, Price.BID)
        opened = [self._opening(market, plan) for plan in w.plans]
        pairs = list(zip(w.traders, w.plans, opened, strict=True))
        tokens = w.dep.tokens
        for asset in range(len(tokens)):
            stock = [(t, o[1 + asset]) for t, _, o in pairs if o[1 + asset]]
            self._send(*(self._mint(tokens[asset], t.address, n) for t, n in stock))
            self._send(*(self._approve(t.address, tokens[asset], w.dep.clearing) for t, _ in stock))
            self._send(*(self._deposit(t, asset, n) for t, n in stock))
        self._spots()
        self._send(*(self._trade(t, plan, o[0]) for t, plan, o in pairs))
        self._spots()

    def _opening(self, market: Market, plan: Plan) -> tuple[int, ...]:
        """(premium the trader pays, cash to deposit, collateral to deposit ...) so that Q_im is ``usage`` of equity."""
        legs = tuple(sorted(unpack_leg(pack_leg(*leg)) for leg in plan.legs))
        wide = tuple(n * 10 ** (18 - DECIMALS[u]) for u, n in enumerate(plan.collateral))
        h = market.assess(Portfolio(0, legs, (0, *wide)))
        value = h.equity - sum(mul_down(n, market.price(u)) for u, n in enumerate(wide))
        cash = int(h.im / plan.usage) - h.equity  # what must be left after the premium
        premium = value if cash + value > 0 else -cash
        deposit = -(-max(0, cash + premium) * USD // WAD)
        return premium, deposit, *plan.collateral

    def _trade(self, trader: Wallet, plan: Plan, premium: int) -> tuple[Address, Address, bytes]:
        w = self.w
        maker = w.makers[plan.legs[0].underlying if plan.legs else 0]  # without legs, he lends
        package = [pack_leg(*leg) for leg in plan.legs]
        args = (trader.account, maker.account, package, premium, GENESIS + 86_400, 0)
        types = ("uint256", "uint256", "uint256[]", "int256", "uint256", "uint256")
        signature = w._sign(maker, w.dep.clearing, "trade", types, *args)
        return trader.address, w.dep.clearing, self.c["Clearing"].call("trade", *args, signature)

    def _release(self) -> None:
        """From here on everybody signs for himself."""
        w = self.w
        for wallet in (w.governor, w.publisher, w.arbitrageur, w.keeper, *w.rivals):
            w.node.set_balance(wallet.address, 1_000 * ETHER)
            wallet.nonce = int(w.node.rpc("eth_getTransactionCount", wallet.address, "latest"), 16)
        self.driver.done()
        w.now += 1
        w.node.mine(w.now)
        w.follow()
