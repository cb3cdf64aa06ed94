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


@pytest.mark.parametrize(("asset", "amount"), [(0, float("nan")), (0, float("inf")), (0, -1.0), (-1, 1.0)])
@pytest.mark.parametrize("side", [0, 1])
def test_an_entry_that_is_none_is_refused_and_nothing_is_written(asset: int, amount: float, side: int) -> None:
    positions, good = Positions(1, 1), [(0, 1.0)]
    positions.put(0, good, good)
    bad: list[list[tuple[int, float]]] = [good, good]
    bad[side] = [(asset, amount)]
    for row in (0, 1):
        with pytest.raises(ValueError, match=f"row {row} has {amount} of asset {asset}"):
            positions.put(row, *bad)
    columns = [(np.array([[a for a, _ in one]]), np.array([[n for _, n in one]])) for one in bad]
    with pytest.raises(ValueError, match=f"row 0 has {amount} of asset {asset}"):
        positions.fill(columns[0], columns[1])
    assert positions.health(np.ones(1), np.ones(1)).tolist() == [1.0]
    with pytest.raises(ValueError, match="row 5 is not one of 1"):
        positions.put(5, good, good)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("rate", [-1.0, float("inf"), 0.0])
def test_debt_is_not_reckoned_at_what_is_no_rate(rate: float, compiled: bool) -> None:
    """At 0 it would be no debt, and its owner well; what nobody owes may have any index."""
    positions, powers, debts = Positions(1, 1), np.ones(3), np.ones(3)
    positions.put(0, [(0, 1.0)], [(1, 1.0)])
    debts[1] = rate
    with pytest.raises(ValueError, match="asset 1 has the rates"):
        positions.health(powers, debts, compiled=compiled)
    debts[1:] = 1.0, 0.0
    assert positions.health(powers, debts, compiled=compiled).tolist() == [1.0]
    powers[0] = -1.0
    with pytest.raises(ValueError, match="asset 0 has the rates"):
        positions.sums(powers, debts, compiled=compiled)
