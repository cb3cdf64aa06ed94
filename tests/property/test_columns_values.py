"""The compiled value table is the one that ``portfolio.term`` makes, and tables are told apart as ``slack`` does."""

from __future__ import annotations

from dataclasses import fields, replace
from random import Random

import numpy as np
import pytest

from keeper.margin.portfolio import Rules, Scenarios
from keeper.margin.scan import slack, table
from keeper.margin.scan.table import Inputs
from keeper.protocols.options.records import State
from keeper.protocols.options.risk import Price
from tests.worlds.crowd import DAYS, SPOTS, Crowd, people

values = pytest.importorskip("keeper.margin.scan.kernels.values", reason="numba is not installed")
moved = pytest.importorskip("keeper.margin.scan.kernels.moved", reason="numba is not installed")

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
    smile = dice.uniform(0, 3, K), *dice.normal(0, [[0.3], [0.3], [0.1]], (3, K)), dice.random(K)
    strikes = prices[under] * np.exp(dice.normal(0, 1, K))
    strikes[left <= 0] = np.where(dice.random(K) < 0.5, prices[under], strikes)[left <= 0]  # at the money, too late
    stretch, rows = dice.uniform(1, 2, 3), np.flatnonzero(dice.random(K) < 0.9)
    terms = np.array([left, fixed, open_, *smile])
    inputs = Inputs(prices, stretch, under, dice.random(K) < 0.5, strikes, terms, rows)
    scenarios = Scenarios(
        np.append(0.0, dice.uniform(-0.9, 2, S - 1)),
        dice.integers(0, 4, S),
        dice.uniform(-1.5, 2, S),
        dice.uniform(0.5, 1, S),
    )
    cuts = dice.uniform(0, 0.3, (4, 2))
    return inputs, Rules(
        (1.1, 1.3),
        (0.01, 0.02),
        0.02,
        0.1,
        0.05,
        (0.5, 0.3),
        86_400.0,
        np.ones(3) * 1e6,
        (-1, 0, 2, 2),
        cuts,
        scenarios,
    )


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
        assert np.max(np.abs(ours_ - theirs_) / unit) < 1e-13


@pytest.mark.parametrize("seed", range(12))
def test_what_kernels_take_is_the_same_to_the_bit(seed: int) -> None:
    inputs, rules = market(seed)
    if seed % 2:  # confidence of terms is the same
        inputs.terms[-1] = 0.75
    ours, theirs = values.lanes(inputs, rules, 0.001), table.lanes(table.build(inputs, rules, values.term), 0.001)
    assert ours is not None
    for field in fields(ours):
        mine, others = getattr(ours, field.name), getattr(theirs, field.name)
        assert mine.dtype == others.dtype
        assert np.array_equal(mine, others), field.name


@pytest.mark.parametrize("seed", range(6))
def test_how_far_a_table_moved_is_told_the_same(seed: int) -> None:
    """Spot, a smile, confidence and time; all series, or some of them."""
    dice, c = Random(seed), Crowd()
    c.settle(people(seed, 200))
    before = c.columns._lanes(State(c), c.at, Price.TRIGGER)[1]
    c.now += dice.choice((0, 12, 3_600))
    c.price(0, SPOTS[0] * dice.uniform(0.9, 1.1))
    c.smile(1, dice.choice(DAYS), dice.uniform(0.3, 0.9), dice.choice((10_000, 9_000)))
    after = c.columns._lanes(State(c), c.at, Price.TRIGGER)[1]
    for same in (slice(None), np.array(sorted(dice.sample(range(len(after.under)), 50)))):
        ours, theirs = moved.moves(before, after, same), slack.moves(before, after, same)
        assert ours is not None
        assert theirs is not None
        assert theirs.max() > 1e-4, "nothing moved"
        assert ours == pytest.approx(theirs, rel=1e-6)
    other = replace(after, parameters=after.parameters * np.float32(1.5))
    assert moved.moves(before, other, slice(None)) is slack.moves(before, other, slice(None)) is None
