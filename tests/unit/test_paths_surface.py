"""Smiles: vol rises when the price falls, most at short dates, and comes back with time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.simulation.surface import MONTH, Regime, Surface

DAY = 86_400
CALM = Regime(atm=0.6, response=1.0)


def after(price: float, seconds: int = 0, regime: Regime = CALM) -> Surface:
    surface = Surface(regime, 0, 100.0)
    surface.move(seconds, price)
    return surface


def test_at_rest_the_smile_is_the_regimes_in_ppm() -> None:
    assert Surface(CALM, 0, 100.0).smile(MONTH) == (600_000, -90_000, 90_000, 0)


def test_a_month_out_vol_gains_the_response_per_log_return_lost() -> None:
    assert after(100 * math.exp(-0.2)).smile(MONTH).atm == 800_000


def test_a_week_out_it_gains_more() -> None:
    shift = after(100 * math.exp(-0.2)).smile(MONTH // 4).atm - 600_000
    assert shift == 400_000


def test_below_a_day_expiries_respond_alike() -> None:
    surface = after(90.0)
    assert surface.smile(DAY) == surface.smile(DAY // 24) == surface.smile(-DAY)


def test_beyond_a_month_the_skew_flattens() -> None:
    surface = Surface(CALM, 0, 100.0)
    assert surface.smile(DAY).skew == surface.smile(MONTH).skew < surface.smile(16 * MONTH).skew == -45_000


def test_the_excess_falls_to_one_part_in_e_in_the_time_of_reversion() -> None:
    surface = after(100 * math.exp(-0.2))
    surface.move(3 * DAY, 100 * math.exp(-0.2))
    assert surface.smile(3 * DAY + MONTH).atm == pytest.approx(600_000 + 200_000 / math.e, abs=1)


def test_vol_stays_between_its_floor_and_ceiling() -> None:
    assert after(1e-6).smile(DAY).atm == 4_000_000
    assert after(1e6).smile(DAY).atm == 100_000


@given(low=st.floats(20, 100), gap=st.floats(0.01, 100), days=st.integers(0, 400))
def test_a_lower_price_never_means_a_lower_vol(low: float, gap: float, days: int) -> None:
    assert after(low).smile(days * DAY).atm >= after(low + gap).smile(days * DAY).atm


@given(st.lists(st.floats(50, 200), min_size=1, max_size=8))
def test_without_reversion_only_the_last_price_counts(prices: list[float]) -> None:
    still = Regime(reversion=math.inf)
    walked = Surface(still, 0, 100.0)
    for i, price in enumerate(prices, 1):
        walked.move(i, price)
    assert walked.smile(MONTH).atm == pytest.approx(after(prices[-1], len(prices), still).smile(MONTH).atm, abs=2)
