"""The made-up crash: reproducible, and of the shape and size of the recorded ones."""

from __future__ import annotations

import numpy as np
import pytest

from keeper.errors import Misconfigured
from keeper.simulation.paths import WORST_HOUR, Follow, Path, jump_diffusion, worst_fall

HOUR = 300  # blocks of 12 s
SEEDS = range(12)


def crash(seed: int, steps: int = 7200, dt: int = 12) -> Path:
    return jump_diffusion(seed, steps, dt, (200.0, 7_900.0), start=1_584_000_000)


def test_a_seed_reproduces_its_path_exactly() -> None:
    one, two = crash(7), crash(7)
    assert np.array_equal(one.prices, two.prices)
    assert np.array_equal(one.times, two.times)


def test_two_seeds_give_two_paths() -> None:
    assert not np.array_equal(crash(1).prices, crash(2).prices)


def test_a_seed_gives_the_same_path_in_every_version() -> None:
    assert [crash(1).spot(step, 0) for step in (0, 3600, 7199)] == [20_000_000_000, 15_083_075_895, 12_479_586_941]


def test_times_are_block_times() -> None:
    times = crash(1).times
    assert times[0] == 1_584_000_000
    assert set(np.diff(times)) == {12}


def test_prices_start_at_the_given_spots() -> None:
    assert list(crash(1).prices[0]) == [200.0, 7_900.0]


def test_columns_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="read-only"):
        crash(1).prices[0, 0] = 1.0


def test_spot_is_the_price_with_eight_decimals() -> None:
    path = Path(np.array([0]), np.array([[123.456789012]]), np.array([False]))
    assert path.spot(0, 0) == 12_345_678_901


@pytest.mark.parametrize("seed", SEEDS)
def test_the_worst_hour_is_as_bad_as_recorded_ones(seed: int) -> None:
    assert WORST_HOUR[0] <= worst_fall(crash(seed).prices[:, 0], HOUR) <= WORST_HOUR[1]


def test_the_worst_hour_can_be_chosen() -> None:
    path = jump_diffusion(3, 7200, 12, (200.0,), worst_hour=0.4)
    assert worst_fall(path.prices[:, 0], HOUR) == pytest.approx(0.4, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_most_of_the_worst_hour_falls_within_fifteen_minutes(seed: int) -> None:
    """Recorded: 73 to 83 per cent of the log fall."""
    eth = crash(seed).prices[:, 0]
    assert np.log1p(-worst_fall(eth, HOUR // 4)) / np.log1p(-worst_fall(eth, HOUR)) > 0.55


@pytest.mark.parametrize("seed", SEEDS)
def test_there_are_two_waves_and_a_rebound_after_each(seed: int) -> None:
    eth = crash(seed).prices[:, 0]
    first = int(eth[:4000].argmin())
    second = int(eth.argmin())
    assert second - first > 5 * HOUR
    assert worst_fall(eth[: first + 1], HOUR) > 0.12
    assert worst_fall(eth[first:], HOUR) > 0.12
    assert eth[first:second].max() / eth[first] > 1.06
    assert eth[second:].max() / eth[second] > 1.10


@pytest.mark.parametrize("seed", SEEDS)
def test_volatility_clusters(seed: int) -> None:
    moves = np.abs(np.diff(np.log(crash(seed).prices[:, 0])))
    assert np.corrcoef(moves[:-1], moves[1:])[0, 1] > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_bitcoin_goes_with_ether(seed: int) -> None:
    eth, btc = np.diff(np.log(crash(seed).prices[::25]), axis=0).T
    assert 0.75 < np.corrcoef(eth, btc)[0, 1] < 0.98


def test_without_noise_a_follower_moves_by_its_beta() -> None:
    path = jump_diffusion(1, 960, 90, (100.0, 100.0), follow=Follow(beta=0.5, noise=0.0))
    one, two = np.log(path.prices / path.prices[0]).T
    assert np.allclose(two, one / 2, atol=1e-9)


def test_a_shorter_path_is_the_same_day_faster() -> None:
    path = crash(5, steps=600, dt=2)
    assert WORST_HOUR[0] <= worst_fall(path.prices[:, 0], 600 // 24) <= WORST_HOUR[1]


def test_the_exchange_stays_up() -> None:
    assert not crash(1).outage.any()


@pytest.mark.parametrize(
    ("steps", "spots", "worst"), [(95, (1.0,), None), (960, (), None), (960, (0.0,), None), (960, (1.0,), 1.0)]
)
def test_impossible_requests_are_refused(steps: int, spots: tuple[float, ...], worst: float | None) -> None:
    with pytest.raises(Misconfigured):
        jump_diffusion(1, steps, 12, spots, worst_hour=worst)
