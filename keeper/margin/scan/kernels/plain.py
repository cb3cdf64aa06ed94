"""Table times positions in numpy."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from keeper.margin.scan.blocks import Blocks, Slice
from keeper.margin.scan.kernels import Likely, Moves, tolerance
from keeper.margin.scan.table import Lanes, Made, Singles, Value

CHUNK: Final = 4096  # blocks whose sums fit into the cache
NO_CAP: Final = np.float32(3e38)


class Plain:
    name = "plain"
    value: Value | None = None
    lanes: Made | None = None
    moves: Moves | None = None
    likely: Likely | None = None

    def whole(self, blocks: Blocks, t: Lanes) -> Singles:
        return self.some(blocks.used, t)

    def some(self, part: Slice, t: Lanes) -> Singles:
        out = np.empty(len(part), np.float32)
        for at in range(0, len(part), CHUNK):
            out[at : at + CHUNK] = _chunk(part[at : at + CHUNK], t)
        return out


def _chunk(b: Slice, t: Lanes) -> Singles:
    """One scenario to a row, so that everything but the look-up runs along contiguous accounts."""
    gain, pair = np.ascontiguousarray(t.gain.T), np.ascontiguousarray(t.pair.T)
    series, lots = np.ascontiguousarray(b.series.T).astype(np.intp), np.ascontiguousarray(b.lots.T).astype(np.float32)
    carried, sums = np.zeros((t.width, len(b)), np.float32), np.zeros((2, len(b)), np.float32)
    least, most = np.zeros(len(b), np.float32), np.zeros(len(b), np.float32)  # of delta between two expiries
    for k in np.flatnonzero(lots.any(axis=1)):
        begins = (b.first >> k & 1).astype(bool)
        np.minimum(least, sums[1], out=least, where=begins)
        np.maximum(most, sums[1], out=most, where=begins)
        np.minimum(carried, np.where(begins, np.float32(0), NO_CAP), out=carried)
        carried += np.take(gain, series[k], axis=1, mode="clip") * lots[k]
        sums += np.take(pair, series[k], axis=1, mode="clip") * lots[k]
    np.minimum(carried, np.zeros_like(carried), out=carried)  # not with a single number: numpy has no vectors for that
    if b.units.any():
        carried += b.units * t.parameters[b.under, 0] * t.shock[b.under].T
    return finish(b, t, carried.min(axis=0), sums[0], (sums[1], least, most))


def finish(b: Slice, t: Lanes, lowest: Any, worth: Any, deltas: tuple[Any, Any, Any]) -> Singles:
    """What the worst weighted scenario, the worth and the delta of a block come to.

    ``deltas``: of all legs, the least and the greatest between two expiries.
    """
    one = len(b) > 0 and bool((b.under == b.under[0]).all())  # the same numbers for all: nothing to look up
    price, factor, size, cut, gross, naked, doubt, bound = t.parameters[b.under[0]] if one else t.parameters[b.under].T
    exposure, most = reach(*deltas, b.units) * price, b.gross
    held = (price * gross) * b.shorts + (price * naked) * b.naked + doubt * most
    if b.units.any():
        value, most = b.units * price, b.gross + b.units
        worth, held = worth + value, held + cut * value
    if len(t.doubt):
        held += (np.abs(b.lots).astype(np.float32) * t.doubt[b.series]).sum(axis=1)
    squared = size * exposure
    brings = worth + factor * np.minimum(lowest, np.zeros_like(lowest)) - squared * exposure - held
    doubtful = np.float32(tolerance(b.series.shape[1])) * bound * most * (1 + 2 * squared)
    return np.asarray(brings - doubtful, np.float32)


def reach(delta: Any, least: Any, most: Any, units: Any) -> Any:
    """The largest delta there is, now or once some of the expiries are over; see ``contracts/Risk.sol``."""
    least, most, delta = np.minimum(least, delta), np.maximum(most, delta), delta + units
    return np.maximum(np.abs(delta - least), np.abs(delta - most))
