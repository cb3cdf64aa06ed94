"""The volatility of one strike: from an SVI slice, from the one-slot smile, or implied by a price."""

from __future__ import annotations

from math import exp, log, sqrt
from typing import Final

from keeper.margin import black76

MAX_VARIANCE: Final = 144.0  # total; sigma sqrt(tau) of 12
WIDEST: Final = 4.0  # how far the wings of a slice reach, in standard deviations at its vertex
BOUNDS: Final = (0.05, 5.0)  # of the one-slot smile
MAX_TOTAL: Final = 24.0  # sigma sqrt(tau) from which an option is worth its upper bound


def svi(k: float, a: float, b: float, rho: float, m: float, sigma: float, forward: float, tau: float) -> float:
    """Volatility at strike ``k`` of the slice v(x) = a + b (rho (x - m) + sqrt((x - m)^2 + sigma^2)), x = ln(k/F).

    Gatheral's raw parameters as Derive bounds them: |x| <= 4 sqrt(a + b sigma), v <= 144, 0 for strike 0.
    ``tau`` in years, above 0. Raises ValueError where the variance would be negative, or without a forward.
    """
    if k == 0:
        return 0.0
    if forward == 0:
        raise ValueError("needs a forward above 0")
    if a + b * sigma < 0:
        raise ValueError("has a negative variance: a + b sigma is below 0")
    widest = WIDEST * sqrt(a + b * sigma)
    x = max(-widest, min(widest, log(k) - log(forward)))
    v = a + b * (rho * (x - m) + sqrt((x - m) ** 2 + sigma**2))
    if v < 0:
        raise ValueError(f"has a negative variance at strike {k:g}")
    return sqrt(min(v, MAX_VARIANCE) / tau)


def smile(k: float, atm: float, skew: float, curv: float, forward: float, root: float) -> float:
    """atm + skew x + curv x^2 within BOUNDS, x = ln(k/F) / sqrt(tau); the smile of the reference protocol."""
    if root == 0:
        return 0.0
    x = (log(k) - log(forward)) / root if forward > 0 and k > 0 else 0.0
    return max(BOUNDS[0], min(BOUNDS[1], atm + skew * x + curv * x * x))


def implied(is_call: bool, price: float, forward: float, k: float, root: float) -> float:
    """The volatility at which Black (1976) gives an undiscounted ``price``, to the last place that float64 has.

    ``root`` is sqrt(tau), above 0. Raises ValueError when no volatility does: the price must lie between the
    intrinsic value and the forward (call) or the strike (put).
    """
    least = max(forward - k, 0.0) if is_call else max(k - forward, 0.0)
    most = forward if is_call else k
    if not least < price < most:
        raise ValueError(f"is outside ({least:.10g}, {most:.10g}), so no volatility gives it")
    low, high = 0.0, MAX_TOTAL
    while low < (middle := (low + high) / 2) < high:
        if black76.value(is_call, forward, k, middle)[0] < price:
            low = middle
        else:
            high = middle
    return high / root


def grow(rate: float, tau: float) -> float:
    """e^(rate tau); the exponent is held within what float64 can express."""
    return exp(max(-700.0, min(700.0, rate * tau)))
