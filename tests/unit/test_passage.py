"""Leaving a corridor: the series against the method of images, and against one wall."""

from __future__ import annotations

from math import inf, nan, sqrt
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keeper.margin.passage import even, probability

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
