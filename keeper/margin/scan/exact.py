"""The same margin in float64, without a bound to take off: health and Greeks of every account, from the same table.

The third telling of the rules, beside ``portfolio.Assessment`` (dense matrices, for reading) and the kernels (float32,
for screening); tests hold the three together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from keeper.margin.black76 import Floats
from keeper.margin.portfolio import Health
from keeper.margin.scan.blocks import Array, Blocks, Slice
from keeper.margin.scan.table import Table

CHUNK = 8192  # blocks
Laid = Sequence[tuple[Array, Blocks]]  # row of the account of each block, blocks
Units = Mapping[int, Mapping[int, float]]  # row -> underlying -> lots of collateral, of accounts that have any


def assess(cash: Floats, laid: Laid, t: Table, lot: float, units: Units) -> Health:
    """``cash`` (N,) US dollars by row. All of ``Health``, by row."""
    n, u = len(cash), t.moves.shape[0]
    h = Health(cash.copy(), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros((n, u), np.int64), np.zeros((n, u)))
    for rows, b in _chunks(laid):
        held = [units.get(row, {}).get(under, 0.0) for row, under in zip(rows.tolist(), b.under.tolist(), strict=True)]
        _add(h, rows, b, t, lot, np.array(held) * lot)
    return h


def _chunks(laid: Laid) -> Iterator[tuple[Array, Slice]]:
    for rows, blocks in laid:
        for at in range(0, blocks.size, CHUNK):
            part = slice(at, min(at + CHUNK, blocks.size))
            used = blocks.used[part].gross + blocks.used[part].units > 0
            yield rows[part][used], blocks.used[part][used]


def _add(h: Health, rows: Array, b: Slice, t: Table, lot: float, units: Floats) -> None:
    """One block each; an account has at most one per underlying. ``units`` of collateral, in contracts."""
    r, u = t.rules, b.under
    price, size = t.inputs.prices[u], b.lots * lot
    carried, calls, puts = np.zeros((len(b), t.gain.shape[1])), np.zeros(len(b)), np.zeros(len(b))
    worth, delta, doubt = np.zeros(len(b)), np.zeros(len(b)), np.zeros(len(b))
    least, most = np.zeros(len(b)), np.zeros(len(b))  # of delta between two expiries
    for k in range(b.series.shape[1]):
        n, i, begins = size[:, k], b.series[:, k], (b.first >> k & 1).astype(bool)
        is_call = t.inputs.is_call[i]
        least = np.where(begins, np.minimum(least, delta), least)
        most = np.where(begins, np.maximum(most, delta), most)
        carried = np.where(begins[:, None], np.minimum(carried, 0.0), carried) + n[:, None] * t.gain[i]
        calls = np.where(begins, np.minimum(calls, 0.0), calls) + n * is_call
        puts = np.where(begins, np.minimum(puts, 0.0), puts) + n * ~is_call
        worth, delta, doubt = worth + n * t.worth[i], delta + n * t.delta[i], doubt + np.abs(n) * t.doubt[i]
    least, most = np.minimum(least, delta), np.maximum(most, delta)
    value, delta = units * price, delta + units
    reach = np.maximum(np.abs(delta - least), np.abs(delta - most))
    losses = np.maximum(0.0, -(np.minimum(carried, 0.0) + value[:, None] * t.moves[u])) * r.scenarios.weight
    losses = np.where(value[:, None] != 0, losses, np.maximum(0.0, -carried) * r.scenarios.weight)
    naked, shorts = np.maximum(-calls, 0.0) + np.maximum(-puts, 0.0), np.maximum(-size, 0.0).sum(axis=1)
    depths = np.append(r.depths, np.full(len(t.moves) - len(r.depths), np.inf))
    both = r.size * (reach * price) ** 2 / depths[u] + price * (r.floor_naked * naked + r.doubt * doubt)
    cuts = np.array([_cut(t, under) for under in range(len(t.moves))])[u]
    np.add.at(h.equity, rows, worth + value)
    np.add.at(h.gross, rows, (np.abs(size).sum(axis=1) + units) * price)
    for q, requirement in enumerate((h.mm, h.im)):
        charged = r.factor[q] * losses.max(axis=1) + both + price * shorts * r.floor_gross[q] + cuts[:, q] * value
        np.add.at(requirement, rows, charged)
    h.worst[rows, u], h.delta[rows, u] = losses.argmax(axis=1), delta


def _cut(t: Table, under: int) -> tuple[float, float]:
    """The largest haircuts (maintenance, initial) of assets with this underlying."""
    mine = [tuple(t.rules.haircuts[a]) for a, of in enumerate(t.rules.asset_of) if of == under]
    return (max(cut[0] for cut in mine), max(cut[1] for cut in mine)) if mine else (0.0, 0.0)


def greeks(count: int, laid: Laid, t: Table, lot: float) -> Mapping[str, Floats]:
    """(N, U) each, of the options of every account; collateral, whose delta is one, not counted."""
    found = {name: np.zeros((count, t.moves.shape[0])) for name in t.greeks}
    for rows, b in _chunks(laid):
        for name, values in t.greeks.items():
            np.add.at(found[name], (rows, b.under), (b.lots * lot * values[b.series]).sum(axis=1))
    return found
