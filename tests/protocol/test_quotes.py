"""The risk auctioneer on the deployed contracts: an option for an account in auction, instead of its sale."""

from __future__ import annotations

import pytest

from keeper.core import health
from keeper.model import Kind, Liquidate, Moment, Opportunity
from keeper.units import WAD
from strategies.quote import Quote
from tests.protocol.conftest import PUT
from tests.worlds.house import House, words

pytestmark = pytest.mark.chain


def sunk(house: House, seconds: int = 30) -> House:
    house.fall(1_450.0, 40_000)
    house.flag("alice")
    house.ripen(seconds)
    return house


def quote(house: House) -> Opportunity | None:
    at = Moment(house.node.head().number + 1, house.now + 1, 10**9)
    reports = health.condemned(house.adapter, house.book, at)
    found = house.adapter.opportunities(house.book, reports, at)
    return next((o for o in found if o.kind is Kind.QUOTE), None)


def test_the_keeper_insures_an_account_and_its_auction_ends(house: House) -> None:
    house.give("rich", 1.0)
    provider = house.adapter.settings.account
    native = 2_000_000 * 10**6
    house.send(house.governor, house.dep.tokens[0], house.c["Token"].call("mint", house.governor, native))
    house.send(house.governor, house.dep.tokens[0], house.c["Token"].call("approve", house.dep.clearing, native))
    house.send(house.governor, house.dep.clearing, house.c["Clearing"].call("deposit", provider, 0, native))
    sunk(house)
    o = quote(house)
    assert o is not None
    decision = Quote(min_profit=0).decide(o)
    assert isinstance(decision, Liquidate)
    before = house.health("alice", later=1)
    [call] = house.adapter.calls(decision)
    house.send(house.governor, call.target, call.data)
    after, p = house.health("alice"), house.params.auction
    assert not house.auctioned("alice") and after.equity * WAD >= after.mm * (WAD + p.buffer // 5)
    assert before.equity - after.equity == pytest.approx(o.gain, rel=1e-3)  # the owner pays what was asked beyond value
    assert o.gain <= before.mm * p.rho1 // WAD  # and less than a sale would have cost
    assert house.size("alice", PUT) + house.size("whale", PUT) < 0  # its shorts stay, its long puts are new
    assert house.total() == house.backed()


def test_what_a_provider_may_not_do(house: House) -> None:
    sunk(house)
    alice, rival, change = house.account("alice"), house.account("rival"), house.change("alice")
    whole = words([(*PUT[:4], 100.0)])
    value = -house.assess(house.holds("alice"), 2)[0] + house.holds("alice").cash

    def refused(name: str, *args: object) -> str:
        return house.refused(name, "Quotes", "cover", *args)

    assert refused("eve", alice, rival, whole, 0, change) == "Unauthorised"
    assert refused("alice", alice, house.account("alice/1"), whole, 0, change) == "SelfBid"
    assert refused("rival", alice, rival, words([PUT]), 0, change) == "NotLong"
    assert refused("rival", alice, rival, whole, 0, change - 1) == "ChangedMeanwhile"
    assert refused("rival", alice, rival, whole, value * 2, change) == "TooDear"
    assert refused("rival", alice, rival, words([(*PUT[:4], 1.0)]), 0, change) == "NotRestored"
    assert refused("rival", house.account("whale"), rival, whole, 0, house.change("whale")) == "NotFlagged"
    assert refused("poor", alice, house.account("poor"), whole, value, change) == "UnderMargin"


def test_early_in_an_auction_a_provider_must_be_cheap(house: House) -> None:
    """At rho = 0 nothing may be asked beyond the value."""
    sunk(house, seconds=12)
    early = quote(house)
    house.ripen(40)
    late = quote(house)
    assert late is not None and (early is None or early.gain < late.gain)
