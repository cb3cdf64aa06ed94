"""One liquidation triggers the next: against the branching number, and what must be true of any book."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.margin.cascade import Ladder, Pool, branching, follow, gamma, levels

F = np.array([0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1, 1.3])


def made(breaks: list[float], delta: float, factors: np.ndarray = F) -> Ladder:
    """Accounts of one delta that are liquidatable below their price."""
    margin = factors[:, None] - np.array(breaks)
    return Ladder(100.0, factors, margin, np.full(margin.shape, delta))


@pytest.mark.parametrize("r0", [0.2, 0.4, 0.6])
def test_many_small_accounts_follow_the_branching_number(r0: float) -> None:
    """strategies.md 7: the total for each first sale is 1 / (1 - R0); the curvature of the pool helps a little."""
    count, first = 20_000, 0.002
    breaks = np.linspace(1.0, 0.97, count, endpoint=False)[1:]
    delta = r0 / 2 / (count / 0.03)  # R0 = 2 omega D / x with omega = x = 1
    ladder, pool = made(breaks.tolist(), delta), Pool(1.0, 1.0)
    assert branching(ladder, pool, 1.0) == pytest.approx(r0, rel=0.01)
    level = follow(ladder, pool, 1 - first)
    alone = len(level.generations[0].accounts)
    assert level.accounts / alone == level.amplification == pytest.approx(1 / (1 - r0), rel=0.03)
    assert level.amplification <= 1 / (1 - r0)


def test_generations_name_who_triggered_whom() -> None:
    ladder, pool = made([0.95, 0.94, 0.80], 0.02), Pool(1.0, 1.0)
    level = follow(ladder, pool, 0.95)
    assert [g.accounts.tolist() for g in level.generations] == []
    level = follow(ladder, pool, 0.949)
    assert [g.accounts.tolist() for g in level.generations] == [[0], [1]]
    assert level.amplification == 2 and level.ends < level.generations[1].price < 0.949


def test_a_price_from_elsewhere_does_not_cascade() -> None:
    level = follow(made([0.95, 0.94], 1.0), Pool(1.0, 0.0), 0.945)
    assert (level.accounts, level.ends, level.amplification) == (1, 0.945, 1.0)


def test_flow_against_the_move_damps_it() -> None:
    """Short accounts bought back in a fall lift the price: nobody else follows."""
    level = follow(made([0.95, 0.94], -0.02), Pool(1.0, 1.0), 0.949)
    assert level.accounts == 1 and level.ends > 0.949


def test_a_pool_never_runs_dry() -> None:
    level = follow(made([0.95], -50.0), Pool(1.0, 1.0), 0.94)
    assert np.isfinite(level.ends)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.4, 0.999), min_size=1, max_size=30), st.floats(0.0, 0.02), st.floats(0, 1))
def test_a_deeper_fall_takes_more_and_the_pool_only_adds(breaks: list[float], delta: float, omega: float) -> None:
    ladder, pool = made(breaks, delta), Pool(1.0, omega)
    found = list(levels(ladder, pool))
    counts = [level.accounts for level in found]
    assert counts == sorted(counts, reverse=True)
    for level in found:
        named = np.concatenate([g.accounts for g in level.generations]) if level.generations else np.zeros(0)
        assert len(set(named.tolist())) == len(named)
        assert level.ends <= level.factor + 1e-12 and level.amplification >= 1
        margin, _ = ladder.at(level.ends)
        assert set(np.flatnonzero(margin < 0).tolist()) <= set(named.tolist())


def test_breaches_are_where_margin_ends() -> None:
    falls, rises = Ladder(
        100.0, F, np.stack([F - 0.93, 1.06 - F, np.abs(F - 1) + 1, F - 1.01], 1), np.zeros((11, 4))
    ).breaches()
    assert falls[0] == pytest.approx(0.93) and np.isnan(rises[0])
    assert rises[1] == pytest.approx(1.06) and np.isnan(falls[1])
    assert np.isnan([falls[2], rises[2]]).all()
    assert (falls[3], rises[3]) == (1.0, 1.0)


def test_gamma_is_the_change_of_delta_per_cent() -> None:
    ladder = Ladder(100.0, F, np.zeros((11, 2)), np.stack([F * 3, F * 5], 1))
    assert gamma(ladder, np.array([True, True])) == pytest.approx(np.full(11, 0.08))


@pytest.mark.parametrize("spoil", ["nan", "order", "zero", "price", "shape"])
def test_a_ladder_that_is_none_is_refused(spoil: str) -> None:
    factors, margin, price = F.copy(), np.ones((11, 1)), 100.0
    if spoil == "nan":
        margin[3, 0] = np.nan
    if spoil == "order":
        factors = factors[::-1]
    if spoil == "zero":
        factors[0] = 0.0
    if spoil == "price":
        price = 0.0
    with pytest.raises(ValueError, match="ladder"):
        Ladder(price, factors, margin, np.ones((11, 2 if spoil == "shape" else 1)))


@pytest.mark.parametrize(
    ("base", "omega"), [(0.0, 0.5), (-1.0, 0.5), (np.nan, 0.5), (np.inf, 0.5), (1.0, np.nan), (1.0, 2.0)]
)
def test_a_pool_that_is_none_is_refused(base: float, omega: float) -> None:
    with pytest.raises(ValueError, match="a pool has"):
        Pool(base, omega)


@pytest.mark.parametrize("factor", [np.nan, 0.0, -1.0])
def test_a_move_to_no_price_is_refused(factor: float) -> None:
    """Nobody is under water at a price that is no number: it must not look calm."""
    with pytest.raises(ValueError, match="times its price"):
        follow(made([2.0], 1.0), Pool(1.0, 0.5), factor)
