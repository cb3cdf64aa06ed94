"""Health of very many borrowers: both kernels say what one account at a time says."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from keeper.margin.scan.lending import Positions

ASSETS = 16
Held = tuple[list[tuple[int, float]], list[tuple[int, float]]]


def held(dice: Random) -> Held:
    return tuple(  # type: ignore[return-value]
        [(dice.randrange(ASSETS), dice.random() * 10 ** dice.randint(0, 24)) for _ in range(dice.randint(0, most))]
        for most in (4, 2)
    )


def rates(seed: int) -> tuple[np.ndarray, np.ndarray]:
    dice = np.random.default_rng(seed)
    return dice.random(ASSETS) * 0.8, dice.random(ASSETS)


@pytest.mark.parametrize("compiled", [False, True])
def test_every_account_is_the_sum_of_its_entries(compiled: bool) -> None:
    dice, (powers, debts), positions = Random(1), rates(1), Positions(4, 2)
    people = [held(dice) for _ in range(500)]
    for row, one in enumerate(people):
        positions.put(row, *one)
    for row in (3, 77, 499, 3):  # written over
        people[row] = held(dice)
        positions.put(row, *people[row])
    for row in (10, 0, positions.size - 3):  # dropped: the last takes the place
        positions.drop(row)
        people[row] = people[-1]
        people.pop()
    power, debt = positions.sums(powers, debts, compiled=compiled)
    assert power == pytest.approx([sum(powers[a] * n for a, n in one[0]) for one in people], rel=1e-14)
    assert debt == pytest.approx([sum(debts[a] * n for a, n in one[1]) for one in people], rel=1e-14)
    health = positions.health(powers, debts, compiled=compiled)
    assert [np.isinf(h) for h in health] == [d == 0 for d in debt]


@pytest.mark.parametrize("compiled", [False, True])
def test_what_cannot_be_valued_is_no_number_for_its_holders_and_for_nobody_else(compiled: bool) -> None:
    (powers, debts), positions = rates(2), Positions(2, 1)
    positions.put(0, [(0, 1.0), (1, 2.0)], [(2, 1.0)])
    positions.put(1, [(1, 2.0)], [(2, 1.0)])
    powers[0] = np.nan
    first, second = positions.health(powers, debts, compiled=compiled)
    assert np.isnan(first)
    assert second == pytest.approx(2 * powers[1] / debts[2])


def test_an_asset_without_a_rate_and_too_many_entries_are_refused() -> None:
    positions = Positions(1, 1)
    positions.put(0, [(5, 1.0)], [])
    with pytest.raises(IndexError, match="asset 5, but there are rates for 2"):
        positions.sums(np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="row 1 has 2 entries"):
        positions.put(1, [(0, 1.0), (1, 1.0)], [])
