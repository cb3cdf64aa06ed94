"""A bare clearing house on a real node: publish, trade, ask the contract, and follow its events in a book."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import encode
from eth_keys.datatypes import PrivateKey
from eth_utils.crypto import keccak

from keeper.core.book import Book
from keeper.model import Address, BlockBatch, BlockRef, Fact, Log
from keeper.protocols.options.adapter import Options
from keeper.protocols.options.params import ParamSet, local
from keeper.protocols.options.records import Leg, State
from keeper.protocols.options.risk import Portfolio
from keeper.protocols.options.settings import Contracts, Settings
from keeper.simulation.deploy import Driver, actor, deploy, options
from keeper.simulation.node import Anvil
from keeper.units import wad

GENESIS = 1_700_006_400  # a multiple of every settlement window in use
EXPIRIES = tuple(GENESIS + d * 86_400 for d in (1, 7, 35))
SPOTS = (2_000, 40_000)
DEPTHS = (wad(20_000_000), wad(30_000_000))


@dataclass
class OptionsWorld:
    """Everyone is the governor unless named. ``now`` is the time of the last block."""

    node: Anvil
    sets: ParamSet = field(default_factory=lambda: local(DEPTHS))
    now: int = GENESIS

    def __post_init__(self) -> None:
        self.c = options()
        self.driver = Driver(self.node)
        self.key, self.publisher = actor("publisher")
        _, self.governor = actor("governor")
        self.dep = deploy(self.driver, self.governor, self.publisher, self.sets)
        d = self.dep
        contracts = Contracts(
            d.clearing, d.liquidator, d.oracle, d.params, d.tokens, d.pools, d.block, d.waterfall, d.sealed, d.quotes
        )
        self.adapter = Options(Settings(contracts, int.from_bytes(self.governor), self.governor))
        self.book = Book(self.adapter, self._ref(0))
        self.state = State(self.book)
        self.now = self.node.head().timestamp
        self.follow()

    # ── acting ──

    def at(self, now: int) -> None:
        """Mine an empty block at ``now``."""
        self.node.mine(now)
        self.now = now
        self.follow()

    def send(self, sender: Address, to: Address, data: bytes, now: int | None = None) -> Any:
        self.now = max(self.now + 1, now or 0)
        receipt = self.driver.send_all([(sender, to, data)], self.now)[0]
        self.follow()
        return receipt

    def sign(self, kind: str, types: Sequence[str], *values: Any) -> bytes:
        head = (31337, self.dep.oracle, kind)
        digest = keccak(encode(("uint256", "address", "string", *types), (*head, *values)))
        s = PrivateKey(self.key).sign_msg_hash(digest)
        return bytes(s.r.to_bytes(32) + s.s.to_bytes(32) + bytes([27 + s.v]))

    def publish(self, u: int, spot: float, now: int | None = None, confidence: int = 10_000) -> None:
        time = max(self.now + 1, now or 0)
        self.send(self.publisher, self.dep.oracle, self.price_call(u, spot, time, confidence), time)

    def price_call(self, u: int, spot: float, time: int, confidence: int = 10_000) -> bytes:
        """Call data that publishes a price."""
        return self.message(u, round(spot * 10**8), time, confidence)

    def message(self, *args: int) -> bytes:
        """The same in the words of the contract: underlying, price with 8 decimals, time, confidence."""
        return self.c["Oracle"].call("publish", *args, self.sign("spot", ("uint256",) * 4, *args))

    def publish_smile(
        self, u: int, expiry: int, atm: int, skew: int = -90_000, curv: int = 90_000, rate: int = 40_000
    ) -> None:
        time = self.now + 1
        data = self.smile_call(u, expiry, atm, skew, curv, rate, time, 10_000)
        self.send(self.publisher, self.dep.oracle, data, time)

    def smile_call(self, *args: int) -> bytes:
        """Call data that publishes a smile: underlying, expiry, atm, skew, curv, rate, time, confidence."""
        signature = self.sign("smile", ("uint256",) * 3 + ("int256",) * 3 + ("uint256",) * 2, *args)
        return self.c["Oracle"].call("publishSmile", *args, signature)

    def open_markets(self) -> None:
        for u, spot in enumerate(SPOTS):
            self.publish(u, spot)
            for i, expiry in enumerate(EXPIRIES):
                self.publish_smile(u, expiry, 700_000 - 50_000 * i)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens inside did not happen: node, book and nonces go back."""
        snapshot, ref, now, nonces = self.node.snapshot(), self.book.ref, self.now, dict(self.driver.nonces)
        try:
            yield
        finally:
            self.node.revert(snapshot)
            self.book.rollback(ref)
            self.now, self.driver.nonces = now, nonces

    @property
    def params(self) -> ParamSet:
        """The accepted set, as the contract stored it."""
        return self.state.params(self.state.version())

    # ── asking ──

    def ask(self, contract: str, to: Address, function: str, *args: Any) -> Any:
        """An ``eth_call`` at the last block; Reverted as the node says it."""
        data = self.c[contract].call(function, *args)
        answer = self.node.rpc(
            "eth_call", {"from": self.governor, "to": to, "data": data}, hex(self.node.head().number)
        )
        return self.c[contract].result(function, bytes.fromhex(answer[2:]))

    def assess(self, pf: Portfolio, mode: int, named: int | None = None, version: int = 1) -> tuple[Any, ...]:
        legs = [leg.series << 128 | leg.size & 2**128 - 1 for leg in pf.legs]
        words = (pf.cash, legs, pf.collateral)
        answer = self.ask("Risk", self.dep.risk, "assess", words, version, mode, 2**256 - 1 if named is None else named)
        return tuple(answer)

    # ── following ──

    def follow(self) -> list[Fact]:
        """Bring the book up to the node's head."""
        facts = []
        while self.book.ref.number < self.node.head().number:
            ref = self._ref(self.book.ref.number + 1)
            facts += self.book.apply(BlockBatch(ref, self._logs(ref)))
        return facts

    def _ref(self, number: int) -> BlockRef:
        b = self.node.rpc("eth_getBlockByNumber", hex(number), False)
        hash_, parent = (bytes.fromhex(b[name][2:]) for name in ("hash", "parentHash"))
        numbers = (int(b[name], 16) for name in ("timestamp", "baseFeePerGas", "gasUsed", "gasLimit"))
        return BlockRef(number, hash_, parent, *numbers)

    def _logs(self, ref: BlockRef) -> tuple[Log, ...]:
        addresses = sorted({f.address for f in self.book.interests.logs})
        logs = self.node.rpc("eth_getLogs", {"blockHash": ref.hash, "address": addresses})
        return tuple(
            Log(
                bytes.fromhex(g["address"][2:]),
                tuple(bytes.fromhex(t[2:]) for t in g["topics"]),
                bytes.fromhex(g["data"][2:]),
                bytes.fromhex(g["transactionHash"][2:]),
                int(g["logIndex"], 16),
            )
            for g in logs
        )


def legs(*sizes: tuple[int, int, bool, float, float]) -> tuple[Leg, ...]:
    """(underlying, expiry, is call, strike, size) each, sorted."""
    return tuple(
        sorted(
            Leg(u << 112 | expiry << 72 | int(call) << 64 | round(strike * 10**8), round(size * 10**15) * 10**3)
            for u, expiry, call, strike, size in sizes
        )
    )
