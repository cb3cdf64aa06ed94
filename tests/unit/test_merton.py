"""Merton's jump diffusion against its characteristic function, its special cases and published values."""

from __future__ import annotations

from itertools import pairwise
from math import exp, inf, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from keeper.margin import black76, shortfall
from keeper.margin.merton import Jumps, below, paths, value

CRASHES = Jumps(sigma=0.6, intensity=12, mean=log(0.9) - 0.005, deviation=0.1)

PIECES = (0, 5, 20, 60, 150, 400, 1_000, 3_000)

jumps = st.builds(
    Jumps, st.floats(0.05, 1.5), st.floats(0, 40), st.floats(-0.4, 0.3), st.floats(0, 0.4)
)  # fmt: skip


def by_fourier(forward: float, k: float, t: float, j: Jumps) -> float:
    """A call after Lewis (2001): one integral of the characteristic function of ln S_t / F.

    In pieces, because over all at once the adaptive rule may step over where the function is large; beyond the last it
    is below exp(-200) for every sigma and time that is tried.
    """

    def phi(u: complex) -> complex:
        drift = -(j.sigma**2) / 2 - j.intensity * j.kappa
        jump = j.intensity * (np.exp(1j * u * j.mean - j.deviation**2 * u * u / 2) - 1)
        return complex(np.exp(t * (1j * u * drift - j.sigma**2 * u * u / 2 + jump)))

    x = log(forward / k)

    def inside(u: float) -> float:
        return float((np.exp(1j * u * x) * phi(u - 0.5j)).real / (u * u + 0.25))

    whole = sum(quad(inside, low, high, limit=1_000, epsabs=1e-12)[0] for low, high in pairwise(PIECES))
    return float(forward - sqrt(forward * k) / np.pi * whole)


@settings(max_examples=60, deadline=None)
@given(jumps, st.floats(0.02, 1.0), st.floats(0.6, 1.6))
def test_the_series_is_the_integral_of_the_characteristic_function(j: Jumps, t: float, moneyness: float) -> None:
    found = value(True, 2_000, 2_000 * moneyness, t, j)
    assert found == pytest.approx(by_fourier(2_000, 2_000 * moneyness, t, j), abs=1e-6)


@given(jumps, st.floats(0.01, 1.0), st.floats(0.5, 2.0))
def test_calls_and_puts_differ_by_the_forward(j: Jumps, t: float, moneyness: float) -> None:
    k = 100 * moneyness
    assert value(True, 100, k, t, j) - value(False, 100, k, t, j) == pytest.approx(100 - k, abs=1e-8)


def test_without_jumps_it_is_black() -> None:
    plain, _ = black76.value(True, 100.0, 110.0, 0.4 * sqrt(0.5))
    assert value(True, 100, 110, 0.5, Jumps(0.4, 0, -0.1, 0.2)) == pytest.approx(float(plain), rel=1e-14)


@pytest.mark.parametrize(
    ("k", "t", "intensity", "share", "price"),
    [(55, 0.25, 3, 0.4, 0.2417)],
)
def test_haug(k: float, t: float, intensity: float, share: float, price: float) -> None:
    """Haug, Complete Guide to Option Pricing Formulas, jump diffusion: S 45, r 10 %, 25 % in all, no mean jump."""
    deviation = sqrt(share * 0.25**2 / intensity)
    j = Jumps(sqrt(0.25**2 - intensity * deviation**2), intensity, -(deviation**2) / 2, deviation)
    assert exp(-0.1 * t) * value(True, 45 * exp(0.1 * t), k, t, j) == pytest.approx(price, abs=5e-5)


def test_the_price_has_no_drift() -> None:
    weights, means, deviations = CRASHES.mixture(0.7)
    assert float((weights * np.exp(means + deviations**2 / 2)).sum()) == pytest.approx(1, abs=1e-12)
    assert float(paths(0.7, CRASHES, 400_000, seed=1).mean()) == pytest.approx(1, abs=0.005)


def test_the_law_is_that_of_the_paths() -> None:
    drawn = np.log(paths(1 / 12, CRASHES, 200_000, seed=2))
    for x in (-0.5, -0.2, 0.0, 0.2):
        assert float((drawn <= x).mean()) == pytest.approx(below(x, 1 / 12, CRASHES), abs=0.004)


