"""How far the market may move before an account has to be looked at again.

After a scan every account has a margin m, and in each underlying a size g (lots, collateral included). When the table
changes, whatever the cause, spot, volatility, time, rates or confidence, what a block brings changes by no more than

    g A + g^2 B      A = max over series of |d worth| + factor max over scenarios |d gain| + |d price| x floors ...
                     B = size x D (2 X + D), D and X the largest change and value of delta x price per lot

because folding, maxima and sums of products are Lipschitz in the table. B <= kappa A' and A <= A' make that one number
per underlying, A' (g + kappa g^2): accounts sorted by m / (g + kappa g^2) are those within reach of a move A', up to
a place that a binary search finds. Only the nearest are kept in order; a move beyond them is a scan of all.

The bound holds for the numbers that kernels compute, rounding included, so that a look at those within reach names
exactly the accounts that a scan of all would name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from keeper.margin.scan.blocks import WIDTHS, Array, Blocks
from keeper.margin.scan.kernels import Doubles, Moves, tolerance
from keeper.margin.scan.table import UNIT, Lanes, Singles

NEAREST: Final = 8  # one in so many accounts is kept in order
LEAST: Final = 64  # accounts that are kept in any case
ROUNDED: Final = 1 + 2 * UNIT  # a difference in float32
MIXED: Final = -1  # the group of accounts in several underlyings, or in none
Laid = Sequence[tuple[Array, Blocks]]  # row of the account of each block, blocks


@dataclass(frozen=True)
class Group:
    """Accounts of one underlying, the nearest first; ``limit`` is where the order ends."""

    rows: Array  # int32
    keys: Singles  # margin per weighted size, relative to the price
    limit: float


@dataclass(frozen=True)
class Index:
    lanes: Lanes  # at which the margins were taken
    groups: Mapping[int, Group]  # by underlying, or MIXED

    def within(self, now: Lanes, same: Array | slice, told: Moves | None = None) -> Array | None:
        """Rows that the move to ``now`` may have brought below zero, or None if a scan of all is due.

        ``same``: rows of the table that are the same series in both. ``told``: another telling of ``moves``.
        """
        far = (told or moves)(self.lanes, now, same)
        if far is None:
            return None
        found = []
        for under, group in self.groups.items():
            move = np.nextafter(np.float32(far.max() if under == MIXED else far[under]), np.float32(np.inf))
            if not move < group.limit:
                return None
            found.append(group.rows[: int(np.searchsorted(group.keys, move, side="right"))])
        return np.concatenate(found) if found else np.zeros(0, np.int32)


def build(lower: Singles, cash: Singles, least: float, laid: Laid, lanes: Lanes) -> Index:
    """``lower``, ``cash``: (N,) of a scan at ``lanes``; an account is named when ``lower`` is below ``least``."""
    sizes, blocks, group = np.zeros(len(lower)), np.zeros(len(lower), np.uint8), np.full(len(lower), MIXED, np.int16)
    for rows, part in laid:
        b = part.used
        size = (b.gross + b.units).astype(np.float64)
        np.add.at(sizes, rows, _prices(lanes)[b.under] * (size + _kappa(lanes)[b.under] * size * size))
        np.add.at(blocks, rows, size > 0)
        group[rows[size > 0]] = b.under[size > 0]
    group[blocks != 1] = MIXED
    margin = lower - least - 16 * UNIT * (np.abs(lower) + np.abs(cash)).astype(np.float64)
    keys = np.where(sizes > 0, margin / np.where(sizes > 0, sizes, 1.0), np.where(margin > 0, np.inf, -np.inf))
    keys32 = np.nextafter(keys.astype(np.float32), np.float32(-np.inf))
    return Index(lanes, {int(g): _nearest(np.flatnonzero(group == g), keys32) for g in np.unique(group)})


def _nearest(rows: Array, keys: Singles) -> Group:
    mine, kept = keys[rows], max(LEAST, len(rows) // NEAREST)
    if kept >= len(rows):
        order, limit = np.argsort(mine, kind="stable"), np.inf
    else:
        part = np.argpartition(mine, kept)
        limit = float(mine[part[kept]])
        order = part[:kept][np.argsort(mine[part[:kept]], kind="stable")]
    return Group(rows[order].astype(np.int32), mine[order], limit)


def _prices(t: Lanes) -> Doubles:
    """Per lot; 1 where there is none."""
    price = t.parameters[:, 0].astype(np.float64)
    return np.where(price > 0, price, 1.0)


def _kappa(t: Lanes) -> Doubles:
    """Per underlying: twice what B / A usually is, per lot."""
    return 4.0 * t.parameters[:, 2] * _prices(t)


def moves(was: Lanes, now: Lanes, same: Array | slice) -> Doubles | None:
    """A' / price, per underlying; None where the rules themselves differ."""
    old, new = was.parameters.astype(np.float64), now.parameters.astype(np.float64)
    if was.gain.shape[1] != now.gain.shape[1] or old.shape != new.shape or (old[:, 1:6] != new[:, 1:6]).any():
        return None
    _, factor, size, cut, gross, naked, _, _ = old.T
    step, under = np.abs(new[:, 0] - old[:, 0]), now.under[same]
    worth, gain, doubt, exposure, most = _changes(was, now, same)
    per_leg = _largest(worth + factor[under] * gain + doubt, under, len(old)) + step * (gross + naked)
    shocked = np.abs(now.shock * new[:, :1] - was.shock * old[:, :1]).max(axis=1)
    per_unit = step * (1 + cut) + factor * shocked
    d, x = np.maximum(step, _largest(exposure, under, len(old))), np.maximum(old[:, 0], _largest(most, under, len(old)))
    noise = 2 * tolerance(WIDTHS[-1]) * (old[:, 7] + new[:, 7])
    a = np.maximum(per_leg, per_unit) + noise
    b = size * d * (2 * x + d) + noise * 2 * size * (x + d)
    kappa = _kappa(was)
    found = np.maximum(a, np.divide(b, kappa, out=np.zeros_like(b), where=kappa > 0))
    return np.asarray(found / _prices(was))


def _changes(was: Lanes, now: Lanes, same: Array | slice) -> tuple[Doubles, Doubles, Doubles, Doubles, Doubles]:
    """Per series: change of worth, of gain in the scenario where that is largest, of doubt, of exposure; exposure."""
    under = now.under[same]
    pair, before = now.pair[same].astype(np.float64), was.pair[same].astype(np.float64)
    gain = np.abs(now.gain[same] - was.gain[same]).max(axis=1, initial=0).astype(np.float64) * ROUNDED
    doubts = [t.doubt[same] if len(t.doubt) else t.parameters[under, 6] for t in (now, was)]
    after, most = pair[:, 1] * now.parameters[under, 0], before[:, 1] * was.parameters[under, 0]
    return np.abs(pair[:, 0] - before[:, 0]), gain, np.abs(doubts[0] - doubts[1]), np.abs(after - most), np.abs(most)


def _largest(values: Doubles, under: Array, count: int) -> Doubles:
    out = np.zeros(count)
    np.maximum.at(out, under, values)
    return out
