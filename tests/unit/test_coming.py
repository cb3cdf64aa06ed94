"""When the next price is due: the rule, and what the pool says."""

from __future__ import annotations

import pytest

from keeper.protocols.publishing import Rule, due
from keeper.simulation.publisher import Rule as Published
from keeper.simulation.publisher import SpotFeed
from keeper.units import wad

RULE = Rule(wad("0.005"), 60)


@pytest.mark.parametrize(
    ("price", "age", "wanted"),
    [
        (100_000, 0, False),
        (100_499, 59, False),
        (100_500, 1, True),  # half a per cent
        (99_500, 1, True),
        (99_501, 59, False),
        (100_000, 60, True),  # the heartbeat
    ],
)
def test_deviation_or_heartbeat(price: int, age: int, wanted: bool) -> None:
    assert due(RULE, 100_000, 1_000, price, 1_000 + age) is wanted
    publisher = SpotFeed(0, Published(deviation=5_000, heartbeat=60))
    publisher.publish(1_000, 100_000)
    assert publisher.due(1_000 + age, price) is wanted