@pytest.mark.parametrize("bad", [(float("nan"), 1, 0, 0), (-0.1, 1, 0, 0), (0.1, -1, 0, 0), (0.1, 1, 0, inf)])
def test_what_is_no_law_is_refused(bad: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        Jumps(*bad)


@pytest.mark.parametrize("t", [float("nan"), inf, -0.1, 1e9])
def test_what_is_no_time_is_refused(t: float) -> None:
    """A billion years have more jumps than can be counted."""
    for ask in (CRASHES.counts, CRASHES.mixture, lambda t: below(0.1, t, CRASHES), lambda t: paths(t, CRASHES, 4, 1)):
        with pytest.raises(ValueError, match="years at 12 jumps"):
            ask(t)


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), inf])
def test_what_is_no_price_is_refused(bad: float) -> None:
    for forward, k in ((bad, 100.0), (100.0, bad)):
        with pytest.raises(ValueError, match="above 0"):
            value(True, forward, k, 0.5, CRASHES)


def test_a_move_that_is_no_number_and_a_jump_beyond_all_are_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        below(float("nan"), 0.1, CRASHES)
    with pytest.raises(ValueError, match="no jump of a price"):
        Jumps(0.5, 1.0, 1_000.0, 0.1)


# ─── shortfall ────────────────────────────────────────────────────────────────────────────────────


def test_expected_shortfall_of_a_short_put_is_its_value() -> None:
    """A book whose loss beyond equity is a put's payoff: the expectation is Merton's price."""
    moves = np.linspace(-3, 2, 20_001)
    lacking = np.maximum(80 - 100 * np.exp(moves), 0)
    found = shortfall.over(moves, lacking, lambda x: below(x, 0.25, CRASHES), fund=20)
    assert found.expected == pytest.approx(value(False, 100, 80, 0.25, CRASHES), rel=1e-4)
    assert found.unpaid == pytest.approx(value(False, 100, 60, 0.25, CRASHES), rel=1e-4)
    assert found.ruin == pytest.approx(below(log(0.6), 0.25, CRASHES), abs=1e-3)


def test_quantile_and_tail() -> None:
    """The worst hundredth is half of the 200 and half of the 100."""
    losses = np.array([0.0, 100.0, 200.0])
    found = shortfall.measured(losses, np.array([0.985, 0.01, 0.005]), fund=150)
    assert [found.at_risk, found.tail] == pytest.approx([100.0, 150.0])
    assert [found.expected, found.unpaid, found.ruin] == pytest.approx([2.0, 0.25, 0.005])


def test_the_tail_is_never_below_the_quantile_nor_that_below_nothing() -> None:
    moves = np.linspace(-1.5, 1, 200)
    found = shortfall.over(moves, np.maximum(0.0, -moves) * 1e6, lambda x: below(x, 0.01, CRASHES), 1e5)
    assert found.tail >= found.at_risk >= 0 and found.expected >= found.unpaid >= 0


def test_equity_that_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not a number"):
        shortfall.of_book(np.array([[1.0, float("nan")]]))


@pytest.mark.parametrize("moves", [[0.0, float("nan")], [0.1, 0.0], [0.0, 0.0]])
def test_a_ladder_that_does_not_ascend_is_refused(moves: list[float]) -> None:
    with pytest.raises(ValueError, match="ascend"):
        shortfall.over(np.array(moves), np.zeros(2), lambda x: below(x, 0.1, CRASHES), 1.0)


@pytest.mark.parametrize(
    ("losses", "weights", "fund"),
    [
        ([1.0, float("nan")], [0.5, 0.5], 1.0),
        ([1.0, 2.0], [0.5, 0.5], float("nan")),
        ([1.0, 2.0], [0.5, float("nan")], 1.0),
        ([1.0, 2.0], [0.5, 0.6], 1.0),
        ([1.0, 2.0], [1.5, -0.5], 1.0),
    ],
)
def test_losses_and_laws_that_are_none_are_refused(losses: list[float], weights: list[float], fund: float) -> None:
    with pytest.raises(ValueError, match=r"not a number|sum to 1"):
        shortfall.measured(np.array(losses), np.array(weights), fund)
