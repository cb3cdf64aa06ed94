"""Every scenario list, stretched or not, and the components of every loss: Python equals the contract to the wei."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.protocols.options.components import components
from keeper.protocols.options.lists import LISTS
from keeper.protocols.options.params import Scenario, Shock, local
from keeper.protocols.options.risk import Market, Portfolio, Price
from keeper.simulation.node import Anvil
from keeper.units import BPS, WAD, wad
from tests.property.test_options_exact import portfolios
from tests.worlds.acts import act
from tests.worlds.options import DEPTHS, GENESIS, SPOTS, OptionsWorld

pytestmark = pytest.mark.chain
KINDS = [HealthCheck.function_scoped_fixture]
SETS = ("first", *LISTS)  # the version of each is its place, from 1


@pytest.fixture(scope="module")
def world() -> Iterator[OptionsWorld]:
    """One set per list, with scenarios that volatility stretches."""
    with Anvil(timestamp=GENESIS) as node:
        w = OptionsWorld(node)
        w.open_markets()
        for scenarios in LISTS.values():
            full = local(DEPTHS)
            risk = replace(full.risk, scenarios=scenarios, stress_cap=wad("1.5"))
            act(w, "Params", "propose", replace(full, risk=risk).as_abi())
        yield w


@pytest.mark.parametrize("name", LISTS)
@settings(max_examples=25, deadline=None, suppress_health_check=KINDS)
@given(pf=portfolios(), time=st.integers(20, 80_000), move=st.integers(-400, 400), mode=st.sampled_from(Price))
def test_any_list_loads_and_agrees(
    world: OptionsWorld, name: str, pf: Portfolio, time: int, move: int, mode: Price
) -> None:
    version = SETS.index(name) + 1
    with world.undone():
        world.publish(0, SPOTS[0] * (1 + move / 2000), GENESIS + time)
        world.publish(0, SPOTS[0] * (1 + move / 1000), world.now + 3)
        world.at(world.now + 200)
        market = Market(world.state, world.state.params(version).risk, world.now, mode)
        ours, theirs = market.assess(pf), world.assess(pf, mode, version=version)
        assert (ours.equity, ours.mm, ours.im, ours.convex, ours.loss, ours.worst) == theirs[:6]
        parts = components(market, pf)
        assert tuple(parts) == tuple(_components(world, pf, version, mode))
        assert parts.delta + parts.gamma + parts.vega + parts.remainder == parts.loss == ours.loss


def _components(w: OptionsWorld, pf: Portfolio, version: int, mode: int) -> tuple[int, ...]:
    legs = [leg.series << 128 | leg.size & 2**128 - 1 for leg in pf.legs]
    answer: tuple[int, ...] = w.ask("Risk", w.dep.risk, "components", (pf.cash, legs, pf.collateral), version, mode)
    return answer


def test_the_lists_are_what_they_are_named_after() -> None:
    assert {name: len(found) for name, found in LISTS.items()} == {"span": 16, "tims": 10, "derive": 29, "deribit": 32}
    assert [s.spot for s in LISTS["tims"]] == [-1500, -1200, -900, -600, -300, 300, 600, 900, 1200, 1500]
    tails = [s for s in LISTS["derive"] if s.weight != BPS and s.spot > 5000]
    assert {s.spot * s.weight // 10**4 for s in tails} == {1386}


def test_an_option_at_the_money_loses_by_gamma_and_vega_and_a_forward_by_delta(world: OptionsWorld) -> None:
    """Signs and sizes that a trader knows."""
    from tests.worlds.options import EXPIRIES, legs

    market = Market(world.state, world.state.params(2).risk, world.now, Price.SPOT)
    straddle = components(
        market, Portfolio(0, legs((0, EXPIRIES[2], True, 2000, -1), (0, EXPIRIES[2], False, 2000, -1)))
    )
    assert straddle.vega > 0 and straddle.gamma > 0 and straddle.gamma > abs(straddle.delta)
    forward = components(market, Portfolio(0, legs((0, EXPIRIES[2], True, 2000, 1), (0, EXPIRIES[2], False, 2000, -1))))
    assert abs(forward.gamma) < WAD and abs(forward.vega) < WAD and abs(forward.remainder) < WAD
    assert forward.delta > 200 * WAD


def test_an_absolute_shock_and_one_of_nothing_are_lists_too(world: OptionsWorld) -> None:
    with world.undone():
        full = local(DEPTHS)
        odd = (Scenario(0, Shock.ABSOLUTE, 3000, BPS), Scenario(-9_999, Shock.RELATIVE, -10_000, 1))
        act(world, "Params", "propose", replace(full, risk=replace(full.risk, scenarios=odd)).as_abi())
        version = len(SETS) + 1
        pf = Portfolio(0, (), (0, wad(5), 0))
        ours = Market(world.state, world.state.params(version).risk, world.now, Price.SPOT).assess(pf)
        assert (ours.equity, ours.mm, ours.im) == world.assess(pf, 0, version=version)[:3]
