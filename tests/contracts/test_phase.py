"""A new parameter set in a house with open accounts: nobody is surprised, and what runs keeps its terms."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from keeper.model import Key, Moment
from keeper.protocols.options.params import PHASE, local
from keeper.protocols.options.risk import Price
from keeper.simulation.node import Anvil
from keeper.units import wad
from tests.worlds.acts import act
from tests.worlds.house import EXPIRIES, SPOTS, House
from tests.worlds.options import DEPTHS, GENESIS

pytestmark = pytest.mark.chain
PUT = (0, EXPIRIES[1], False, 1_900.0, -40.0)
SPOT = list(map(float, SPOTS))
SETS = local(DEPTHS)
HARDER = replace(SETS, risk=replace(SETS.risk, mm_factor=wad(2), im_factor=wad(3)))


@pytest.fixture(scope="module")
def node() -> Iterator[House]:
    with Anvil(timestamp=GENESIS) as anvil:
        house = House(anvil).open()
        for name, dollars in (("whale", 5e6), ("alice", 22_800), ("keeper", 2e6)):
            house.give(name, dollars)
        house.insure(1e6)
        house.ripen(2, SPOT)
        house.trade("alice", "whale", [PUT], -1_500)
        yield house


@pytest.fixture
def house(node: House) -> Iterator[House]:
    with node.undone():
        yield node


def accept(h: House) -> None:
    act(h, "Params", "propose", HARDER.as_abi())
    act(h, "Params", "accept", 2)


def live(h: House, seconds: int) -> None:
    """So long without prices, then prices that stand where they stood; alice's smile all the time."""
    until = h.now + seconds - 20
    while h.now < until:
        h.at(min(until, h.now + 200) - 1)
        h.publish_smile(0, EXPIRIES[1], 650_000)
    h.ripen(20, SPOT)


def refused(h: House) -> str:
    worst = h.health("alice", Price.TRIGGER).worst
    return h.refused("keeper", "Liquidator", "flag", h.account("alice"), worst)


def report(h: House) -> bool:
    """What our adapter says of alice in the next second."""
    at = Moment(h.book.ref.number + 1, h.now + 1, 0)
    return h.adapter.health(h.book, Key("account", h.account("alice")), at).healthy


def test_p2_an_account_is_condemned_only_when_the_pace_has_reached_it(house: House) -> None:
    """22,900 dollars of equity against 15,500 of old and 30,000 of new requirement: about forty minutes."""
    accept(house)
    house.publish(0, SPOT[0])
    minutes = 0
    while refused(house) == "Healthy":
        assert report(house)
        live(house, 300)
        minutes += 5
    assert 25 <= minutes <= 60 and refused(house) == "" and not report(house)
    h = house.health("alice", Price.TRIGGER)
    assert h.equity < h.mm


def test_an_auction_begun_in_a_phase_keeps_the_old_set(house: House) -> None:
    accept(house)
    live(house, 3_600)
    house.flag("alice")
    running = house.state.auction(house.account("alice"))
    assert running and running.version == 1
    assert tuple(house.ask("Liquidator", house.dep.liquidator, "offer", house.account("alice")))[:7] == _offer(house)


def test_after_the_phase_it_has_the_new_one(house: House) -> None:
    accept(house)
    house.at(house.now + PHASE)
    live(house, 40)
    house.flag("alice")
    running = house.state.auction(house.account("alice"))
    assert running and running.version == 2


def test_a6_a_running_auction_keeps_its_terms(house: House) -> None:
    """The price before and after a new set is accepted differs by the seconds that passed, and by nothing else."""
    for spot in (1_800, 1_560):
        house.fall(spot, 40_000)
    house.flag("alice")
    house.ripen(20)
    with house.undone():
        house.at(house.now + 2)
        without = house.ask("Liquidator", house.dep.liquidator, "offer", house.account("alice"))
    accept(house)
    assert house.ask("Liquidator", house.dep.liquidator, "offer", house.account("alice")) == without


def test_initial_margin_follows_at_once(house: House) -> None:
    """Rule 6: who opens risk meets the new set in its first block."""
    args = (house.account("alice"), 0, 1, house.who("alice"))
    assert house.refused("alice", "Clearing", "withdraw", *args) == ""
    accept(house)
    house.publish(0, SPOT[0])
    assert house.refused("alice", "Clearing", "withdraw", *args) == "UnderMargin"


def _offer(h: House) -> tuple[int, ...]:
    o = h.offer("alice")
    return (o.equity, o.mm, o.rho, o.rho_paid, o.price, o.fmax, o.fee)
