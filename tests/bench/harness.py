"""Ratios, not microseconds: every measure stands beside a floor or a peer that was measured in the same run."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

ROUNDS = 5
LEAST = 0.02  # seconds that one round should take


@dataclass(frozen=True)
class Row:
    """``better`` says which way the ratio must go: ours / other at most (or at least) ``must``."""

    what: str
    ours: float  # seconds, or whatever ``unit`` says
    other: str
    theirs: float
    must: float
    faster: bool = True  # theirs / ours must be at least ``must``; else ours / theirs at most ``must``
    note: str = ""
    unit: str = "s"

    @property
    def ratio(self) -> float:
        return self.theirs / self.ours if self.faster else self.ours / self.theirs

    @property
    def holds(self) -> bool:
        return self.ratio >= self.must if self.faster else self.ratio <= self.must


def seconds(work: Callable[[], object]) -> float:
    """Seconds per call: the median of several rounds, each long enough to mean something."""
    gc.collect()
    began = time.perf_counter()
    work()
    once = max(time.perf_counter() - began, 1e-7)
    count = max(1, int(LEAST / once))
    return statistics.median(_round(work, count) for _ in range(ROUNDS))


def least(*works: Callable[[], object], rounds: int = 15, clock: Callable[[], float] = time.thread_time) -> list[float]:
    """Seconds per call of each, the least of several rounds taken in turn, as this thread's processor time: what others
    do to the machine is left out. For work that waits for others, give ``time.perf_counter``."""
    gc.collect()
    best = [float("inf")] * len(works)
    for work in works:
        work()
    for _ in range(rounds):
        for i, work in enumerate(works):
            began = clock()
            work()
            best[i] = min(best[i], clock() - began)
    return best


def _round(work: Callable[[], object], count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        work()
    return (time.perf_counter() - began) / count


def shown(value: float, unit: str = "s") -> str:
    if not unit:
        return f"{value:,.0f}"
    if unit != "s":
        return f"{value:.3g} {unit}"
    for scale, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"
