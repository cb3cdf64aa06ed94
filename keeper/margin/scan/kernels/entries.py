"""The sums of lending positions, compiled: one pass over the accounts."""

from __future__ import annotations

from typing import Any

import numpy as np

from keeper.margin.black76 import Floats
from keeper.margin.scan.blocks import Array
from keeper.margin.scan.kernels.jit import exactly


def sums(a: Array, n: Floats, rates: Floats, b: Array, m: Floats, owed: Floats, size: int) -> tuple[Floats, Floats]:
    """``lending._plain``. The numbers of entries are lengths of tuples, and so constants to the compiler."""
    power, debt = np.empty(size), np.empty(size)
    _both(a, n, rates, b, m, owed, power, debt, (0,) * len(a), (0,) * len(b))
    return power, debt


@exactly
def _both(a: Any, n: Any, rates: Any, b: Any, m: Any, owed: Any, power: Any, debt: Any, c: Any, d: Any) -> None:
    for i in range(len(power)):
        x, y = 0.0, 0.0
        for k in range(len(c)):
            x += rates[a[k, i]] * n[k, i]
        for k in range(len(d)):
            y += owed[b[k, i]] * m[k, i]
        power[i], debt[i] = x, y
