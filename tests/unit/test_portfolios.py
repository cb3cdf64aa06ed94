"""Accounts: reproducible, made of listed series, of sensible sizes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from keeper.errors import Misconfigured
from keeper.simulation.portfolios import MAX_SERIES, PERIOD, STEP, Grid, Kind, Leg, Plan, Series, expiries, portfolios
from keeper.units import WAD

NOW = 1_700_000_123
USD = 10**8
ETH = Grid(0, 2_013 * USD, 25 * USD, expiries(NOW), decimals=18)
BTC = Grid(1, 40_444 * USD, 500 * USD, expiries(NOW), decimals=8)
PLANS = portfolios(1, 900, (ETH, BTC))


def of(kind: Kind) -> list[Plan]:
    return [plan for plan in PLANS if plan.kind is kind]


def dollars(leg: Leg) -> float:
    return abs(leg.size) / WAD * (ETH, BTC)[leg.underlying].spot / USD


def signature(plan: Plan) -> list[tuple[bool, int]]:
    return [(leg.is_call, 1 if leg.size > 0 else -1) for leg in plan.legs]


# ── the grid ──


def test_expiries_are_the_next_half_hours() -> None:
    assert expiries(NOW, (1,)) == (1_700_087_400,)
    assert expiries(NOW - NOW % PERIOD, (1,)) == (NOW - NOW % PERIOD + 86_400,)


def test_a_grid_lists_at_most_the_allowed_series_once_each() -> None:
    assert len(set(ETH.series)) == len(ETH.series) == MAX_SERIES


def test_strikes_are_on_the_tick() -> None:
    assert all(series.strike % (25 * USD) == 0 for series in ETH.series)


def test_puts_are_listed_down_to_and_calls_up_to_thirty_per_cent_away() -> None:
    strikes = [[s.strike // USD for s in ETH.series if s.is_call is call][:4] for call in (False, True)]
    assert strikes == [[2025, 1800, 1600, 1400], [2025, 2225, 2425, 2625]]


@pytest.mark.parametrize("dates", [(), (1801,), (3600, 1800), (1800, 1800), (1800, 3600, 5400, 7200)])
def test_expiries_off_the_rules_are_refused(dates: tuple[int, ...]) -> None:
    with pytest.raises(Misconfigured, match="expiries"):
        Grid(0, 2_000 * USD, USD, dates)


def test_a_tick_that_merges_strikes_is_refused() -> None:
    with pytest.raises(Misconfigured, match="tick"):
        Grid(0, 2_000 * USD, 1_000 * USD, expiries(NOW))


# ── the accounts ──


def test_a_seed_reproduces_the_accounts_exactly() -> None:
    assert portfolios(1, 900, (ETH, BTC)) == PLANS


def test_another_seed_gives_other_accounts() -> None:
    assert portfolios(2, 900, (ETH, BTC)) != PLANS


def test_owners_are_numbered_from_zero() -> None:
    assert [plan.owner for plan in PLANS] == list(range(900))


def test_every_kind_occurs_equally_often() -> None:
    assert {kind: len(of(kind)) for kind in Kind} == dict.fromkeys(Kind, 100)


def test_every_leg_is_a_listed_series() -> None:
    listed = {*ETH.series, *BTC.series}
    assert {Series(*leg[:4]) for plan in PLANS for leg in plan.legs} <= listed


def test_both_underlyings_are_held() -> None:
    assert {leg.underlying for plan in PLANS for leg in plan.legs} == {0, 1}


def test_sizes_are_whole_thousandths() -> None:
    assert all(leg.size and leg.size % STEP == 0 for plan in PLANS for leg in plan.legs)


def test_the_legs_of_an_account_have_one_size_and_one_expiry() -> None:
    assert all(len({abs(leg.size) for leg in plan.legs}) == 1 for plan in PLANS)
    assert all(len({leg.expiry for leg in plan.legs}) == 1 for plan in PLANS)


def test_the_notional_is_log_normal_around_its_median() -> None:
    logs = np.log([dollars(plan.legs[0]) for plan in PLANS])
    assert np.exp(np.median(logs)) == pytest.approx(100_000, rel=0.1)
    assert logs.std() == pytest.approx(1.0, abs=0.1)


def test_the_notional_is_capped() -> None:
    plans = portfolios(1, 90, (ETH, BTC), notional=50_000_000, cap=1_000_000)
    assert 990_000 < max(dollars(plan.legs[0]) for plan in plans) <= 1_000_000


def test_a_tiny_account_still_has_a_size() -> None:
    (plan,) = portfolios(1, 1, (BTC,), notional=1.0, spread=0.0)
    assert plan.legs[0].size == -STEP


def test_usage_is_uniform_in_its_range() -> None:
    uses = np.array([plan.usage for plan in PLANS])
    assert 0.6 <= uses.min() < 0.61
    assert 0.99 < uses.max() < 1.0
    assert uses.mean() == pytest.approx(0.8, abs=0.02)


def test_a_covered_call_holds_what_it_would_deliver() -> None:
    for plan in of(Kind.COVERED_CALL):
        (leg,) = plan.legs
        unit = 10 ** (ETH, BTC)[leg.underlying].decimals
        assert plan.collateral[leg.underlying] == -leg.size * unit // WAD
        assert plan.collateral[1 - leg.underlying] == 0


def test_a_collateral_put_holds_half_its_notional_in_one_token() -> None:
    for plan in of(Kind.COLLATERAL_PUT):
        held = [amount * g.spot / 10**g.decimals / USD for amount, g in zip(plan.collateral, (ETH, BTC), strict=True)]
        assert sum(held) == pytest.approx(dollars(plan.legs[0]) / 2, rel=1e-3)
        assert min(held) == 0


def test_some_collateral_is_another_token_than_the_underlying() -> None:
    assert {plan.collateral[plan.legs[0].underlying] > 0 for plan in of(Kind.COLLATERAL_PUT)} == {True, False}


def test_other_kinds_hold_no_collateral() -> None:
    bare = set(Kind) - {Kind.COVERED_CALL, Kind.COLLATERAL_PUT}
    assert {plan.collateral for plan in PLANS if plan.kind in bare} == {(0, 0)}


def test_a_straddle_is_short_at_the_money_at_the_nearest_expiry() -> None:
    for plan in of(Kind.STRADDLE):
        grid = (ETH, BTC)[plan.legs[0].underlying]
        assert signature(plan) == [(False, -1), (True, -1)]
        assert {leg.strike for leg in plan.legs} == {grid.strike(True, 0)}
        assert plan.legs[0].expiry == grid.expiries[0]


def test_only_straddles_are_short_dated() -> None:
    assert {p.kind for p in PLANS if p.legs[0].expiry == ETH.expiries[0]} == {Kind.STRADDLE}


def test_a_condor_is_a_short_strangle_inside_a_long_one() -> None:
    for plan in of(Kind.CONDOR):
        assert signature(plan) == [(False, 1), (False, -1), (True, -1), (True, 1)]
        assert all(a.strike < b.strike for a, b in pairwise(plan.legs))


def test_spreads_are_short_the_strike_nearer_to_the_money() -> None:
    for plan in of(Kind.PUT_SPREAD):
        assert signature(plan) == [(False, 1), (False, -1)]
        assert plan.legs[0].strike < plan.legs[1].strike
    for plan in of(Kind.CALL_SPREAD):
        assert signature(plan) == [(True, -1), (True, 1)]
        assert plan.legs[0].strike < plan.legs[1].strike


def test_a_risk_reversal_is_short_a_put_and_long_a_call() -> None:
    assert all(signature(plan) == [(False, -1), (True, 1)] for plan in of(Kind.RISK_REVERSAL))


def test_a_strangle_and_a_naked_put_are_short_out_of_the_money() -> None:
    assert all(signature(plan) == [(False, -1), (True, -1)] for plan in of(Kind.STRANGLE))
    for plan in of(Kind.NAKED_PUT):
        assert signature(plan) == [(False, -1)]
        assert plan.legs[0].strike < (ETH, BTC)[plan.legs[0].underlying].spot


def test_one_expiry_is_enough() -> None:
    grid = Grid(0, 2_000 * USD, 25 * USD, expiries(NOW, (2,)))
    assert {leg.expiry for plan in portfolios(1, 9, (grid,)) for leg in plan.legs} == set(grid.expiries)
