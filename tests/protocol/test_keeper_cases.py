"""Rows K5, K6 and K10 of section 5: the keeper's own margin, what changes after a simulation, and a paused protocol."""

from __future__ import annotations

import pytest

from keeper.core import health
from keeper.errors import Reverted
from keeper.model import Bid, Call, Kind, Moment, Opportunity, Reason
from keeper.units import WAD, wad
from tests.protocol.conftest import PUT
from tests.worlds.house import House

pytestmark = pytest.mark.chain


def seen(house: House, kind: Kind) -> Opportunity:
    """What the adapter says of Alice for the next block."""
    at = Moment(house.node.head().number + 1, house.now + 1, 10**9)
    reports = health.condemned(house.adapter, house.book, at)
    [found] = [
        o
        for o in house.adapter.opportunities(house.book, reports, at)
        if o.kind is kind and o.key.id == house.account("alice")
    ]
    return found


def sunk(house: House, dollars: float) -> House:
    """Alice for sale, and so much in the adapter's own account."""
    give_own(house, dollars)
    house.fall(1_400.0, 40_000)
    house.flag("alice")
    house.ripen(20)
    return house


def give_own(house: House, dollars: float) -> None:
    own, native = house.governor, round(dollars * 10**6)
    for to, call in (
        (house.dep.tokens[0], house.c["Token"].call("mint", own, native)),
        (house.dep.tokens[0], house.c["Token"].call("approve", house.dep.clearing, native)),
        (house.dep.clearing, house.c["Clearing"].call("deposit", int.from_bytes(own), 0, native)),
    ):
        house.send(own, to, call)


def outcome(house: House, call: Call) -> Reason | None:
    """What the adapter makes of the answer to this call in the next block; None: it succeeds."""
    request = {"from": house.governor, "to": call.target, "data": call.data}
    time = {"time": hex(house.now + 1), "number": hex(house.node.head().number + 1)}
    try:
        house.node.rpc("eth_call", request, "latest", {}, time)
    except Reverted as error:
        return house.adapter.explain(error.data)
    return None


def buying(house: House, o: Opportunity, floor: int) -> Call:
    [call] = [c for c in house.adapter.calls(Bid(o, floor=floor)) if c.target == house.dep.liquidator]
    return call


def test_k5_near_its_own_initial_margin_the_keeper_bids_for_less_and_then_not_at_all(house: House) -> None:
    fractions = []
    for dollars in (1_000_000, 20_000, 2_000, 1):
        with house.undone():
            o = seen(sunk(house, dollars), Kind.BID)
            fractions.append(o.plan.fraction if o.refusal is None else 0)
            assert (o.refusal is Reason.CAPITAL_RESERVED) == (not fractions[-1])
            if fractions[-1]:
                assert outcome(house, buying(house, o, 0)) is None  # and the contract agrees
    assert fractions == sorted(fractions, reverse=True) and len({*fractions}) == 4 and fractions[-1] == 0


def test_k6_what_changed_after_the_simulation_is_not_bought(house: House) -> None:
    o = seen(sunk(house, 1_000_000), Kind.BID)
    call, dear = buying(house, o, 0), buying(house, o, o.gain * 2)
    assert outcome(house, call) is None
    assert outcome(house, dear) is Reason.AUCTION_PRICE_HIGH
    with house.undone():
        house.give("alice", 1.0)
        assert outcome(house, call) is Reason.OUTBID
    with house.undone():
        house.bid("alice", "rival", most=wad("0.1"))
        assert outcome(house, call) is Reason.OUTBID
    before = house.size("alice", PUT)
    house.fall(1_600.0, 40_000, seconds=20)  # what looked cheap is dear: the limit was for the account as it was
    assert outcome(house, call) is Reason.AUCTION_PRICE_HIGH and house.size("alice", PUT) == before


@pytest.mark.parametrize("level", [1, 2, 3])
def test_k10_while_the_protocol_is_paused_nothing_forbidden_is_offered(house: House, level: int) -> None:
    house.fall(1_400.0, 40_000)
    with house.undone():
        house.govern("Oracle", "raise", level)
        assert (seen(house, Kind.FLAG).refusal is Reason.MARKET_PAUSED) == (level >= 2)
        args = (house.account("alice"), house.health("alice").worst)
        assert (house.refused("keeper", "Liquidator", "flag", *args) == "Level") == (level >= 2)
    house.flag("alice")
    give_own(house, 1_000_000)
    house.ripen(20)
    house.govern("Oracle", "raise", level)
    o = seen(house, Kind.BID)
    assert (o.refusal is Reason.MARKET_PAUSED) == (level == 3)
    assert level == 3 or o.plan.fraction > WAD // 100
