"""A14: every leg of an account is settled while it is for sale; what is left needs nothing and is cured."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keeper.model import Key, Moment
from keeper.protocols.options import auction
from keeper.simulation.node import Anvil
from keeper.units import WAD
from tests.worlds.house import EXPIRIES, House, Leg
from tests.worlds.options import GENESIS

pytestmark = pytest.mark.chain

PUT: Leg = (0, EXPIRIES[0], False, 1900.0, -100.0)


@pytest.fixture
def house() -> Iterator[House]:
    with Anvil(timestamp=GENESIS) as node:
        house = House(node).open()
        for name, dollars in (("whale", 5e6), ("alice", 60_000)):
            house.give(name, dollars)
        house.trade("alice", "whale", [PUT], -6_000)
        yield house


def test_a_keeper_looks_at_it_and_only_a_cure_is_left(house: House) -> None:
    house.fall(1450.0, 40_000.0)
    house.flag("alice")
    house.skip(EXPIRIES[0] - 70, (2_000.0, 40_000.0))
    house.ripen(100)
    house.do("anyone", "Clearing", "settle", house.account("alice"))
    assert house.holds("alice").legs == ()
    offer, record = house.offer("alice"), house.state.auction(house.account("alice"))
    assert (offer.mm, offer.fmax) == (0, 0) and offer.equity > 0 and record is not None
    args = (house.account("alice"), house.account("whale"), WAD, 10**40, house.change("alice"))
    assert house.refused("whale", "Liquidator", "bid", *args) == "NothingToDo"
    assert house.refused("whale", "Liquidator", "standing", house.account("alice")) == ""
    assert house.refused("whale", "Liquidator", "offer", house.account("alice")) == ""
    at = Moment(house.book.ref.number + 1, house.now + 4, 0)
    report = house.adapter.health(house.book, Key("account", house.account("alice")), at)
    assert report.healthy
    list(house.adapter.opportunities(house.book, [report], at))
    house.do("anyone", "Liquidator", "cure", house.account("alice"))
    assert not house.auctioned("alice")


def test_without_a_requirement_nothing_or_everything_is_for_sale(house: House) -> None:
    p = house.params.auction
    assert auction.fmax(equity=1, mm=0, convex=0, rho=0, p=p) == 0
    assert auction.fmax(equity=0, mm=0, convex=0, rho=0, p=p) == 0  # rule 13: only a deficit goes on
    assert auction.fmax(equity=-1, mm=0, convex=0, rho=p.rho2, p=p) == WAD
