"""What each event of Morpho Blue changes in the book, in the words of ``EventsLib.sol``.

``AccrueInterest`` carries no time: its block does. It is not emitted when no time has passed since the last
accrual, nor by a market without rate contract, and each time it precedes the event of the action that caused it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from keeper.errors import AdapterFault
from keeper.model import Address, BlockRef, Delta, Fact, Hash, Key, Log
from keeper.ports import View
from keeper.protocols.morpho_blue.maths import RATES, Totals
from keeper.protocols.morpho_blue.records import Market, Params, Position, market_key, position_key
from keeper.protocols.morpho_blue.settings import Settings
from keeper.protocols.words import address, uint

Changes = Iterator[Delta | Fact]
LIQUIDATED: Final = "liquidated"  # the one fact: what was repaid, burned, seized and lost, in smallest units


@dataclass(frozen=True, slots=True)
class Event:
    """One log of Morpho's, with what is needed to understand it."""

    settings: Settings
    view: View
    log: Log
    ref: BlockRef

    @property
    def market_id(self) -> Hash:
        return self.log.topics[1]

    @property
    def market(self) -> Market:
        """The market as the book has it. AdapterFault when the book was started too late to have seen it created."""
        market = self.view.get(market_key(self.market_id))
        if not isinstance(market, Market):
            raise AdapterFault(
                f"market 0x{self.market_id.hex()} was not seen when it was created",
                help="set `since` to the block in which Morpho was deployed, or an earlier one",
            )
        return market

    def topic(self, i: int) -> Address:
        return self.log.topics[i][12:]

    def word(self, i: int) -> int:
        return uint(self.log.data, i)

    def set_market(self, **fields: Any) -> Changes:
        return change(self.view, market_key(self.market_id), replace(self.market, **fields))

    def add_totals(self, **amounts: int) -> Changes:
        """Add signed amounts to the market's totals."""
        totals = self.market.totals
        return self.set_market(totals=replace(totals, **{k: getattr(totals, k) + v for k, v in amounts.items()}))

    def add_position(self, who: Address, shares: int = 0, collateral: int = 0) -> Changes:
        """Add signed amounts to a position; one with nothing left in it is gone."""
        key = position_key(self.market_id, who)
        old = self.view.get(key) or Position()
        new = Position(old.shares + shares, old.collateral + collateral)
        return change(self.view, key, None if new == Position() else new)


def change(view: View, key: Key, after: Any) -> Changes:
    """The difference to the book, if there is one."""
    before = view.get(key)
    if before != after:
        yield Delta(key, before, after)


def _create_market(e: Event) -> Changes:
    loan, collateral, oracle, irm = (address(e.log.data, i) for i in range(4))
    params = Params(loan, collateral, oracle, irm, lltv=e.word(4))
    yield from change(e.view, market_key(e.market_id), Market(params, Totals(last_update=e.ref.timestamp)))


def _set_fee(e: Event) -> Changes:
    yield from e.set_market(totals=replace(e.market.totals, fee=e.word(0)))


def _accrue_interest(e: Event) -> Changes:
    """Takes the chain's word for the interest, and remembers a rate that the configured model does not give."""
    market, interest = e.market, e.word(1)
    totals = replace(
        market.totals,
        supply_assets=market.totals.supply_assets + interest,
        supply_shares=market.totals.supply_shares + e.word(2),
        borrow_assets=market.totals.borrow_assets + interest,
        last_update=e.ref.timestamp,
    )
    irm = e.settings.irm(market.params.irm)
    surprise = irm is not None and RATES[irm](market.totals) != e.word(0)
    yield from e.set_market(totals=totals, disputed=market.disputed or surprise)


def _supply(e: Event) -> Changes:
    yield from e.add_totals(supply_assets=e.word(0), supply_shares=e.word(1))


def _withdraw(e: Event) -> Changes:
    yield from e.add_totals(supply_assets=-e.word(1), supply_shares=-e.word(2))


def _borrow(e: Event) -> Changes:
    assets, shares = e.word(1), e.word(2)
    yield from e.add_totals(borrow_assets=assets, borrow_shares=shares)
    yield from e.add_position(e.topic(2), shares=shares)


def _repay(e: Event) -> Changes:
    shares = e.word(1)
    assets = min(e.word(0), e.market.totals.borrow_assets)  # may be 1 more than all that is owed
    yield from e.add_totals(borrow_assets=-assets, borrow_shares=-shares)
    yield from e.add_position(e.topic(3), shares=-shares)


def _supply_collateral(e: Event) -> Changes:
    yield from e.add_position(e.topic(3), collateral=e.word(0))


def _withdraw_collateral(e: Event) -> Changes:
    yield from e.add_position(e.topic(2), collateral=-e.word(1))


def _liquidate(e: Event) -> Changes:
    repaid, repaid_shares, seized, bad_assets, bad_shares = (e.word(i) for i in range(5))
    borrower, gone = e.topic(3), repaid_shares + bad_shares
    assets = min(repaid, e.market.totals.borrow_assets)  # may be 1 more than all that is owed
    yield from e.add_totals(supply_assets=-bad_assets, borrow_assets=-assets - bad_assets, borrow_shares=-gone)
    yield from e.add_position(borrower, shares=-gone, collateral=-seized)
    amounts = {"repaid": repaid, "repaid_shares": repaid_shares, "seized": seized, "bad_debt": bad_assets}
    yield Fact(LIQUIDATED, position_key(e.market_id, borrower), e.topic(2), e.log.tx_hash, amounts)


# by keccak256 of the event's signature; written out so that nothing is hashed on import, and checked in the tests
HANDLERS: Final[Mapping[Hash, Callable[[Event], Changes]]] = {
    bytes.fromhex(topic): handler
    for topic, handler in (
        ("ac4b2400f169220b0c0afdde7a0b32e775ba727ea1cb30b35f935cdaab8683ac", _create_market),
        ("139d6f58e9a127229667c8e3b36e88890a66cfc8ab1024ddc513e189e125b75b", _set_fee),
        ("9d9bd501d0657d7dfe415f779a620a62b78bc508ddc0891fbbd8b7ac0f8fce87", _accrue_interest),
        ("edf8870433c83823eb071d3df1caa8d008f12f6440918c20d75a3602cda30fe0", _supply),
        ("a56fc0ad5702ec05ce63666221f796fb62437c32db1aa1aa075fc6484cf58fbf", _withdraw),
        ("570954540bed6b1304a87dfe815a5eda4a648f7097a16240dcd85c9b5fd42a43", _borrow),
        ("52acb05cebbd3cd39715469f22afbf5a17496295ef3bc9bb5944056c63ccaa09", _repay),
        ("a3b9472a1399e17e123f3c2e6586c23e504184d504de59cdaa2b375e880c6184", _supply_collateral),
        ("e80ebd7cc9223d7382aab2e0d1d6155c65651f83d53c8b9b06901d167e321142", _withdraw_collateral),
        ("a4946ede45d0c6f06a0f5ce92c9ad3b4751452d2fe0e25010783bcab57a67e41", _liquidate),
    )
}


def absorb(settings: Settings, view: View, log: Log, ref: BlockRef) -> Changes:
    """What a log changes; nothing when it is another contract's or market's, or an event that moves no record."""
    handler = HANDLERS.get(log.topics[0]) if log.address == settings.morpho and log.topics else None
    if handler and settings.lists(log.topics[1]):
        yield from handler(Event(settings, view, log, ref))
