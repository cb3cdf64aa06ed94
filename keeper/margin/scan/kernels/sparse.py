"""Table times positions in scipy: the j-th expiries of all accounts are one sparse matrix, multiplied in order of j."""

from __future__ import annotations

from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from scipy import sparse

from keeper.margin.scan.blocks import CHUNK, Array, Blocks, Slice
from keeper.margin.scan.kernels.plain import finish
from keeper.margin.scan.table import Lanes, Singles, Value


class Plan(NamedTuple):
    """Positions as matrices of lots, one row a block, R columns."""

    order: Array  # of the blocks in ``levels``
    levels: list[Any]  # by level of expiry; the rows that have one
    whole: Any  # all legs, in the order of the blocks


class Sparse:
    name = "sparse"
    value: Value | None = None

    def __init__(self) -> None:
        self._plans: WeakKeyDictionary[Blocks, dict[int, Plan]] = WeakKeyDictionary()

    def whole(self, blocks: Blocks, t: Lanes) -> Singles:
        """Matrices are kept from one time to the next, and made again for chunks that were written to."""
        plans, used = self._plans.setdefault(blocks, {}), blocks.used
        for chunk in blocks.touched():
            plans.pop(chunk, None)
        out = np.empty(len(used), np.float32)
        for at in range(0, len(used), CHUNK):
            part = used[at : at + CHUNK]
            kept = plans.get(at // CHUNK)
            if kept is None or kept.whole.shape != (len(part), len(t.gain)):
                kept = plans[at // CHUNK] = _plan(part, len(t.gain))
            out[at : at + CHUNK] = _product(part, kept, t)
        return out

    def some(self, part: Slice, t: Lanes) -> Singles:
        parts = (part[at : at + CHUNK] for at in range(0, len(part), CHUNK))
        found = [_product(each, _plan(each, len(t.gain)), t) for each in parts]
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


def _product(b: Slice, plan: Plan, t: Lanes) -> Singles:
    """``turned`` has one scenario to a row: minima along a row are slow."""
    carried = plan.levels[0] @ t.gain
    for matrix in plan.levels[1:]:
        part = carried[: matrix.shape[0]]
        np.minimum(part, 0, out=part)
        part += matrix @ t.gain
    np.minimum(carried, 0, out=carried)
    turned = np.ascontiguousarray(carried.T)
    if b.units.any():
        held, under = b.units[plan.order], b.under[plan.order]
        turned += np.ascontiguousarray(t.shock[under].T) * (held * t.parameters[under, 0])
    lowest = np.empty(len(b), np.float32)
    lowest[plan.order] = turned.min(axis=0)
    worth, delta = np.ascontiguousarray((plan.whole @ t.pair).T)
    return finish(b, t, lowest, worth, delta)
