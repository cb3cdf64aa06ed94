"""Random sets of opportunities under shared limits, and the exact optimum by an independent solver."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from keeper.core.items import Item, Room, Worst
from keeper.units import WAD

SCENARIOS = 16
GROUPS = 0.3  # share of items that exclude another


def instance(seed: int, n: int) -> tuple[list[Item], Room]:
    """Log-normal values; losses of delta and gamma in common scenarios; own margin already used in part."""
    r = Random(seed)
    moves = [r.gauss(0, 1) for _ in range(SCENARIOS)]
    items = [_item(r, i, moves) for i in range(n)]
    own: Worst = tuple(tuple(_wad(r.gauss(0, 5_000)) for _ in range(SCENARIOS)) for _ in range(2))
    used = sum(max(0, *row) for row in own)
    rows = (r.choice([12_000_000, 25_000_000]), r.choice([4, 8, 16, 32]), _wad(r.uniform(3_000, 30_000)))
    return items, Room(rows, own, used + _wad(r.uniform(5_000, 50_000)))


def _item(r: Random, i: int, moves: list[float]) -> Item:
    size, group = r.lognormvariate(7, 1), max(0, i - 1) if r.random() < GROUPS else i
    greeks = [(r.gauss(0, 1), r.gauss(0.3, 0.5)) for _ in range(2)]
    losses = tuple(tuple(max(0, _wad((g * m * m / 2 - d * m) * size)) for m in moves) for d, g in greeks)
    uses = (r.randrange(300_000, 1_500_000), 1, _wad(size * r.random() * 2))
    return Item(_wad(r.lognormvariate(4, 1)), group, uses, losses)


def _wad(x: float) -> int:
    return int(x * WAD)


def optimum(items: list[Item], room: Room) -> float:
    """The most valuable set, by HiGHS: one column per item, and one per underlying for the requirement there."""
    n, us = len(items), len(room.losses)
    unit = max(item.value for item in items)
    rows, limits = [], []
    for k, have in enumerate(room.rows):
        rows.append([item.uses[k] / have for item in items] + [0.0] * us)
        limits.append(1.0)
    for u, own in enumerate(room.losses):
        for s, base in enumerate(own):
            z = [-1.0 if v == u else 0.0 for v in range(us)]
            rows.append([item.losses[u][s] / room.margin for item in items] + z)
            limits.append(-base / room.margin)
    rows.append([0.0] * n + [1.0] * us)
    limits.append(1.0)
    for group in {item.group for item in items}:
        rows.append([float(item.group == group) for item in items] + [0.0] * us)
        limits.append(1.0)
    value = np.array([-item.value / unit for item in items] + [0.0] * us)
    whole = np.array([1] * n + [0] * us)
    most = np.array([1.0] * n + [np.inf] * us)
    with _hushed():
        found = milp(value, constraints=LinearConstraint(np.array(rows), -np.inf, limits), integrality=whole,
                     bounds=Bounds(0, most), options={"mip_rel_gap": 1e-6})  # fmt: skip
    assert found.status == 0, found.message
    return float(-found.fun * unit)


@contextmanager
def _hushed() -> Iterator[None]:
    """HiGHS prints lines of its own while it searches, whatever it is told."""
    sys.stdout.flush()
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
