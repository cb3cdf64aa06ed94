"""Table times positions in scipy: the j-th expiries of all accounts are one sparse matrix, multiplied in order of j.

Products are added where the sums are, which spares a pass over memory and a copy for each level; the function for that
is not among those that scipy documents, so that ``@`` stands in for it where it is not there any more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, cast
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse

from keeper.margin.scan.blocks import CHUNK, Array, Blocks, Slice
from keeper.margin.scan.kernels import Likely, Moves
from keeper.margin.scan.kernels.plain import finish
from keeper.margin.scan.table import Lanes, Made, Singles, Value


class Plan(NamedTuple):
    """Positions as matrices of lots, one row a block, R columns."""

    order: Array  # of the blocks in ``levels``
    levels: list[Any]  # by level of expiry; the rows that have one
    whole: Any  # all legs, in the order of the blocks


class Sparse:
    name = "sparse"
    value: Value | None = None
    lanes: Made | None = None
    moves: Moves | None = None
    likely: Likely | None = None

    def __init__(self) -> None:
        self._plans: WeakKeyDictionary[Blocks, dict[int, Plan]] = WeakKeyDictionary()

    def whole(self, blocks: Blocks, t: Lanes) -> Singles:
        """Matrices are kept from one time to the next, and made again for chunks that were written to."""
        plans, used = self._plans.setdefault(blocks, {}), blocks.used
        for chunk in blocks.touched():
            plans.pop(chunk, None)
        out, room = np.empty(len(used), np.float32), _Room(len(used), t)
        for at in range(0, len(used), CHUNK):
            part = used[at : at + CHUNK]
            kept = plans.get(at // CHUNK)
            if kept is None or kept.whole.shape != (len(part), len(t.gain)):
                kept = plans[at // CHUNK] = _plan(part, len(t.gain))
            out[at : at + CHUNK] = _product(part, kept, t, room)
        return out

    def some(self, part: Slice, t: Lanes) -> Singles:
        parts, room = (part[at : at + CHUNK] for at in range(0, len(part), CHUNK)), _Room(len(part), t)
        found = [_product(each, _plan(each, len(t.gain)), t, room) for each in parts]
        return np.concatenate(found) if found else np.zeros(0, np.float32)


def _plan(b: Slice, series: int) -> Plan:
    """Accounts with many expiries come first, so that a level need not go through those that end before it."""
    slots = np.arange(b.series.shape[1])
    begins = b.first[:, None] >> slots & 1
    level = np.where(b.lots != 0, np.cumsum(begins, axis=1) - 1, -1)
    count = np.maximum(1, level.max(axis=1, initial=-1) + 1)
    order = np.argsort(-count, kind="stable")
    reach = [int((count > j).sum()) for j in range(int(count.max(initial=1)))]
    levels = [_matrix(b[order[:n]], level[order[:n]] == j, series) for j, n in enumerate(reach)]
    return Plan(order, levels, _matrix(b, level >= 0, series))


def _matrix(b: Slice, chosen: Array, series: int) -> Any:
    ends = np.concatenate([[0], np.cumsum(chosen.sum(axis=1))]).astype(np.int32)
    entries = b.lots[chosen].astype(np.float32), b.series[chosen].astype(np.int32), ends
    return sparse.csr_array(entries, shape=(len(b), series))


class _Room:
    """Sums of one chunk, zeros as many, and the table: what every chunk of a scan uses again.

    Beside its scenarios the table has delta and delta turned round, and two columns of nothing, up to a word of four:
    folded as gains are, they are the least and the greatest that it can be once some of the expiries are over.
    """

    def __init__(self, blocks: int, t: Lanes) -> None:
        shape = min(blocks, CHUNK), t.width + 4
        self.sums, self.zeros = np.empty(shape, np.float32), np.zeros(shape, np.float32)
        self.table = np.zeros((len(t.gain), t.width + 4), np.float32)
        self.table[:, : t.width], self.table[:, t.width], self.table[:, t.width + 1] = (
            t.gain,
            t.pair[:, 1],
            -t.pair[:, 1],
        )
        self.worth = np.ascontiguousarray(t.pair[:, 0])


def _product(b: Slice, plan: Plan, t: Lanes, room: _Room) -> Singles:
    """Minima are taken with as many zeros: numpy has no vectors for those with a single number."""
    carried, zeros, w = room.sums[: len(b)], room.zeros[: len(b)], t.width
    carried[:] = 0
    for level, matrix in enumerate(plan.levels):
        part = carried[: matrix.shape[0]]
        if level:
            np.minimum(part, zeros[: len(part)], out=part)
        _add(part, matrix, room.table)
    np.minimum(carried, zeros, out=carried)
    if b.units.any():
        held, under = b.units[plan.order], b.under[plan.order]
        carried[:, :w] += t.shock[under] * (held * t.parameters[under, 0])[:, None]
    lowest, deltas = np.empty(len(b), np.float32), np.zeros((3, len(b)), np.float32)
    lowest[plan.order] = _lowest(carried, w)
    deltas[1, plan.order], deltas[2, plan.order] = carried[:, w + 1], -carried[:, w]
    return finish(b, t, lowest, plan.whole @ room.worth, (deltas[0], deltas[1], deltas[2]))


def _lowest(carried: Singles, width: int) -> Singles:
    """(B,) the least of each row. Turned by fours and then by twos, which is moving words, before minima are taken."""
    fours = (
        np.ascontiguousarray(carried.view(np.complex128)[:, : width // 4].T).view(np.float32).min(axis=0).reshape(-1, 4)
    )
    twos = np.ascontiguousarray(fours.view(np.float64).T).view(np.float32).min(axis=0)
    return np.asarray(np.minimum(twos[0::2], twos[1::2]))


def _add(sums: Singles, matrix: Any, table: Singles) -> None:
    """sums += matrix @ table."""
    if ADDS is None:
        sums += matrix @ table
    else:
        ADDS(*matrix.shape, table.shape[1], matrix.indptr, matrix.indices, matrix.data, table.ravel(), sums.ravel())


def _adds() -> Callable[..., None] | None:
    """(rows, columns, vectors, ends, places, entries, table, sums): all arrays flat, and sums written to."""
    try:
        from scipy.sparse import _sparsetools

        return cast(Callable[..., None], _sparsetools.csr_matvecs)
    except (ImportError, AttributeError):
        return None


ADDS: Final = _adds()
