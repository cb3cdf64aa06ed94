"""One market for all tests of a module; each test's deeds are undone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keeper.simulation.node import Anvil
from tests.worlds.house import EXPIRIES, House, Leg
from tests.worlds.options import GENESIS

PUT: Leg = (0, EXPIRIES[2], False, 1900.0, -100.0)  # what Alice is short


@pytest.fixture(scope="module")
def market() -> Iterator[House]:
    """Alice has sold puts to three others; the keeper, the rival and the whale have cash."""
    with Anvil(timestamp=GENESIS) as anvil:
        house = House(anvil).open()
        for name, dollars in (("whale", 5e6), ("small", 60_000), ("tiny", 25_000), ("alice", 60_000)):
            house.give(name, dollars)
        house.give("keeper", 1e6)
        house.give("rival", 1e6)
        house.ripen(10)
        house.trade("alice", "whale", [(*PUT[:4], -85.0)], -5_700)
        house.trade("alice", "small", [(*PUT[:4], -10.0)], -670)
        house.trade("alice", "tiny", [(*PUT[:4], -5.0)], -330)
        yield house


@pytest.fixture
def house(market: House) -> Iterator[House]:
    with market.undone():
        yield market
