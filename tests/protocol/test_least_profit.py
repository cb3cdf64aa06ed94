"""Quotes and awards through a desk: the bytes say what they must bring, the guard reads it, and the desk holds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from keeper.core import health
from keeper.core.book import Book
from keeper.errors import Reverted
from keeper.model import Address, Bid, Call, Kind, Liquidate, Moment, Opportunity
from keeper.protocols.abi import load
from keeper.protocols.desk import RULES, terms, through
from keeper.protocols.options.adapter import GRAIN, Options
from keeper.protocols.options.records import State
from keeper.simulation.node import Anvil
from keeper.units import WAD, wad
from strategies.quote import Quote
from strategies.sealed import Sealed
from tests.protocol.conftest import PUT
from tests.protocol.test_sealed import COMMIT, REVEAL, SECRET, commit, reveal, wait
from tests.worlds.house import House
from tests.worlds.options import GENESIS

pytestmark = pytest.mark.chain
DESK = load("keeper.protocols.options")["Desk"]
FOREVER = 2**40


@pytest.fixture(scope="module")
def market() -> Iterator[House]:
    """Alice has sold puts and was flagged; ann and a desk of ours may bid unseen, and the desk has two million."""
    with Anvil(timestamp=GENESIS) as anvil:
        house = House(anvil)
        a = replace(house.sets.auction, commit_time=COMMIT, reveal_time=REVEAL, dust=0)
        house.govern("Params", "propose", replace(house.sets, auction=a).as_abi())
        house.govern("Params", "accept", 2)
        house.open()
        behind(house, desk(house))
        for name, dollars in (("whale", 5e6), ("alice", 60_000), ("ann", 1e6)):
            house.give(name, dollars)
        endow(house, 2_000_000)
        for who in (house.who("ann"), house.adapter.settings.desk):
            house.govern("Sealed", "invite", who, True)
        house.ripen(10)
        house.trade("alice", "whale", [PUT], -6_700)
        house.fall(1_450.0, 40_000)
        house.flag("alice")
        yield house


@pytest.fixture
def house(market: House) -> Iterator[House]:
    with market.undone():
        yield market


def desk(house: House) -> Address:
    """A desk of the governor, who may also act for it, with everything listed that a keeper does."""
    data = DESK.bytecode + house.governor.rjust(32, b"\0")
    sent = house.node.rpc("eth_sendTransaction", {"from": house.governor, "data": data, "gas": hex(16_000_000)})
    house.at(house.now + 1)
    found = bytes.fromhex(house.node.rpc("eth_getTransactionReceipt", sent)["contractAddress"][2:])
    house.driver.nonces.clear()
    house.send(house.governor, found, DESK.call("setOperator", house.governor, True))
    for contract, function in RULES:
        to = house.dep.pools[0] if contract == "SpotPool" else getattr(house.dep, contract.lower())
        house.send(
            house.governor, found, DESK.call("allow", to, house.c[contract].functions[function].selector, True, [])
        )
    return found


def endow(house: House, dollars: int) -> None:
    """Mint, and deposit into the desk's account."""
    own, token, native = house.adapter.settings.desk, house.dep.tokens[0], dollars * 10**6
    house.send(house.governor, token, house.c["Token"].call("mint", own, native))
    for to, data in (
        (token, house.c["Token"].call("approve", house.dep.clearing, native)),
        (house.dep.clearing, house.c["Clearing"].call("deposit", int.from_bytes(own), 0, native)),
    ):
        house.send(house.governor, own, DESK.call("asOwner", to, data))


def behind(house: House, desk: Address) -> None:
    """The book anew, for a keeper that acts through this desk."""
    ours = replace(house.adapter.settings, account=int.from_bytes(desk), desk=desk)
    house.adapter = Options(ours, SECRET, 31337)
    house.book = Book(house.adapter, house._ref(0))
    house.state = State(house.book)
    house.follow()


