"""Morpho Blue itself, from its npm package, on Anvil: two markets, four borrowers, a lender, a rival, an operator."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from eth_abi.abi import decode

from keeper.core.book import Book
from keeper.errors import Reverted
from keeper.model import (
    Address,
    BlockBatch,
    BlockRef,
    Call,
    Hash,
    HealthReport,
    Key,
    Kind,
    Log,
    Moment,
    Opportunity,
    Reason,
)
from keeper.protocols import conformance, words
from keeper.protocols.conformance import Done, Verdict, follow, moment, offers
from keeper.protocols.morpho_blue.adapter import MorphoBlue
from keeper.protocols.morpho_blue.maths import ORACLE_PRICE_SCALE, Irm, Totals
from keeper.protocols.morpho_blue.records import (
    CASH,
    KINDS,
    MARKET,
    POSITION,
    PRICE,
    Cash,
    Market,
    OraclePrice,
    Params,
    Position,
    borrower_of,
    cash_key,
    market_key,
    market_of,
    position_key,
    price_key,
)
from keeper.protocols.morpho_blue.settings import NO_IRM, Settings, Token
from keeper.simulation.node import Anvil
from keeper.units import GWEI, WAD, mul_down, wad
from tests.conformance.morpho_harness import call_data
from tests.conformance.morpho_life import ACTS, LENDING, PARAMS, TAKING, Tx, Venue, failures

GENESIS = 1_700_000_000  # timestamp
GAS = 1_000_000  # per transaction


class MorphoWorld:
    """Implements ``conformance.World``."""

    kinds = KINDS
    deeds = (Kind.LIQUIDATE,)
    horizon = 10_000_000
    rounding = 0

    def __init__(self, node: Anvil, artifacts: Mapping[str, Any], told: Irm | None = Irm.UTILISATION) -> None:
        """``told`` is what the adapter is told of the first market's rate contract; the truth is UTILISATION."""
        self.node, self._artifacts, self.gas_used = node, artifacts, 0
        owner, operator, lender, rival, *users = (bytes.fromhex(a[2:]) for a in node.rpc("eth_accounts"))
        self.owner, self.operator, self.lender, self.rival, self.users = owner, operator, lender, rival, users[:4]
        self.genesis = node.head()
        self.morpho = self._deploy("Morpho", words.pack(owner))
        self.harness, irm = self._deploy("Harness"), self._deploy("IrmMock")
        self._send(Tx(owner, self.morpho, call_data("enableIrm(address)", a)) for a in (NO_IRM, irm))
        ether = self._open(irm, lltv=86 * WAD // 100, price=3000 * 10**24, unit=WAD)
        bitcoin = self._open(NO_IRM, lltv=77 * WAD // 100, price=60_000 * 10**46, unit=10**7)
        self.venues = [ether, bitcoin]
        self.adapter = MorphoBlue(
            Settings(
                morpho=self.morpho,
                desk=operator,
                markets=tuple(f"0x{venue.id.hex()}" for venue in self.venues),
                tokens={ether.params.loan: Token(WAD, 6, "USDC"), bitcoin.params.loan: Token(wad("0.99"), 18)},
                irms={irm: told} if told else {},
                coin_usd=wad(3000),
            )
        )

    # ── conformance.World ──

    def book(self) -> conformance.Book:
        return Book(self.adapter, self.genesis)

    def batch(self, book: conformance.Book) -> BlockBatch | None:
        number = hex(book.ref.number + 1)
        block = self.node.rpc("eth_getBlockByNumber", number, False)
        if block is None:
            return None
        ref = _ref(block)
        found = [
            log
            for wanted in book.interests.logs
            for log in self.node.rpc("eth_getLogs", {"blockHash": ref.hash, "address": wanted.address})
        ]
        reads = {read.name: self._read(read.target, read.data, ref.hash) for read in book.interests.reads}
        return BlockBatch(ref, tuple(_log(log) for log in found), reads)

    def live(self, dice: Random) -> None:
        for act in dice.choices(ACTS, k=dice.randint(2, 6)):
            self._submit(act(self, dice.choice(self.venues), dice))
        self.mine(seconds=dice.choice((1, 12, 3_600, 7 * 86_400)))

    def records(self) -> Mapping[str, Mapping[Key, Any]]:
        tokens = [token for venue in self.venues for token in (venue.params.loan, venue.params.collateral)]
        return {
            MARKET: {market_key(v.id): Market(v.params, self._totals(v)) for v in self.venues},
            PRICE: {price_key(v.params.oracle): OraclePrice(self.price(v)) for v in self.venues},
            CASH: {cash_key(token): Cash(self.balance(token, self.operator)) for token in tokens},
            POSITION: {key: position for key, position in self._positions() if position != Position()},
        }

    def accounts(self) -> list[Key]:
        return [position_key(venue.id, user) for venue in self.venues for user in self.users]

    def judge(self, reports: Sequence[HealthReport]) -> Mapping[Key, Verdict]:
        """The numbers by a harness around Morpho's code, the verdict by Morpho itself."""
        keys = [report.key for report in reports]
        return {k: Verdict(*self.judged(self._venue(k), borrower_of(k)), self._liquidatable(k)) for k in keys}

    def perform(self, calls: Sequence[Call], at: Moment) -> Done:
        before = [self._holdings(venue) for venue in self.venues]
        hashes = [self._submit(Tx(self.operator, call.target, call.data)) for call in calls]
        ref = self.node.mine(at.timestamp)
        receipts = [self.node.rpc("eth_getTransactionReceipt", h) for h in hashes]
        assert (ref.number, ref.timestamp) == (at.number, at.timestamp)
        if any(receipt["status"] != "0x1" for receipt in receipts):
            raise Reverted(f"reverted: {receipts}")
        self.gas_used = sum(int(receipt["gasUsed"], 16) for receipt in receipts)
        gain = sum(self._gain(v, was) for v, was in zip(self.venues, before, strict=True))
        return Done(gain, [bytes.fromhex(h[2:]) for h in hashes])

    def answer(self, call: Call) -> bytes:
        return self._read(call.target, call.data, self.node.head().hash)

    def reverts(self) -> Iterable[tuple[bytes, Reason]]:
        """Of a new world: the market must be calm and liquid."""
        venue, (borrower, saver) = self.venues[0], self.users[:2]
        self.settle(venue, borrower, collateral=venue.unit, part=100)
        self.settle(venue, saver, collateral=venue.unit, part=1)
        self._send([Tx(self.operator, venue.params.loan, call_data("approve(address,uint256)", self.morpho, 2**255))])
        self.set_price(venue, self.price(venue) * 98 // 100)
        book = self.book()
        follow(self, book)
        [offer] = self.offers(book)
        return failures(self, venue, offer, healthy=saver)

    # ── driving it ──

    def mine(self, seconds: int = 12) -> BlockRef:
        return self.node.mine(self.node.head().timestamp + seconds)

    def settle(self, venue: Venue, user: Address, *, collateral: int, part: int) -> None:
        """Give a user collateral and let it borrow ``part`` per cent of what that allows; a block each."""
        pledge = venue.call("supplyCollateral", "uint256,address,bytes", collateral, user, b"")
        self._send([Tx(user, self.morpho, pledge)])
        limit, debt = self.judged(venue, user)
        borrow = venue.call("borrow", TAKING, (limit - debt) * part // 100, 0, user, user)
        self._send([Tx(user, self.morpho, borrow)])

    def set_price(self, venue: Venue, price: int) -> None:
        self._send([Tx(self.owner, venue.params.oracle, call_data("setPrice(uint256)", price))])

    def touch(self, venue: Venue, seconds: int = 12) -> None:
        """Accrue interest."""
        self._send([Tx(self.owner, self.morpho, venue.call("accrueInterest"))], seconds)

    def set_cash(self, venue: Venue, assets: int) -> None:
        mint = call_data("setBalance(address,uint256)", self.operator, assets)
        self._send([Tx(self.owner, venue.params.loan, mint)])

    def offers(self, book: conformance.Book, seconds: int = 12) -> list[Opportunity]:
        return offers(self, book, moment(book.ref, seconds))

    # ── asking it ──

    def ask(self, target: Address, signature: str, *arguments: object) -> bytes:
        """What a view call returns at the head; empty when it reverts."""
        return self.answer(Call(target, call_data(signature, *arguments)))

    def price(self, venue: Venue) -> int:
        return words.uint(self.ask(venue.params.oracle, "price()"), 0)

    def worth(self, venue: Venue) -> int:
        """Loan assets that a unit of collateral is worth."""
        return mul_down(venue.unit, self.price(venue), ORACLE_PRICE_SCALE)

    def balance(self, token: Address, who: Address) -> int:
        return words.uint(self.ask(token, "balanceOf(address)", who), 0)

    def judged(self, venue: Venue, user: Address) -> tuple[int, int]:
        signature = f"judge(address,{PARAMS},address)"
        answer = self.ask(self.harness, signature, self.morpho, venue.params.words(), user)
        return words.uint(answer, 0), words.uint(answer, 1)

    def _totals(self, venue: Venue) -> Totals:
        """A market without rate contract is brought up to date in silence, so that no book can follow it there."""
        answer = self.ask(self.morpho, "market(bytes32)", venue.id)
        totals = Totals(*decode(["uint128"] * 6, answer))
        return replace(totals, last_update=venue.created) if venue.params.irm == NO_IRM else totals

    def _venue(self, position: Key) -> Venue:
        return next(venue for venue in self.venues if market_key(venue.id) == market_of(position))

    def _liquidatable(self, position: Key) -> bool:
        """Whether Morpho has another reason than health to refuse one who owns no tokens."""
        arguments = borrower_of(position), 1, 0, b""
        data = self._venue(position).call("liquidate", "address,uint256,uint256,bytes", *arguments)
        with pytest.raises(Reverted) as error:
            self.node.rpc("eth_call", {"from": self.owner, "to": self.morpho, "data": data}, "latest")
        return error.value.data != words.error("position is healthy")

    def position(self, venue: Venue, user: Address) -> Position:
        answer = self.ask(self.morpho, "position(bytes32,address)", venue.id, user)
        return Position(words.uint(answer, 1), words.uint(answer, 2))

    def _positions(self) -> Iterator[tuple[Key, Position]]:
        for venue in self.venues:
            for user in (*self.users, self.lender, self.rival, self.operator):
                yield position_key(venue.id, user), self.position(venue, user)

    def _holdings(self, venue: Venue) -> tuple[int, int]:
        tokens = venue.params.loan, venue.params.collateral
        return self.balance(tokens[0], self.operator), self.balance(tokens[1], self.operator)

    def _gain(self, venue: Venue, before: tuple[int, int]) -> int:
        loan, collateral = (now - was for now, was in zip(self._holdings(venue), before, strict=True))
        proceeds = mul_down(collateral, self.price(venue), ORACLE_PRICE_SCALE)
        return self.adapter.settings.tokens[venue.params.loan].value(proceeds + loan)

    # ── building it ──

    def _open(self, irm: Address, lltv: int, price: int, unit: int) -> Venue:
        """A market with a fee if it bears interest, liquidity, and users who own and allow whatever it takes."""
        loan, collateral, oracle = self._deploy("ERC20Mock"), self._deploy("ERC20Mock"), self._oracle(price)
        params = Params(loan, collateral, oracle, irm, lltv)
        venue = Venue(params, self.node.head().timestamp + 12, unit)
        everyone = (self.operator, self.lender, self.rival, *self.users)
        self._send([Tx(self.owner, self.morpho, call_data("enableLltv(uint256)", lltv))], seconds=0)
        self._send([Tx(self.owner, self.morpho, call_data(f"createMarket({PARAMS})", params.words()))])
        for token in (loan, collateral):
            self._send(Tx(who, token, call_data("setBalance(address,uint256)", who, 10**30)) for who in everyone)
            users = (who for who in everyone if who != self.operator)
            self._send(Tx(who, token, call_data("approve(address,uint256)", self.morpho, 2**255)) for who in users)
        supply = venue.call("supply", LENDING, 10 * self.worth(venue), 0, self.lender, b"")
        self._send([Tx(self.lender, self.morpho, supply)])
        if irm != NO_IRM:
            self._send([Tx(self.owner, self.morpho, venue.call("setFee", "uint256", WAD // 10))])
        return venue

    def _oracle(self, price: int) -> Address:
        oracle = self._deploy("OracleMock")
        self._send([Tx(self.owner, oracle, call_data("setPrice(uint256)", price))])
        return oracle

    def _deploy(self, name: str, arguments: bytes = b"") -> Address:
        code = bytes.fromhex(self._artifacts[name]["evm"]["bytecode"]["object"]) + arguments
        sent = self.node.rpc("eth_sendTransaction", {"from": self.owner, "data": code, "gas": hex(10_000_000)})
        self.mine()
        return bytes.fromhex(self.node.rpc("eth_getTransactionReceipt", sent)["contractAddress"][2:])

    def _send(self, transactions: Iterable[Tx], seconds: int = 12) -> None:
        """In one block; AssertionError when one of them reverts."""
        hashes = [self._submit(tx) for tx in transactions]
        self.mine(seconds)
        for sent in hashes:
            assert self.node.rpc("eth_getTransactionReceipt", sent)["status"] == "0x1"

    def _submit(self, tx: Tx) -> str:
        fields = {"from": tx.sender, "to": tx.target, "data": tx.data, "gas": hex(GAS), "gasPrice": hex(100 * GWEI)}
        return str(self.node.rpc("eth_sendTransaction", fields))

    def _read(self, target: Address, data: bytes, block: Hash) -> bytes:
        try:
            answer = self.node.rpc("eth_call", {"to": target, "data": data}, {"blockHash": block})
        except Reverted:
            return b""
        return bytes.fromhex(answer[2:])


def _ref(block: Mapping[str, Any]) -> BlockRef:
    names = ("timestamp", "baseFeePerGas", "gasUsed", "gasLimit")
    hash, parent = (bytes.fromhex(block[name][2:]) for name in ("hash", "parentHash"))
    return BlockRef(int(block["number"], 16), hash, parent, *(int(block[name], 16) for name in names))


def _log(log: Mapping[str, Any]) -> Log:
    address, data, tx = (bytes.fromhex(log[name][2:]) for name in ("address", "data", "transactionHash"))
    return Log(address, tuple(bytes.fromhex(t[2:]) for t in log["topics"]), data, tx, int(log["logIndex"], 16))
