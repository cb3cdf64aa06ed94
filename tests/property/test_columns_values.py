"""The compiled value table is the one that ``portfolio.term`` makes."""

from __future__ import annotations

import numpy as np
import pytest

from keeper.margin.portfolio import Rules, Scenarios, Smile
from keeper.margin.scan import table
from keeper.margin.scan.table import Inputs

values = pytest.importorskip("keeper.margin.scan.kernels.values", reason="numba is not installed")

K, S = 400, 16


def market(seed: int) -> tuple[Inputs, Rules]:
    """Series of all ages: expired, in their settlement window, with years to go; rows of the table left out."""
    dice = np.random.default_rng(seed)
    prices = np.array([2_000.0, 1e-6, 4e7])
    under = dice.integers(0, 3, K)
    left = dice.choice([-60.0, 0.0, 1.0, 900.0, 86_400.0, 3e6, 3e8], K) * dice.uniform(0.5, 1.5, K)
    late = (left < 1_800) & (dice.random(K) < 0.7)
    open_ = np.where(late, dice.choice([0.0, 0.3, 1.0], K), 1.0)
    fixed = np.where(late, prices[under] * dice.choice([0.0, 0.6], K), 0.0)
    smile = Smile(
        dice.uniform(0, 3, K), dice.normal(0, 0.3, K), dice.normal(0, 0.3, K), dice.normal(0, 0.1, K), dice.random(K)
    )
    strikes = prices[under] * np.exp(dice.normal(0, 1, K))
    stretch, rows = dice.uniform(1, 2, 3), np.flatnonzero(dice.random(K) < 0.9)
    inputs = Inputs(prices, stretch, under, dice.random(K) < 0.5, strikes, left, fixed, open_, smile, rows)
    scenarios = Scenarios(
        np.append(0.0, dice.uniform(-0.9, 2, S - 1)), dice.integers(0, 4, S), dice.uniform(-1.5, 2, S), np.ones(S)
    )
    none = np.zeros((0, 2))
    return inputs, Rules((1, 1), (0, 0), 0, 0, 0, (0.5, 0.3), 86_400.0, np.ones(3), (), none, scenarios)


@pytest.mark.parametrize("seed", range(12))
def test_they_are_the_same_to_a_part_in_a_million_million(seed: int) -> None:
    inputs, rules = market(seed)
    ours, theirs = table.build(inputs, rules, values.term), table.build(inputs, rules)
    scale = np.maximum(inputs.prices[inputs.under], inputs.strike)
    assert (np.abs(theirs.gain).max(axis=0) > 0).sum() >= S - 2, "scenarios that change nothing show nothing"
    for ours_, theirs_, unit in (
        (ours.worth, theirs.worth, scale),
        (ours.delta, theirs.delta, 1.0),
        (ours.gain, theirs.gain, scale[:, None]),
        (ours.doubt, theirs.doubt, 1.0),
    ):
        assert np.max(np.abs(ours_ - theirs_) / unit) < 3e-11
