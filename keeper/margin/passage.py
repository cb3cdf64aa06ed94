"""When a price that wanders without drift first leaves a corridor.

ln S is a Brownian motion; ``down`` and ``up`` are the distances of the walls in ln S, both positive, inf for none;
``s`` is sigma sqrt(t), the standard deviation of ln S at the horizon.

One wall: reflection, P = 2 N(-a / s). Two walls: Feller, Introduction to Probability II, X.5,

    P(out by t) = 1 - sum_k 4 / ((2k+1) pi) sin((2k+1) pi down / w) exp(-((2k+1) pi s / w)^2 / 2),   w = down + up
"""

from __future__ import annotations

from math import erfc, exp, inf, isinf, pi, sin, sqrt
from typing import Final

TERMS: Final = 200
TAIL: Final = 25.0  # deviations from which on the normal's tail is its asymptote
NARROW: Final = 0.05  # s / w below which the walls do not feel each other and the series is slow


def probability(down: float, up: float, s: float) -> float:
    """Probability to have left by the horizon. ValueError for a negative or missing number."""
    if not (down >= 0 and up >= 0 and s >= 0):
        raise ValueError(f"walls and deviation must be numbers and not negative: {down}, {up}, {s}")
    if min(down, up) == 0:
        return 1.0
    if s == 0:
        return 0.0
    width = down + up
    if isinf(width) or s / width < NARROW:
        return min(1.0, sum(erfc(wall / s / sqrt(2)) for wall in (down, up)))
    odd = (2 * k + 1 for k in range(TERMS))
    inside = sum(4 / (n * pi) * sin(n * pi * down / width) * exp(-((n * pi * s / width) ** 2) / 2) for n in odd)
    return min(1.0, max(0.0, 1 - inside))


def even(down: float, up: float, sigma: float) -> float:
    """Years after which having left is as likely as not; inf when there is no wall or nothing moves.

    The mean of the time to a single wall is infinite; this is its median, (a / (0.6745 sigma))^2 for one wall.
    ValueError for a negative or missing number.
    """
    if not (down >= 0 and up >= 0 and sigma >= 0):
        raise ValueError(f"walls and sigma must be numbers and not negative: {down}, {up}, {sigma}")
    nearest = min(down, up)
    if nearest == 0:
        return 0.0
    if isinf(nearest) or sigma == 0:
        return inf
    low, high = 0.0, 2 * nearest / 0.6744897501960817
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if probability(down, up, middle) < 0.5 else (low, middle)
    return (high / sigma) ** 2


def rising(wall: float, rate: float, sigma: float, years: float) -> float:
    """Probability to have met, by then, one wall that is ``wall`` below and comes up by ``rate`` a year: a debt that
    bears interest. Borodin and Salminen, Handbook of Brownian Motion, 2.1.2; ValueError as ``probability``.

        N((m - a) / s) + exp(2 a m / s^2) N(-(m + a) / s),   a the wall, m its rise, s the deviation by then
    """
    if not (wall >= 0 and rate >= 0 and sigma >= 0 and years >= 0):
        raise ValueError(f"wall, rate, sigma and years must not be negative: {wall}, {rate}, {sigma}, {years}")
    s, rise = sigma * sqrt(years), rate * years
    if wall == 0 or isinf(wall):
        return float(wall == 0)
    if s == 0:
        return float(rise >= wall)
    a, m = wall / s, rise / s
    y, first = a + m, erfc((a - m) / sqrt(2)) / 2
    if y > TAIL:  # the factors of the second term leave the range of floats
        return min(1.0, first + exp(-((a - m) ** 2) / 2) / (y * sqrt(2 * pi)))
    return min(1.0, first + exp(2 * a * m) * erfc(y / sqrt(2)) / 2)


def even_rising(wall: float, rate: float, sigma: float) -> float:
    """Years after which having met it is as likely as not; inf when neither moves. ValueError as ``rising``."""
    still = even(wall, inf, sigma)
    low, high = 0.0, min(still, wall / rate) if rate else still
    if isinf(high) or high == 0:
        return high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(wall, rate, sigma, middle) < 0.5 else (low, middle)
    return high
