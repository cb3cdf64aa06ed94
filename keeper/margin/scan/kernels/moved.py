"""``slack.moves``, compiled: how far a table has moved, in one pass. A tick looks at little else."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from keeper.margin.scan.blocks import WIDTHS, Array
from keeper.margin.scan.kernels import Doubles, tolerance
from keeper.margin.scan.kernels.jit import exactly
from keeper.margin.scan.table import UNIT, Lanes

ROUNDED: Final = 1 + 2 * UNIT  # a difference in float32
NOISE: Final = 2 * tolerance(WIDTHS[-1])


def moves(was: Lanes, now: Lanes, same: Array | slice) -> Doubles | None:
    """As ``slack.moves``."""
    if was.gain.shape[1] != now.gain.shape[1] or was.parameters.shape != now.parameters.shape:
        return None
    rows = np.arange(len(now.under))[same] if isinstance(same, slice) else same
    out = np.zeros((3, len(now.parameters)))
    old, new = ((t.gain, t.four, t.doubt, t.shock, t.parameters) for t in (was, now))
    return out[0] if _moves(rows, now.under, *old, *new, out) else None


@exactly
def _moves(
    rows: Any, under: Any, gain: Any, pair: Any, doubt: Any, shock: Any, parameters: Any,
    gains: Any, pairs: Any, doubts: Any, shocks: Any, news: Any, out: Any,
) -> Any:  # fmt: skip
    """``out`` (3, U): first the largest leg, change of exposure and exposure; then the move. False: other rules.

    ``float`` of a float32 is one here, so that float64 is asked for by its name.
    """
    for i in rows:
        u, most = under[i], np.float32(0)
        for s in range(gain.shape[1]):
            most = max(most, abs(gains[i, s] - gain[i, s]))
        unsure = np.float64(doubt[i]) if len(doubt) else np.float64(parameters[u, 6])
        after = np.float64(doubts[i]) if len(doubts) else np.float64(news[u, 6])
        leg = (
            abs(np.float64(pairs[i, 0]) - np.float64(pair[i, 0]))
            + parameters[u, 1] * (most * ROUNDED)
            + abs(after - unsure)
        )
        exposure, moved = pair[i, 1] * np.float64(parameters[u, 0]), pairs[i, 1] * np.float64(news[u, 0])
        out[0, u] = max(out[0, u], leg)
        out[1, u] = max(out[1, u], abs(moved - exposure))
        out[2, u] = max(out[2, u], abs(exposure))
    for u in range(len(news)):
        for k in range(1, 6):
            if parameters[u, k] != news[u, k]:
                return False
        price, new = np.float64(parameters[u, 0]), np.float64(news[u, 0])
        step, size, noise = (
            abs(new - price),
            np.float64(parameters[u, 2]),
            NOISE * (np.float64(parameters[u, 7]) + news[u, 7]),
        )
        shocked = 0.0
        for s in range(shock.shape[1]):
            shocked = max(shocked, abs(shocks[u, s] * new - shock[u, s] * price))
        leg = out[0, u] + step * (np.float64(parameters[u, 4]) + parameters[u, 5])
        unit = step * (1.0 + parameters[u, 3]) + parameters[u, 1] * shocked
        d, x = max(step, out[1, u]), max(price, out[2, u])
        a, b = max(leg, unit) + noise, size * d * (2.0 * x + d) + noise * 2.0 * size * (x + d)
        per = price if price > 0.0 else 1.0
        kappa = 4.0 * size * per
        out[0, u] = max(a, b / kappa if kappa > 0.0 else 0.0) / per
    return True
