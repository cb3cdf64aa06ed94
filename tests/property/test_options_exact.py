"""The Python telling of the clearing house equals the contract to the wei."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.model import Key, Moment
from keeper.protocols.options.columns import Columns
from keeper.protocols.options.params import local
from keeper.protocols.options.records import Account
from keeper.protocols.options.risk import Market, Portfolio, Price
from keeper.simulation.node import Anvil
from keeper.units import wad
from tests.worlds.options import DEPTHS, EXPIRIES, GENESIS, SPOTS, OptionsWorld, legs

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def world() -> Iterator[OptionsWorld]:
    """Scenarios that volatility stretches, smiles that are stale as often as not."""
    shipped = local(DEPTHS)
    with Anvil(timestamp=GENESIS) as node:
        w = OptionsWorld(node, replace(shipped, risk=replace(shipped.risk, stress_cap=wad("1.5"))))
        w.open_markets()
        yield w


@st.composite
def portfolios(draw: st.DrawFn) -> Portfolio:
    legs_ = draw(
        st.lists(
            st.tuples(
                st.sampled_from((0, 1)),
                st.sampled_from(EXPIRIES),
                st.booleans(),
                st.integers(40, 250),
                st.integers(-500_000, 500_000),
            ),
            max_size=8,
            unique_by=lambda leg: leg[:4],
        )
    )
    scaled = [(u, e, c, SPOTS[u] * k / 100, n / 1000) for u, e, c, k, n in legs_ if n]
    cash = draw(st.integers(-(10**24), 10**25))
    collateral = draw(st.tuples(st.just(0), st.integers(0, 10**21), st.integers(0, 10**19)))
    return Portfolio(cash, legs(*scaled), collateral)


# Any time, with weight on the settlement window of the first expiry, its edges and the time after it.
TIMES = st.one_of(st.integers(20, 4_000), st.integers(86_400 - 130, 86_400 + 70), st.integers(20, 40 * 86_400))


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pf=portfolios(), time=TIMES, lag=st.integers(0, 50), move=st.integers(-400, 400), mode=st.sampled_from(Price))
def test_health_of_any_portfolio_equals_the_contract(
    world: OptionsWorld, pf: Portfolio, time: int, lag: int, move: int, mode: Price
) -> None:
    with world.undone():
        world.publish(0, SPOTS[0] * (1 + move / 2000), GENESIS + time)
        world.publish(0, SPOTS[0] * (1 + move / 1000))
        world.at(world.now + lag)
        market = Market(world.state, world.params.risk, world.now, mode)
        ours = market.assess(pf)
        theirs = world.assess(pf, mode)
        assert (ours.equity, ours.mm, ours.im, ours.convex, ours.loss) == theirs[:5]
        assert (ours.worst, ours.underlyings, ours.clamped, ours.stale) == theirs[5:9]
        assert (*ours.exposures, 0, 0) == theirs[10]
        named = market.assess(pf, ours.worst)
        assert (named.equity, named.mm, named.im) == world.assess(pf, mode, ours.worst)[:3]
        assert (named.mm, named.im) == (ours.mm, ours.im)


def test_wad_is_the_unit(world: OptionsWorld) -> None:
    assert world.assess(Portfolio(wad(5), (), ()), 0)[:2] == (wad(5), 0)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pf=portfolios(), time=TIMES, lag=st.integers(0, 50), move=st.integers(-400, 400), mode=st.sampled_from(Price))
def test_the_float_telling_agrees_within_1e_9_of_gross_notional(
    world: OptionsWorld, pf: Portfolio, time: int, lag: int, move: int, mode: Price
) -> None:
    with world.undone():
        world.publish(0, SPOTS[0] * (1 + move / 2000), GENESIS + time)
        world.publish(0, SPOTS[0] * (1 + move / 1000))
        world.at(world.now + lag)
        columns = Columns()
        native = (0, pf.collateral[1], pf.collateral[2] // 10**10)
        columns.put(Key("account", 1), Account(pf.cash, pf.legs, native, 1))
        ours = columns.assess(world.state, Moment(0, world.now, 0), mode)
        exact = Portfolio(pf.cash, pf.legs, (0, native[1], native[2] * 10**10))
        theirs = world.assess(exact, mode)
        tolerance = 1e-9 * float(ours.gross[0]) + 1e-6
        for mine, contract in zip((ours.equity, ours.mm, ours.im), theirs, strict=False):
            assert float(mine[0]) == pytest.approx(contract / 10**18, abs=tolerance, rel=1e-14)


def stressed(world: OptionsWorld) -> None:
    """Volatility has just risen: initial margin is asked for wider scenarios than maintenance."""
    for spot in (SPOTS[0] * 1.03, SPOTS[0]):
        world.publish(0, spot)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pf=portfolios())
def test_initial_margin_is_never_below_maintenance_margin(world: OptionsWorld, pf: Portfolio) -> None:
    with world.undone():
        stressed(world)
        assert world.assess(pf, Price.INITIAL)[2] >= world.assess(pf, Price.BID)[1]


def test_a_book_that_loses_in_small_moves_only_needs_its_maintenance_margin_to_open(world: OptionsWorld) -> None:
    """A butterfly around -6 %: in scenarios half as wide again it loses nothing."""
    held = legs(*((0, EXPIRIES[0], False, SPOTS[0] * k, n) for k, n in ((0.97, -9.0), (0.94, 18.0), (0.91, -9.0))))
    with world.undone():
        world.at(EXPIRIES[0] - 600)
        for expiry in EXPIRIES:
            world.publish_smile(0, expiry, 500_000)
        stressed(world)
        initial, bid = (Market(world.state, world.params.risk, world.now, m) for m in (Price.INITIAL, Price.BID))
        pf = Portfolio(wad(10_000), held)
        ours, theirs = initial.assess(pf), world.assess(pf, Price.INITIAL)
        assert ours.im == theirs[2] == bid.assess(pf).mm and theirs[9] and initial.widened(0)
        assert initial.params.im_factor * ours.loss < initial.params.mm_factor * bid.assess(pf).loss
