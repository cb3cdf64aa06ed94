"""Governance of the parameters: bounds that encode direction, a timelock in the open, and a pace for what is new."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keeper.protocols.options.params import PHASE, AssetParams, ParamSet, Scenario, Shock, local, realistic
from keeper.protocols.options.risk import Portfolio, Price, market, standing
from keeper.simulation.deploy import actor
from keeper.simulation.node import Anvil
from keeper.units import WAD, mul_up, wad
from tests.property.test_options_exact import portfolios
from tests.worlds.acts import act, refusal
from tests.worlds.options import DEPTHS, EXPIRIES, GENESIS, SPOTS, OptionsWorld, legs

pytestmark = pytest.mark.chain
FULL = local(DEPTHS)
STRANGER = actor("stranger")[1]


@pytest.fixture(scope="module")
def world() -> Iterator[OptionsWorld]:
    with Anvil(timestamp=GENESIS) as node:
        w = OptionsWorld(node)
        w.open_markets()
        yield w


def risk(**changes: Any) -> ParamSet:
    return replace(FULL, risk=replace(FULL.risk, **changes))


def auction(**changes: Any) -> ParamSet:
    return replace(FULL, auction=replace(FULL.auction, **changes))


def scenario(**changes: Any) -> ParamSet:
    return risk(scenarios=(FULL.risk.scenarios[0]._replace(ln=0, **changes),))


# ─── P1, P3, A7: bounds ───────────────────────────────────────────────────────────────────────────

R, A = FULL.risk, FULL.auction
BAD: dict[str, tuple[str, ParamSet]] = {
    "maintenance above initial": ("imFactor", risk(im_factor=R.mm_factor - 1)),
    "no maintenance": ("mmFactor", risk(mm_factor=0)),
    "gross floor of initial below maintenance": ("floorGrossIm", risk(floor_gross_im=R.floor_gross_mm - 1)),
    "haircut of initial below maintenance": ("asset.haircutMm", risk(assets=(R.assets[0], AssetParams(0, 2, 1)))),
    "haircut above the value": ("asset.haircutIm", risk(assets=(R.assets[0], AssetParams(0, 0, WAD + 1)))),
    "asset of no underlying": ("asset.underlying", risk(assets=(R.assets[0], AssetParams(7, 0, 0)))),
    "volatility that narrows scenarios": ("stressCap", risk(stress_cap=WAD - 1)),
    "volatility without a limit": ("stressCap", risk(stress_cap=wad(3) + 1)),
    "no band": ("triggerBand", risk(trigger_band=0)),
    "a band wider than half": ("bidBand", risk(bid_band=WAD // 2 + 1)),
    "depth of nothing": ("depth", risk(depths=(0, DEPTHS[1]))),
    "no scenario": ("scenarios", risk(scenarios=())),
    "too many scenarios": ("scenarios", risk(scenarios=R.scenarios * 3)),
    "a fall of everything": ("scenario", scenario(spot=-10_000)),
    "a shock of no kind": ("scenario", scenario(kind=9)),
    "a scenario of no weight": ("scenario.weight", scenario(weight=0)),
    "a scenario of more than its loss": ("scenario.weight", scenario(weight=10_001)),
    "vol shocks of a dead second": ("volDaysFloor", risk(vol_days_floor=0)),
    "rho that falls": ("rho", auction(rho0=A.rho1 + 1)),
    "rho of everything": ("rho", auction(rho2=WAD)),
    "fund pays beyond the curve": ("rhoFund", auction(rho_fund=A.rho1 + 1)),
    "takeover beyond the curve": ("rhoTake", auction(rho_take=A.rho1 + 1)),
    "no buffer": ("buffer", auction(buffer=0)),
    "an auction in no time": ("t1, t2", auction(t1=0)),
    "a fee of all": ("fee", auction(fee=WAD)),
    "slices of nothing": ("minSlice", auction(min_slice=0)),
    "more than the fund": ("fund", auction(fund_per_auction=WAD + 1)),
}


def numbers(value: Any) -> set[int]:
    """All numbers of a set, those within its words, and the lengths of its lists."""
    if isinstance(value, int):
        return {value, value >> 8 & 2**64 - 1, value >> 72 & 2**64 - 1, (value >> 48 & 0xFFFF) * 10**14}
    return {len(value)}.union(*map(numbers, value))


@pytest.mark.parametrize("name", BAD)
def test_p1_bounds_encode_direction(world: OptionsWorld, name: str) -> None:
    parameter, bad = BAD[name]
    found = refusal(world, "Params", "propose", bad.as_abi())
    assert found and found[0] == "Bounds" and found[1][0] == parameter.encode().ljust(32, b"\0")
    assert found[1][1] in numbers(bad.as_abi())


@pytest.mark.parametrize("make", [local, realistic])
def test_the_shipped_sets_are_within_them(world: OptionsWorld, make: Callable[[tuple[int, ...]], ParamSet]) -> None:
    assert refusal(world, "Params", "propose", make(DEPTHS).as_abi()) is None


# ─── timelock ─────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def slow() -> Iterator[OptionsWorld]:
    """A world whose parameters wait two days."""
    with Anvil(timestamp=GENESIS) as node:
        w = OptionsWorld(node)
        w.open_markets()
        params = w.driver.deploy(w.governor, w.c["Params"], w.governor, w.publisher, 172_800)
        w.dep = replace(w.dep, params=params)
        act(w, "Params", "propose", FULL.as_abi())
        act(w, "Params", "accept", 1)
        yield w


def test_p2_a_set_waits_in_the_open(slow: OptionsWorld) -> None:
    with slow.undone():
        act(slow, "Params", "propose", risk(mm_factor=WAD).as_abi())
        ready = slow.now + 172_800
        slow.at(ready - 1)
        assert refusal(slow, "Params", "accept", 2) == ("NotReady", (ready, ready - 1))
        slow.at(ready)
        assert refusal(slow, "Params", "accept", 2) is None
        assert refusal(slow, "Params", "accept", 2, sender=STRANGER) == ("Unauthorised", ())
        assert refusal(slow, "Params", "accept", 3) == ("Unknown", (3,))


def test_a_proposal_can_be_cancelled_also_by_the_guardian_and_then_never_accepted(slow: OptionsWorld) -> None:
    with slow.undone():
        act(slow, "Params", "propose", risk(mm_factor=WAD).as_abi())
        assert refusal(slow, "Params", "cancel", 2, sender=STRANGER) == ("Unauthorised", ())
        assert refusal(slow, "Params", "cancel", 1) == ("Unknown", (1,))
        act(slow, "Params", "cancel", 2, sender=slow.publisher)  # the guardian of this world
        slow.at(slow.now + 172_800)
        assert refusal(slow, "Params", "accept", 2) == ("Unknown", (2,))
        assert refusal(slow, "Params", "cancel", 2) == ("Unknown", (2,))
        assert refusal(slow, "Params", "propose", FULL.as_abi(), sender=slow.publisher) == ("Unauthorised", ())


def test_sets_are_never_changed_and_older_ones_never_come_back(world: OptionsWorld) -> None:
    with world.undone():
        first = world.ask("Params", world.dep.params, "risk", 1)
        act(world, "Params", "propose", risk(mm_factor=WAD).as_abi())
        act(world, "Params", "propose", risk(lambda_=wad(3)).as_abi())
        act(world, "Params", "accept", 3)
        assert world.ask("Params", world.dep.params, "risk", 1) == first
        for passed in (1, 2, 3):
            assert refusal(world, "Params", "accept", passed) == ("Unknown", (passed,))


def test_one_set_at_a_time_is_phased_in(world: OptionsWorld) -> None:
    with world.undone():
        for _ in range(2):
            act(world, "Params", "propose", risk(mm_factor=WAD).as_abi())
        act(world, "Params", "accept", 2)
        until = world.now + PHASE
        assert refusal(world, "Params", "accept", 3) == ("NotReady", (until, world.now))
        world.at(until)
        assert refusal(world, "Params", "accept", 3) is None


# ─── rule 6: Q follows a new set by 1 % a minute ──────────────────────────────────────────────────

HARDER = risk(mm_factor=wad(2), im_factor=wad(3), floor_naked=wad("0.05"), depths=(wad(10**6), wad(10**6)))
SHORT = Portfolio(wad(5_000), legs((0, EXPIRIES[1], False, 1_800, -10)), (0, 0, 0))


def accepted(w: OptionsWorld, sets: ParamSet) -> None:
    act(w, "Params", "propose", sets.as_abi())
    act(w, "Params", "accept", w.state.version() + 1)


def contract_standing(w: OptionsWorld, pf: Portfolio, mode: int, named: int | None = None) -> tuple[Any, int]:
    packed = [leg.series << 128 | leg.size & 2**128 - 1 for leg in pf.legs]
    named = 2**256 - 1 if named is None else named
    h, version = w.ask("Risk", w.dep.risk, "standing", (pf.cash, packed, pf.collateral), mode, named)
    return h, version


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pf=portfolios(), since=st.integers(1, PHASE + 500), mode=st.sampled_from(Price))
def test_standing_in_a_phase_equals_the_contract(world: OptionsWorld, pf: Portfolio, since: int, mode: Price) -> None:
    with world.undone():
        accepted(world, replace(HARDER, risk=replace(HARDER.risk, trigger_band=wad("0.02"), scenarios=R.scenarios[3:])))
        world.publish(0, SPOTS[0] * 1.08, world.now + since)
        ours = standing(world.state.view, pf, world.now, mode)
        theirs, _ = contract_standing(world, pf, mode)
        assert (ours.equity, ours.mm, ours.im, ours.convex, ours.loss) == theirs[:5]
        assert (ours.worst, ours.underlyings, ours.clamped, ours.stale) == theirs[5:9]
        assert (*ours.exposures, 0, 0) == theirs[10]


def test_p2_nobody_is_condemned_in_the_block_of_a_new_set(world: OptionsWorld) -> None:
    """A requirement that quadruples: at once for initial margin, by 1 % a minute for maintenance."""
    with world.undone():
        before = market(world.state.view, 1, world.now, Price.TRIGGER).assess(SHORT)
        accepted(world, HARDER)
        world.publish(0, SPOTS[0])
        h, version = contract_standing(world, SHORT, Price.TRIGGER)
        new = world.assess(SHORT, Price.TRIGGER, version=2)
        old = world.assess(SHORT, Price.TRIGGER, version=1)
        assert new[1] > 2 * old[1] and version == 1
        assert old[1] <= h[1] <= mul_up(old[1], wad("1.001")) and old[1] <= before.mm * 1_01 // 100
        for minutes in range(1, 60, 7):
            world.publish(0, SPOTS[0], world.now + 60 * 7)
            h, _ = contract_standing(world, SHORT, Price.TRIGGER)
            old = world.assess(SHORT, Price.TRIGGER, version=1)
            assert h[1] / old[1] == pytest.approx(min(1.01 ** (minutes + 6), new[1] / old[1]), rel=0.03)


def test_a_kinder_set_is_in_force_at_once(world: OptionsWorld) -> None:
    with world.undone():
        accepted(world, risk(mm_factor=WAD // 2, im_factor=WAD // 2))
        world.publish(0, SPOTS[0])
        h, version = contract_standing(world, SHORT, Price.TRIGGER)
        assert version == 2 and h[1] == world.assess(SHORT, Price.TRIGGER, version=2)[1]
        assert h[1] < world.assess(SHORT, Price.TRIGGER, version=1)[1]


def test_after_the_phase_only_the_new_set_counts(world: OptionsWorld) -> None:
    with world.undone():
        accepted(world, HARDER)
        world.at(world.now + PHASE - 1)
        assert world.ask("Params", world.dep.params, "ramp")[1] == 1
        world.at(world.now + 1)
        assert world.ask("Params", world.dep.params, "ramp") == (2, 0, 0)
        assert contract_standing(world, SHORT, Price.SPOT)[1] == 2


def test_scenarios_survive_packing() -> None:
    odd = Scenario(-32_768, Shock.ABSOLUTE, 32_767, 10_000, -(10**18))
    assert Scenario.unpack(odd.pack()) == odd
