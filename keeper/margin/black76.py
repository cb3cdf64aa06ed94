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
    call, f_, k_, w_ = np.broadcast_arrays(is_call, f, k, w)
    sign = np.where(call, 1.0, -1.0)
    live = (w_ >= TINY) & (f_ > 0)
    safe = np.where(live, w_, 1.0)
    d1 = np.log(np.where(live, f_, 1.0) / np.where(live, k_, 1.0)) / safe + safe / 2
    n1, n2 = normal(sign * d1), normal(sign * (d1 - safe))
    intrinsic = np.maximum(sign * (f_ - k_), 0.0)
    in_money = np.where(call, f_ > k_, f_ <= k_)
    v = np.where(live, np.maximum(sign * (f_ * n1 - k_ * n2), 0.0), intrinsic)
    delta = sign * np.where(live, n1, in_money)
    return v, delta


def gamma_vega(f: ArrayLike, k: ArrayLike, w: ArrayLike) -> tuple[Floats, Floats]:
    """(gamma per unit of forward, vega per unit of total volatility w); 0 where ``w`` is tiny."""
    f_, k_, w_ = np.broadcast_arrays(*(np.asarray(x, dtype=np.float64) for x in (f, k, w)))
    live = (w_ >= TINY) & (f_ > 0)
    safe, fs = np.where(live, w_, 1.0), np.where(live, f_, 1.0)
    phi = np.where(live, density(np.log(fs / k_) / safe + safe / 2), 0.0)
    return phi / (fs * safe), fs * phi
