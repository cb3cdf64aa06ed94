"""Table times positions, compiled by numba.

Blocks of eight slots, nearly all, go through ``legs``; longer ones through loops in Python's words. Their shape
matters: a pass over all scenarios that is *stored*, then a halving minimum. LLVM turns that into vector instructions;
with a running minimum inside the loop it does not. The number of lanes is part of a type (the length of a tuple, by the
16), and so a constant to the compiler. There are no bounds checks: ``Compiled._run`` is the border.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final

import numpy as np

from keeper.margin.scan.blocks import Blocks, Slice
from keeper.margin.scan.kernels import Likely, Moves, tolerance
from keeper.margin.scan.kernels.jit import compiled
from keeper.margin.scan.kernels.legs import LEGS, eight_legs
from keeper.margin.scan.kernels.moved import moves
from keeper.margin.scan.kernels.plain import NO_CAP
from keeper.margin.scan.kernels.values import lanes, likely, term
from keeper.margin.scan.table import VECTOR, Lanes, Made, Singles, Value

CAPS: Final = np.array([NO_CAP, 0], np.float32)
MASKS: Final = np.ascontiguousarray(CAPS[np.arange(2**LEGS)[:, None] >> np.arange(LEGS) & 1])  # of all legs at once


class Compiled:
    name = "compiled"
    value: Value | None = staticmethod(term)
    lanes: Made | None = staticmethod(lanes)
    moves: Moves | None = staticmethod(moves)
    likely: Likely | None = staticmethod(likely)

    def whole(self, blocks: Blocks, t: Lanes) -> Singles:
        return self._run(blocks.used, blocks.top, t)

    def some(self, part: Slice, t: Lanes) -> Singles:
        return self._run(part, (int(part.series.max(initial=0)), int(part.under.max(initial=0))), t)

    def _run(self, part: Slice, top: tuple[int, int], t: Lanes) -> Singles:
        """IndexError rather than a read beyond the table. ``top``: no block names a series or underlying above."""
        if top[0] >= len(t.gain) or top[1] >= len(t.parameters):
            raise IndexError("a block names a series or an underlying that the table does not have")
        out = np.empty(len(part), np.float32)
        if len(part):
            kernel, caps = (eight_legs, MASKS) if part.series.shape[1] == LEGS else (_many, CAPS)
            epsilon, lanes = _constants(part.series.shape[1], t.width)
            held = (part.units, part.shorts, part.naked, part.gross)
            table = (t.gain, t.four, t.doubt, t.shock, t.parameters, caps)
            kernel(part.series, part.lots, part.first, part.under, *held, *table, epsilon, lanes, out)
        return out


@cache
def _constants(slots: int, width: int) -> tuple[np.float32, tuple[np.float32, ...]]:
    return np.float32(tolerance(slots)), (np.float32(0),) * (width // VECTOR)


@compiled
def _many(
    series: Any, lots: Any, first: Any, under: Any, units: Any, shorts: Any, naked: Any, gross: Any,
    gain: Any, pair: Any, doubt: Any, shock: Any, parameters: Any, caps: Any, epsilon: Any, lanes: Any, out: Any,
) -> None:  # fmt: skip
    """The same for any number of slots, not unrolled."""
    w, zero = VECTOR * len(lanes), np.float32(0)
    t = np.empty(w, np.float32)
    for n in range(series.shape[0]):
        p, price, held, worth, delta = parameters[under[n]], parameters[under[n], 0], units[n], zero, zero
        charged = price * (p[4] * shorts[n] + p[5] * naked[n]) + p[6] * gross[n] + p[3] * held * price
        t[:], least, most = zero, zero, zero  # of delta between two expiries
        for k in range(series.shape[1]):
            q, i = np.float32(lots[n, k]), series[n, k]
            if q != zero:
                cap, r = caps[first[n] >> k & 1], gain[i]
                for s in range(w):
                    t[s] = (t[s] if t[s] < cap else cap) + q * r[s]
                if first[n] >> k & 1:
                    least, most = min(least, delta), max(most, delta)
                worth += q * pair[i, 0]
                delta += q * pair[i, 1]
                if len(doubt):
                    charged += abs(q) * doubt[i]
        value, moves = held * price, shock[under[n]]
        for s in range(w):
            t[s] = (t[s] if t[s] < zero else zero) + value * moves[s]
        least, most = min(least, delta), max(most, delta)
        x = max(abs(delta + held - least), abs(delta + held - most)) * price
        off = epsilon * p[7] * (gross[n] + held) * (np.float32(1) + np.float32(2) * p[2] * x)
        out[n] = worth + value + p[1] * _lowest(t, w) - p[2] * x * x - charged - off


@compiled
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
