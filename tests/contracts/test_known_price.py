"""O9: a price that is known before it is published, and both sides of the trade in one hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.protocols.options.risk import Price
from keeper.simulation.node import Anvil
from keeper.units import WAD
from tests.worlds.house import EXPIRIES, SPOTS, House
from tests.worlds.options import GENESIS

pytestmark = pytest.mark.chain
STRADDLE = [(0, EXPIRIES[1], call, 2_000.0, -40.0) for call in (True, False)]
PUTS = [(0, EXPIRIES[0], False, 1_950.0, -60.0)]
BOOKS = {"straddle": STRADDLE, "puts of a day": PUTS}
TRIP = 0.149


@pytest.fixture(scope="module", params=BOOKS)
def house(request: pytest.FixtureRequest) -> Iterator[House]:
    """Mallory sells to Mallet, her other name, and leaves no more than the initial margin."""
    with Anvil(timestamp=GENESIS) as anvil:
        h = House(anvil).open()
        for name in ("mallory", "mallet"):
            h.give(name, 5e5)
        h.insure(1e6)
        h.ripen(2, SPOTS)
        h.trade("mallory", "mallet", BOOKS[request.param])
        now = h.health("mallory", Price.INITIAL)
        spare = (now.equity - now.im) * 999 // 1000 * 10**6 // WAD
        h.do("mallory", "Clearing", "withdraw", h.account("mallory"), 0, spare, h.who("mallory"))
        yield h


def wealth(h: House) -> int:
    """Equity of both, at the price of the last message, usd."""
    return sum(h.health(name, Price.SPOT).equity for name in ("mallory", "mallet"))


def attack(h: House, drift: float, move: float, wait: int) -> bool:
    """The market drifts; Mallory knows the next print, flags herself on it and buys herself. Whether she got so far.

    The fund, the only other party, is no poorer, and the two of them no richer.
    """
    h.ripen(60, (SPOTS[0] * (1 + drift), float(SPOTS[1])))
    spots = (SPOTS[0] * (1 + drift) * (1 + move), float(SPOTS[1]))
    h.publish(0, spots[0])
    if flag_refused(h):
        h.ripen(60, spots)  # once the mark has followed
    if flag_refused(h):
        return False
    h.do("mallet", "Liquidator", "flag", h.account("mallory"), h.health("mallory", Price.TRIGGER).worst)
    h.ripen(wait, spots)
    bid = ("Liquidator", "bid", h.account("mallory"), h.account("mallet"), WAD, 10**40, h.change("mallory"))
    if h.refused("mallet", *bid):
        return False
    before, fund = wealth(h), h.state.clearing().fund
    with h.undone():
        h.at(h.now + 1)
        idle = wealth(h)  # what the second itself does to the value of options
    h.do("mallet", *bid)
    assert wealth(h) <= max(before, idle) + 10**12
    assert h.state.clearing().fund >= fund
    return True


def flag_refused(h: House) -> str:
    worst = h.health("mallory", Price.TRIGGER).worst
    return h.refused("mallet", "Liquidator", "flag", h.account("mallory"), worst)


MOVES = st.floats(-TRIP, TRIP)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(drift=MOVES, move=MOVES, wait=st.integers(6, 60))
def test_o9_opening_before_a_known_price_and_liquidating_oneself_gains_nothing(
    house: House, drift: float, move: float, wait: int
) -> None:
    with house.undone():
        attack(house, drift, move, wait)


@pytest.mark.parametrize("move", [-0.14, -0.145])
def test_o9_the_attack_comes_as_far_as_it_can(house: House, move: float) -> None:
    with house.undone():
        assert attack(house, -0.14, move, 20)


@pytest.mark.parametrize("move", [-0.16, -0.4, 0.16, 0.9])
def test_o9_beyond_the_trip_nobody_is_flagged_on_the_first_print(house: House, move: float) -> None:
    with house.undone():
        house.publish(0, SPOTS[0] * (1 + move))
        worst = house.health("mallory", Price.TRIGGER).worst
        assert house.refused("mallet", "Liquidator", "flag", house.account("mallory"), worst) == "Level"
