"""Leaving a corridor: the series against the method of images, and against one wall."""

from __future__ import annotations

from math import inf, nan, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.margin.passage import even, even_rising, probability, rising

N = NormalDist().cdf


def by_images(down: float, up: float, s: float) -> float:
    w = down + up
    inside = 0.0
    for k in range(-200, 201):
        shift = 2 * k * w
        inside += N((up - shift) / s) - N((-down - shift) / s) - N((-up - shift) / s) + N((-down - 2 * up - shift) / s)
    return 1 - inside


walls = st.floats(0.01, 1.0)


@given(st.floats(0.1, 1.0), st.floats(0.1, 1.0), st.floats(0.02, 2.0))
def test_two_walls(down: float, up: float, s: float) -> None:
    assert probability(down, up, s) == pytest.approx(by_images(down, up, s), abs=1e-8)


@given(walls, st.floats(0.01, 2.0))
def test_one_wall(wall: float, s: float) -> None:
    assert probability(wall, inf, s) == probability(inf, wall, s) == pytest.approx(2 * N(-wall / s), abs=1e-12)


@given(walls, walls, st.floats(0.1, 2.0))
def test_the_even_time_is_even(down: float, up: float, sigma: float) -> None:
    t = even(down, up, sigma)
    assert probability(down, up, sigma * sqrt(t)) == pytest.approx(0.5, abs=1e-6)


def test_the_ends() -> None:
    assert even(0.1, inf, 0.5) == pytest.approx((0.1 / 0.6744897501960817 / 0.5) ** 2)
    assert even(inf, inf, 0.5) == inf == even(0.1, 0.1, 0.0)
    assert (even(0.0, 1.0, 0.5), probability(0.0, 1.0, 0.0), probability(1.0, 1.0, 0.0)) == (0.0, 1.0, 0.0)
    for bad in ((-0.1, 1, 1), (nan, 1, 1), (1, nan, 1), (1, 1, nan)):
        for ask in (probability, even):
            with pytest.raises(ValueError, match="walls"):
                ask(*bad)


@given(st.floats(0.01, 1.0), st.floats(0.0, 3.0), st.floats(0.05, 2.0), st.floats(0.01, 3.0))
def test_a_rising_wall_is_met_as_its_density_says(wall: float, rate: float, sigma: float, years: float) -> None:
    """The density of the first meeting, integrated."""
    t = np.geomspace(years * 1e-9, years, 20_001)
    density = wall / (sigma * np.sqrt(2 * np.pi * t**3)) * np.exp(-((wall - rate * t) ** 2) / (2 * sigma**2 * t))
    assert rising(wall, rate, sigma, years) == pytest.approx(float(np.trapezoid(density * t, np.log(t))), abs=1e-5)


def test_a_wall_that_does_not_rise_is_one_that_stands() -> None:
    assert rising(0.2, 0.0, 0.7, 0.5) == pytest.approx(probability(0.2, inf, 0.7 * sqrt(0.5)))
    assert even_rising(0.2, 0.0, 0.7) == pytest.approx(even(0.2, inf, 0.7))
    assert even_rising(0.2, 0.0, 0.0) == rising(inf, 1.0, 1.0, 1.0) + inf == inf


def test_a_price_that_stands_still_meets_it_when_it_has_risen() -> None:
    assert [rising(0.2, 0.4, 0.0, t) for t in (0.49, 0.51)] == [0.0, 1.0]
    for sigma in (0.0, 1e-9, 1e-4, 1e-3):  # the factors of the formula are beyond floats
        assert even_rising(0.2, 0.4, sigma) == pytest.approx(0.5, abs=1e-3)
    assert even_rising(0.0, 0.4, 0.3) == 0.0 == rising(0.2, 0.1, 0.0, 1.0)


@pytest.mark.parametrize(
    "bad", [(-1.0, 0.0, 0.1, 1.0), (0.1, nan, 0.1, 1.0), (0.1, 0.0, -0.1, 1.0), (0.1, 0.0, 0.1, -1)]
)
def test_a_rising_wall_takes_no_nonsense(bad: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="must not be negative"):
        rising(*bad)
