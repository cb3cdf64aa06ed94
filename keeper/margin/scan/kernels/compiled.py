"""Table times positions, compiled by numba.

The shape is what matters: eight legs in registers, one pass over all scenarios that is *stored*, then a halving
minimum. LLVM turns that into vector instructions; with a running minimum inside the loop, or one pass per leg, it
does not, and takes three times as long. The number of lanes is part of a type (the length of a tuple), and so a
constant to the compiler. There are no bounds checks: ``_checked`` is the border.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import numba
import numpy as np

from keeper.margin.scan.blocks import Blocks, Slice
from keeper.margin.scan.kernels import tolerance
from keeper.margin.scan.kernels.plain import NO_CAP
from keeper.margin.scan.table import Lanes, Singles

F = TypeVar("F", bound=Callable[..., Any])
FAST: Final = {"nnan", "nsz", "contract", "reassoc", "arcp"}  # the border lets no NaN in
CAPS: Final = np.array([NO_CAP, 0], np.float32)


def _compiled(function: F) -> F:
    """Kept on disk where there is a place to keep it."""
    try:
        return cast(F, numba.njit(fastmath=FAST, error_model="numpy", nogil=True, cache=True)(function))
    except RuntimeError:
        return cast(F, numba.njit(fastmath=FAST, error_model="numpy", nogil=True)(function))


class Compiled:
    name = "compiled"

    def whole(self, blocks: Blocks, t: Lanes) -> Singles:
        return self.some(blocks.used, t)

    def some(self, part: Slice, t: Lanes) -> Singles:
        out = np.empty(len(part), np.float32)
        if len(part):
            _checked(part, t)
            kernel = _eight if part.series.shape[1] == 8 else _many
            lanes = (np.float32(0),) * t.width
            epsilon = np.float32(tolerance(part.series.shape[1]))
            held = (part.units, part.shorts, part.naked, part.gross)
            table = (t.gain, t.pair, t.doubt, t.shock, t.parameters, CAPS)
            kernel(part.series, part.lots, part.first, part.under, *held, *table, epsilon, lanes, out)
        return out


def _checked(b: Slice, t: Lanes) -> None:
    """IndexError rather than a read beyond the table."""
    if int(b.series.max()) >= len(t.gain) or int(b.under.max()) >= len(t.parameters):
        raise IndexError("a block names a series or an underlying that the table does not have")


@_compiled
def _eight(
    series: Any, lots: Any, first: Any, under: Any, units: Any, shorts: Any, naked: Any, gross: Any,
    gain: Any, pair: Any, doubt: Any, shock: Any, parameters: Any, caps: Any, epsilon: Any, lanes: Any, out: Any,
) -> None:  # fmt: skip
    t, w, zero = np.empty(len(lanes), np.float32), len(lanes), np.float32(0)
    for n in range(series.shape[0]):
        m, u, p = first[n], under[n], parameters[under[n]]
        i0, q0, c0 = series[n, 0], np.float32(lots[n, 0]), zero
        i1, q1, c1 = series[n, 1], np.float32(lots[n, 1]), caps[m >> 1 & 1]
        i2, q2, c2 = series[n, 2], np.float32(lots[n, 2]), caps[m >> 2 & 1]
        i3, q3, c3 = series[n, 3], np.float32(lots[n, 3]), caps[m >> 3 & 1]
        i4, q4, c4 = series[n, 4], np.float32(lots[n, 4]), caps[m >> 4 & 1]
        i5, q5, c5 = series[n, 5], np.float32(lots[n, 5]), caps[m >> 5 & 1]
        i6, q6, c6 = series[n, 6], np.float32(lots[n, 6]), caps[m >> 6 & 1]
        i7, q7, c7 = series[n, 7], np.float32(lots[n, 7]), caps[m >> 7 & 1]
        r0, r1, r2, r3, r4, r5, r6, r7 = gain[i0], gain[i1], gain[i2], gain[i3], gain[i4], gain[i5], gain[i6], gain[i7]
        price, held, moves = p[0], units[n], shock[u]
        value = held * price
        for s in range(w):
            x = q0 * r0[s]
            x = (x if x < c1 else c1) + q1 * r1[s]
            x = (x if x < c2 else c2) + q2 * r2[s]
            x = (x if x < c3 else c3) + q3 * r3[s]
            x = (x if x < c4 else c4) + q4 * r4[s]
            x = (x if x < c5 else c5) + q5 * r5[s]
            x = (x if x < c6 else c6) + q6 * r6[s]
            x = (x if x < c7 else c7) + q7 * r7[s]
            t[s] = (x if x < c0 else c0) + value * moves[s]
        lowest = _lowest(t, w)
        worth = q0 * pair[i0, 0] + q1 * pair[i1, 0] + q2 * pair[i2, 0] + q3 * pair[i3, 0]
        worth += q4 * pair[i4, 0] + q5 * pair[i5, 0] + q6 * pair[i6, 0] + q7 * pair[i7, 0]
        delta = q0 * pair[i0, 1] + q1 * pair[i1, 1] + q2 * pair[i2, 1] + q3 * pair[i3, 1]
        delta += q4 * pair[i4, 1] + q5 * pair[i5, 1] + q6 * pair[i6, 1] + q7 * pair[i7, 1]
        x = (delta + held) * price
        charged = price * (p[4] * shorts[n] + p[5] * naked[n]) + p[6] * gross[n] + p[3] * value
        if len(doubt):
            for k in range(8):
                charged += abs(np.float32(lots[n, k])) * doubt[series[n, k]]
        off = epsilon * p[7] * (gross[n] + held) * (np.float32(1) + np.float32(2) * p[2] * abs(x))
        out[n] = worth + value + p[1] * lowest - p[2] * x * x - charged - off


@_compiled
def _many(
    series: Any, lots: Any, first: Any, under: Any, units: Any, shorts: Any, naked: Any, gross: Any,
    gain: Any, pair: Any, doubt: Any, shock: Any, parameters: Any, caps: Any, epsilon: Any, lanes: Any, out: Any,
) -> None:  # fmt: skip
    """The same for any number of slots, not unrolled."""
    t, w, zero = np.empty(len(lanes), np.float32), len(lanes), np.float32(0)
    for n in range(series.shape[0]):
        p, price, held, worth, delta = parameters[under[n]], parameters[under[n], 0], units[n], zero, zero
        charged = price * (p[4] * shorts[n] + p[5] * naked[n]) + p[6] * gross[n] + p[3] * held * price
        t[:] = zero
        for k in range(series.shape[1]):
            q, i = np.float32(lots[n, k]), series[n, k]
            if q != zero:
                cap, r = caps[first[n] >> k & 1], gain[i]
                for s in range(w):
                    t[s] = (t[s] if t[s] < cap else cap) + q * r[s]
                worth += q * pair[i, 0]
                delta += q * pair[i, 1]
                if len(doubt):
                    charged += abs(q) * doubt[i]
        value, moves = held * price, shock[under[n]]
        for s in range(w):
            t[s] = (t[s] if t[s] < zero else zero) + value * moves[s]
        x = (delta + held) * price
        off = epsilon * p[7] * (gross[n] + held) * (np.float32(1) + np.float32(2) * p[2] * abs(x))
        out[n] = worth + value + p[1] * _lowest(t, w) - p[2] * x * x - charged - off


@_compiled
def _lowest(t: Any, w: int) -> Any:
    """The least of ``w`` lanes, a multiple of 16, and zero."""
    for h in range(16, w, 16):
        for s in range(16):
            t[s] = t[s] if t[s] < t[s + h] else t[s + h]
    for s in range(8):
        t[s] = t[s] if t[s] < t[s + 8] else t[s + 8]
    lowest = np.float32(0)
    for s in range(8):
        lowest = t[s] if t[s] < lowest else lowest
    return lowest