def offer(house: House, kind: Kind) -> Opportunity:
    at = Moment(house.node.head().number + 1, house.now + 1, 10**9)
    reports = health.condemned(house.adapter, house.book, at)
    [found] = [o for o in house.adapter.opportunities(house.book, reports, at) if o.kind is kind]
    return found


def ran(house: House, decision: Bid | Liquidate) -> Call:
    calls, floors = house.adapter.calls(decision), house.adapter.floors(decision)
    return through(house.adapter.settings.desk)(calls, FOREVER, floors)


def gain(house: House, call: Call) -> int | None:
    """What the guard reads in it."""
    return terms(call.data, house.adapter.worths).gain


def done(house: House, call: Call) -> str:
    """Carried out, or with which error the desk refuses."""
    with house.undone():
        request = {"from": house.governor, "to": call.target, "data": call.data, "gas": hex(16_000_000)}
        later = {"time": hex(house.now + 1), "number": hex(house.node.head().number + 1)}
        try:
            house.node.rpc("eth_call", request, "latest", {}, later)
        except Reverted as error:
            found = DESK.error(error.data)
            return found[0] if found else str(error)
        return "done"


def act(house: House, kind: Kind) -> Opportunity:
    """Do it as it is offered, for half of what it could bring."""
    o = offer(house, kind)
    call = ran(house, Bid(o, floor=o.gain // 2))
    house.send(house.governor, call.target, call.data)
    return o


def won(house: House) -> Opportunity:
    """Ours is the lowest of two sealed bids, and both are open."""
    act(house, Kind.COMMIT)
    commit(house, "ann", "0.1", "0.1")
    wait(house, COMMIT + 1)
    act(house, Kind.REVEAL)
    reveal(house, "ann", "0.1", "0.1")
    wait(house, COMMIT + REVEAL + 1)
    return offer(house, Kind.AWARD)


@pytest.mark.fault("T41", "A08", "P01")
def test_a_quote_is_held_to_what_is_asked_beyond_its_value(house: House) -> None:
    house.ripen(30)
    o = offer(house, Kind.QUOTE)
    decided = Quote(min_profit=0).decide(o)
    assert isinstance(decided, Liquidate)
    assert decided.floor == o.costs.total > 0
    assert gain(house, ran(house, decided)) == decided.floor - GRAIN
    assert done(house, ran(house, decided)) == "done"
    assert done(house, ran(house, replace(decided, floor=o.gain - o.gain // 1000))) == "done"
    assert done(house, ran(house, replace(decided, floor=o.gain + o.gain // 1000))) == "BelowFloor"
    bare = through(house.adapter.settings.desk)(house.adapter.calls(decided), FOREVER)
    with pytest.raises(ValueError, match="nothing says what that must bring"):
        gain(house, bare)


@pytest.mark.fault("T41", "A08", "P01")
def test_an_award_is_held_to_what_it_brings_beyond_our_own_bond(house: House) -> None:
    o = won(house)
    decided = Bid(o, floor=o.gain - o.gain // 1000)
    assert o.plan.bond > 0 and o.gain > 10**18
    assert gain(house, ran(house, decided)) == decided.floor - o.costs.slippage + o.plan.bond - GRAIN
    assert done(house, ran(house, decided)) == "done"
    for more in (o.gain // 1000, o.plan.bond // 2):
        assert done(house, ran(house, replace(decided, floor=o.gain + more))) == "BelowFloor"
    bare = through(house.adapter.settings.desk)(house.adapter.calls(decided), FOREVER)
    with pytest.raises(ValueError, match="nothing says what that must bring"):
        gain(house, bare)


def test_what_a_strategy_asks_of_an_award(house: House) -> None:
    """Costs and half of what is left, and nothing where nothing is."""
    o = won(house)
    rich, poor = replace(o, gain=o.costs.total + 10 * WAD), replace(o, gain=o.costs.total)
    assert Sealed().decide(rich) == Bid(rich, floor=o.costs.total + wad(5))
    assert not isinstance(Sealed().decide(poor), Bid)
