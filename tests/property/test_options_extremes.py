"""G3, O12: over the full range that messages and series may have, nothing reverts and the tellings agree."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.protocols.options.components import components
from keeper.protocols.options.oracle import LOCAL
from keeper.protocols.options.records import Leg
from keeper.protocols.options.risk import Market, Portfolio, Price
from keeper.simulation.node import Anvil
from keeper.units import YEAR
from tests.worlds.acts import price, smile
from tests.worlds.options import GENESIS, OptionsWorld

pytestmark = pytest.mark.chain
MOST_SPOT = 2**50 - 1  # 8 decimals
INT32 = st.integers(-(2**31), 2**31 - 1)
EDGY = st.one_of(INT32, st.sampled_from((-(2**31), -1, 0, 1, 2**31 - 1)), st.integers(-300_000, 300_000))


@pytest.fixture(scope="module")
def world() -> Iterator[OptionsWorld]:
    with Anvil(timestamp=GENESIS) as node:
        w = OptionsWorld(node)
        w.open_markets()
        yield w


def wide(low: int, high: int) -> st.SearchStrategy[int]:
    """Every order of magnitude alike, and the ends."""
    powers = st.integers(low.bit_length(), high.bit_length()).flatmap(
        lambda bits: st.integers(max(low, 1 << max(0, bits - 1)), min(high, (1 << bits) - 1) if bits else high)
    )
    return st.one_of(powers, st.sampled_from((low, high)))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spot=wide(1, MOST_SPOT),
    strikes=st.lists(wide(1, 2**64 - 1), min_size=1, max_size=3, unique=True),
    size=wide(1, 10**27),
    atm=wide(1, 5 * 10**6),
    shape=st.tuples(EDGY, EDGY, st.one_of(st.integers(-(10**6), 10**6), st.sampled_from((-(10**6), 10**6)))),
    left=wide(2, 4 * YEAR // 60 - 2),
    late=st.one_of(st.integers(0, 100), st.integers(0, 4 * YEAR)),
    mode=st.sampled_from(Price),
)
def test_g3_anything_that_may_be_published_can_be_valued(
    world: OptionsWorld,
    spot: int,
    strikes: list[int],
    size: int,
    atm: int,
    shape: tuple[int, int, int],
    left: int,
    late: int,
    mode: Price,
) -> None:
    with world.undone():
        oracle, call = world.dep.oracle, world.c["Oracle"].call
        expiry = (world.now // 60 + 1 + left) * 60
        world.at(world.now + 1)
        world.send(world.publisher, oracle, call("publishSmile", *smile(world, 0, expiry, atm, *shape)))
        world.send(world.publisher, oracle, call("publish", *price(world, 0, spot / 10**8)))
        world.at(world.now + late)
        legs = [
            Leg(expiry << 72 | int(is_call) << 64 | strike, sign * size)
            for strike in strikes
            for is_call, sign in ((True, -1), (False, 1 if strike % 2 else -1))
        ]
        pf = Portfolio(-size, tuple(sorted(legs)), (0, size, 0))
        market = Market(world.state, world.params.risk, world.now, mode)
        ours, theirs = market.assess(pf), world.assess(pf, mode)
        assert (ours.equity, ours.mm, ours.im, ours.convex, ours.loss, ours.worst) == theirs[:6]
        assert ours.stale == (world.now - _time(world) > LOCAL.max_age)
        parts = components(market, pf)
        assert parts.delta + parts.gamma + parts.vega + parts.remainder == parts.loss


def _time(w: OptionsWorld) -> int:
    feed = w.state.feed(0)
    assert feed is not None
    return feed.time
