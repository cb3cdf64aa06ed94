"""Morpho's arithmetic against exact fractions: the direction of each rounding, and what must hold whatever comes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil, floor

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from keeper.protocols.morpho_blue import maths
from keeper.protocols.morpho_blue.maths import ORACLE_PRICE_SCALE, Irm, Totals
from keeper.units import WAD, YEAR

amounts = st.integers(0, 10**30)
prices = st.integers(1, 10**50)
ratios = st.integers(0, WAD - 1)


some_totals = st.builds(
    lambda supply, mint, used, shares, fee: Totals(supply, supply * mint, supply * used // 100, shares, 10**9, fee),
    supply=amounts,
    mint=st.integers(1, 2 * 10**6),  # supply shares per asset
    used=st.integers(0, 100),  # per cent
    shares=st.integers(0, 10**36),
    fee=st.integers(0, WAD // 4) | st.just(WAD // 4),
)


def per_share(market: Totals) -> Fraction:
    """Loan assets owed for one borrow share."""
    return Fraction(market.borrow_assets + 1, market.borrow_shares + 10**6)


# ─── shares ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.fault("A30")
@given(amounts, amounts, amounts)
def test_conversions_round_as_they_are_named(x: int, assets: int, shares: int) -> None:
    worth = Fraction(assets + 1, shares + 10**6)
    assert maths.to_assets_down(x, assets, shares) == floor(x * worth)
    assert maths.to_assets_up(x, assets, shares) == ceil(x * worth)
    assert maths.to_shares_down(x, assets, shares) == floor(x / worth)
    assert maths.to_shares_up(x, assets, shares) == ceil(x / worth)


@given(amounts, amounts, amounts)
def test_shares_bought_with_some_assets_never_cost_more(x: int, assets: int, shares: int) -> None:
    assert maths.to_assets_up(maths.to_shares_down(x, assets, shares), assets, shares) <= x


# ─── interest ─────────────────────────────────────────────────────────────────────────────────────


@given(some_totals, st.sampled_from(Irm))
def test_nothing_accrues_in_no_time(market: Totals, irm: Irm) -> None:
    assert maths.accrue(market, irm, market.last_update) == market


@given(some_totals, st.integers(1, YEAR))
def test_without_rate_contract_only_the_time_moves(market: Totals, seconds: int) -> None:
    at = market.last_update + seconds
    assert maths.accrue(market, Irm.ZERO, at) == replace(market, last_update=at)


@given(some_totals, st.integers(1, YEAR))
def test_what_borrowers_owe_more_lenders_own_more(market: Totals, seconds: int) -> None:
    later = maths.accrue(market, Irm.UTILISATION, market.last_update + seconds)
    assert later.borrow_assets - market.borrow_assets == later.supply_assets - market.supply_assets >= 0


@given(some_totals, st.integers(1, YEAR))
def test_fee_shares_are_worth_the_fee_at_most_and_all_but_a_share_of_it(market: Totals, seconds: int) -> None:
    later = maths.accrue(market, Irm.UTILISATION, market.last_update + seconds)
    fee = floor(Fraction((later.supply_assets - market.supply_assets) * market.fee, WAD))
    minted = later.supply_shares - market.supply_shares
    before = Fraction(later.supply_assets - fee + 1, market.supply_shares + 10**6)  # assets per share, without the fee
    assert minted * before <= fee < (minted + 1) * before


@given(some_totals, st.integers(1, YEAR), st.integers(1, YEAR))
def test_debt_never_shrinks_with_time(market: Totals, sooner: int, longer: int) -> None:
    first = maths.accrue(market, Irm.UTILISATION, market.last_update + sooner)
    second = maths.accrue(market, Irm.UTILISATION, market.last_update + sooner + longer)
    assert second.borrow_assets >= first.borrow_assets


def test_a_market_lent_out_whole_costs_about_e_a_year() -> None:
    market = Totals(supply_assets=10**30, borrow_assets=10**30)
    assert maths.accrue(market, Irm.UTILISATION, YEAR).borrow_assets // 10**26 == 26_666  # 1 + 1 + 1/2 + 1/6


# ─── liquidation ──────────────────────────────────────────────────────────────────────────────────


@given(some_totals, amounts, prices, ratios)
def test_seizing_costs_no_less_than_its_value_over_the_incentive(
    market: Totals, seized: int, price: int, lltv: int
) -> None:
    done = maths.by_seizing(seized, market, price, lltv)
    fair = Fraction(seized * price, ORACLE_PRICE_SCALE) * WAD / maths.incentive_factor(lltv)
    assert done.repaid >= fair
    assert done.repaid <= ceil(fair) + 2 + per_share(market)  # three roundings up, one of them to whole shares


@given(some_totals, amounts, prices, ratios)
def test_repaying_yields_no_more_than_its_value_times_the_incentive(
    market: Totals, shares: int, price: int, lltv: int
) -> None:
    done = maths.by_repaying(shares, market, price, lltv)
    assert done.seized * Fraction(price, ORACLE_PRICE_SCALE) <= done.repaid * Fraction(
        maths.incentive_factor(lltv), WAD
    )


@given(some_totals, st.integers(1, 10**36), amounts, prices, ratios)
def test_all_collateral_never_takes_more_shares_than_the_debt_it_does_not_cover(
    market: Totals, shares: int, collateral: int, price: int, lltv: int
) -> None:
    assume(maths.by_repaying(shares, market, price, lltv).seized > collateral)
    assert maths.by_seizing(collateral, market, price, lltv).repaid_shares <= shares


@given(some_totals, st.integers(1, 10**36), amounts, prices, ratios)
def test_bad_debt_is_what_is_left_when_no_collateral_is(
    market: Totals, shares: int, collateral: int, price: int, lltv: int
) -> None:
    assume(maths.by_repaying(shares, market, price, lltv).seized > collateral)
    market = replace(market, borrow_shares=market.borrow_shares + shares)
    done = maths.by_seizing(collateral, market, price, lltv)
    assume(done.repaid_shares <= shares)
    lost = maths.bad_debt(shares, collateral, market, done)
    assert 0 <= lost <= max(market.borrow_assets - done.repaid, 0)
    assert maths.bad_debt(shares, collateral + 1, market, done) == 0


@given(ratios)
def test_the_incentive_lies_between_nothing_and_fifteen_percent(lltv: int) -> None:
    assert WAD <= maths.incentive_factor(lltv) <= 115 * WAD // 100
