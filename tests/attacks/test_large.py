"""Attacks 7 and 14 of the review: one account made into many, and one that is large against its pool."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keeper.protocols.options.risk import Portfolio, Price
from keeper.simulation.node import Anvil
from keeper.units import WAD, wad
from tests.attacks.test_slippage import dump, pooled
from tests.worlds.house import EXPIRIES, House, Leg
from tests.worlds.options import GENESIS, legs

pytestmark = pytest.mark.chain
NEAR, FAR = EXPIRIES[0], EXPIRIES[2]
MANY = 10
SHORT: Leg = (0, FAR, False, 1_900.0, -9_000.0)  # puts on as much as the pool holds on one side


@pytest.fixture(scope="module")
def market() -> Iterator[House]:
    """A giant with the whale on the other side, a fund, and a pool of 20 million on either side."""
    with Anvil(timestamp=GENESIS) as anvil:
        house = House(anvil).open()
        for name, dollars in (("giant", 9e6), ("whale", 4e7), ("rival", 4e7)):
            house.give(name, dollars)
        house.insure(1e6)
        house.ripen(10)
        house.trade("giant", "whale", [SHORT], -600_000)
        pooled(house)
        yield house


@pytest.fixture
def house(market: House) -> Iterator[House]:
    with market.undone():
        yield market


def part(house: House, of: int) -> Portfolio:
    """One of so many equal accounts that hold together what the giant holds."""
    whole = house.holds("giant")
    return Portfolio(whole.cash // of, tuple(leg._replace(size=leg.size // of) for leg in whole.legs), (0, 0, 0))


@pytest.mark.parametrize("mode", [Price.BID, Price.INITIAL])
def test_07_many_accounts_save_the_size_add_on_and_nothing_else(house: House, mode: Price) -> None:
    """No formula sees who owns an account: margin falls by (1 - 1 / n) of the add-on at most, and no money moves."""
    whole, one = house.assess(part(house, 1), mode), house.assess(part(house, MANY), mode)
    convex = whole[3]
    assert convex * 3 > whole[1]  # the add-on is a large part of it
    assert whole[0] - MANY * one[0] == pytest.approx(0, abs=10**6)  # wei: equity is the same
    for requirement in (1, 2):
        saved = whole[requirement] - MANY * one[requirement]
        assert 0 < saved <= convex * (MANY - 1) // MANY + 10**6
    assert MANY * one[3] == pytest.approx(convex / MANY, rel=1e-9)


def test_07_an_early_expiry_is_no_other_account(house: House) -> None:
    """Delta that an early expiry offsets counts in the add-on as if it were not there: it soon is not."""
    puts = part(house, 1).legs
    [(_, n)] = puts
    alone = house.assess(Portfolio(wad(10**7), puts), Price.BID)
    hedge = legs((0, NEAR, False, 2_200.0, -n * 0.4 / WAD))
    later = legs((0, FAR, False, 2_200.0, -n * 0.4 / WAD))
    hedged = house.assess(Portfolio(wad(10**7), tuple(sorted((*puts, *hedge)))), Price.BID)
    netted = house.assess(Portfolio(wad(10**7), tuple(sorted((*puts, *later)))), Price.BID)
    assert hedged[3] == alone[3] > 2 * netted[3]


def test_14_a_large_account_in_a_thin_pool_is_sold_in_slices_and_the_fund_pays_nothing(house: House) -> None:
    """Owner, buyer and the hedger in one hand: what they have at the end is no more than at the beginning."""
    fund, spot = house.state.clearing().fund, 2_000.0
    while house.health("giant", Price.TRIGGER).healthy:
        spot -= 25
        house.fall(spot, 40_000, seconds=60)
    house.flag("giant")
    house.ripen(20)
    before, spent, slices = together(house), 0, 0
    while house.auctioned("giant") and slices < 6:
        exposure = house.health("giant").exposures[0]
        share = min(house.offer("giant").fmax, WAD // 10)
        house.bid("giant", "rival", share)
        slices += 1
        spent += dump(house, exposure * share / WAD / WAD / 4)  # as much as one may want to, in a pool that recovers
        house.ripen(10)
    assert slices >= 2 and not house.auctioned("giant")
    assert house.health("giant").healthy and house.size("giant", SHORT) < 0
    assert together(house) - before - spent <= 0
    assert house.state.clearing().fund > fund


def together(house: House) -> int:
    return sum(house.health(name, Price.SPOT).equity for name in ("giant", "rival"))
