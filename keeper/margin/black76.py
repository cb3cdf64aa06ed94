"""Black (1976) for arrays: value, delta, gamma, vega.

Black, F., "The pricing of commodity contracts", Journal of Financial Economics 3 (1976). Undiscounted, on a forward
``f``; ``w`` is sigma sqrt(t). All arguments broadcast; float64 throughout.
"""

from __future__ import annotations

from math import erfc

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

TINY = 1e-9  # total volatility below which an option is worth its intrinsic value


def normal(x: ArrayLike) -> Floats:
    """Standard normal distribution function, accurate to one unit in the last place of ``math.erfc``."""
    z = np.asarray(x, dtype=np.float64) * -0.7071067811865476
    return np.fromiter(map(erfc, z.ravel().tolist()), np.float64, z.size).reshape(z.shape) * 0.5


def density(x: ArrayLike) -> Floats:
    """Standard normal density."""
    z = np.asarray(x, dtype=np.float64)
    return np.asarray(np.exp(z * z * -0.5) * 0.3989422804014327)


def value(is_call: ArrayLike, f: ArrayLike, k: ArrayLike, w: ArrayLike) -> tuple[Floats, Floats]:
    """(undiscounted value, forward delta), each of the broadcast shape. ``f`` >= 0, ``k`` > 0, ``w`` >= 0."""
    f_, k_, w_ = np.asarray(f, np.float64), np.asarray(k, np.float64), np.asarray(w, np.float64)
    live = (w_ >= TINY) & (f_ > 0)
    sign = np.where(is_call, 1.0, -1.0)
    safe, ratio = np.where(live, w_, 1.0), np.where(live, f_, 1.0) / np.where(live, k_, 1.0)
    d1 = np.log(ratio) / safe + safe / 2
    e = np.exp(d1 * d1 * -0.5)
    n1 = _normal(sign * d1, e)
    n2 = _normal(sign * (d1 - safe), e * ratio)  # phi(d2) = phi(d1) f / k
    v = np.maximum(sign * (f_ * n1 - k_ * n2), 0.0)
    if live.all():
        return v, sign * n1
    in_money = np.where(is_call, f_ > k_, f_ <= k_)
    intrinsic = np.maximum(sign * (f_ - k_), 0.0)
    return np.where(live, v, intrinsic), sign * np.where(live, n1, in_money)


# N(-z) = exp(-z^2 / 2) a(z) / b(z) for 0 <= z < CUT (Hart, "Computer Approximations", 1968, number 5666)
CUT = 7.071067811865475
_A = (
    3.52624965998911e-02,
    0.700383064443688,
    6.37396220353165,
    33.912866078383,
    112.079291497871,
    221.213596169931,
    220.206867912376,
)
_B = (
    8.83883476483184e-02,
    1.75566716318264,
    16.064177579207,
    86.7807322029461,
    296.564248779674,
    637.333633378831,
    793.826512519948,
    440.413735824752,
)


def _normal(z: Floats, e: Floats) -> Floats:
    """N(z), absolute error below 1e-15, given ``e`` = exp(-z^2 / 2): ``normal`` at array speed."""
    x = np.abs(z)
    tail = e * _horner(_A, x) / _horner(_B, x)
    if (far := x >= CUT).any():
        y = x[far]  # the continued fraction of Mills' ratio
        tail[far] = e[far] / (y + 1 / (y + 2 / (y + 3 / (y + 4 / (y + 0.65))))) * 0.3989422804014327
    return np.where(z > 0, 1.0 - tail, tail)


def _horner(coefficients: tuple[float, ...], x: Floats) -> Floats:
    sum_ = x * coefficients[0]
    for c in coefficients[1:-1]:
        sum_ += c
        sum_ *= x
    sum_ += coefficients[-1]
    return sum_


def gamma_vega(f: ArrayLike, k: ArrayLike, w: ArrayLike) -> tuple[Floats, Floats]:
    """(gamma per unit of forward, vega per unit of total volatility w); 0 where ``w`` is tiny."""
    f_, k_, w_ = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (f, k, w)))
    live = (w_ >= TINY) & (f_ > 0)
    safe, fs = np.where(live, w_, 1.0), np.where(live, f_, 1.0)
    phi = np.where(live, density(np.log(fs / k_) / safe + safe / 2), 0.0)
    return phi / (fs * safe), fs * phi
