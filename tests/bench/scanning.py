"""The margin engine by the million: kernels, scans, the slack index, memory; each beside a peer of the same run.

A goal is a peer that does not move: the time, or the bytes, that a row must stay below on a machine with two cores.
``KEEPER_BENCH_SEED`` and ``KEEPER_BENCH_SIZES`` (accounts, by commas) try other books.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain

import numpy as np

from keeper.margin.scan import kernels
from keeper.margin.scan.lending import Positions
from keeper.model import Key
from keeper.protocols.options import oracle
from keeper.protocols.options.columns import ABSOLUTE, INDEX_FROM, Columns
from keeper.protocols.options.records import State
from keeper.protocols.options.risk import Price
from tests.bench.harness import Row, least
from tests.worlds.crowd import SPOTS, Crowd, herd
from tests.worlds.teller import started

SEED = int(os.environ.get("KEEPER_BENCH_SEED", "1"))
SIZES = tuple(int(n) for n in os.environ.get("KEEPER_BENCH_SIZES", "1000,10000,100000,1000000").split(","))
KERNEL = 100_000  # accounts with which kernels are compared
GOALS = ((1_000, 1e-3), (10_000, 2e-3), (100_000, 5e-3), (1_000_000, 30e-3))  # seconds of a scan of all
CODE = "from tests.bench import scanning; scanning.{what}({count})"


def crowd(count: int, kernel: str | None = None, *, index_from: int = 10**9) -> Crowd:
    """A book of so many accounts with eight legs each in 200 series, loaded from packed answers."""
    c = Crowd(columns=Columns(kernels.named(kernel) if kernel else None, index_from=index_from))
    for ids, answer in herd(SEED, count):
        c.columns.load(c, ids, answer)
    if work := c.columns.warming():
        work()
    return c


def tick(c: Crowd, spot: float) -> None:
    """A new price of the first underlying, a second later."""
    c.now += 1
    feed, _ = oracle.publish(
        c.records[Key("feed", 0)], round(spot * 10**8), c.now, 10_000, c.now, c.records[Key("config", 0)]
    )
    c.records[Key("feed", 0)] = feed
    c.ref = replace(c.ref, number=c.ref.number + 1, timestamp=c.now)


def options_kernels() -> list[Row]:
    """Table times positions: compiled against scipy, both on the same book."""
    c = crowd(KERNEL)
    _, lanes = c.columns._lanes(State(c), c.at, Price.TRIGGER)
    blocks = c.columns.store.first
    found = {name: kernels.named(name) for name in kernels.installed()}
    times = least(*((lambda k=k: k.whole(blocks, lanes)) for k in found.values()), rounds=9)
    each = {name: t / KERNEL for name, t in zip(found, times, strict=True)}
    rows = []
    if "compiled" in each:
        peer = "sparse" if "sparse" in each else "plain"
        rows.append(Row("options kernel, an account (8 legs, 16 scenarios)", each["compiled"], peer, each[peer], 3))
        rows.append(Row("the same", each["compiled"], "goal: 30 million a second", 1 / 30e6, 1))
    if "sparse" in each:
        rows.append(Row("scipy fallback, an account", each["sparse"], "goal: 8 million a second", 1 / 8e6, 1))
    return rows


def screen() -> list[Row]:
    """Whom float32 names after a rise, and who is under water in float64: it may name too many, and misses none."""
    c = crowd(KERNEL)
    tick(c, SPOTS[0] * 2.5)
    scan, health = c.columns.scan(State(c), c.at, Price.SPOT), c.columns.assess(State(c), c.at, Price.SPOT)
    margin = health.equity - health.mm
    assert (scan.lower <= margin + ABSOLUTE).all(), "an account was said to have more than it has"
    named, below = int((scan.lower < ABSOLUTE).sum()), int((margin < 0).sum())
    what = f"of {KERNEL:,} accounts, to be confirmed exactly"
    return [Row(what, named, "under water in float64", below, 1.05, faster=False, unit="")]


def scans() -> Iterator[Row]:
    """From a block to the names: prices, value table, all accounts."""
    each = dict[int, float]()
    for count in SIZES:
        c = crowd(count)
        rounds = 9 if count > KERNEL else 60
        [each[count]] = least(lambda c=c: c.columns.suspects(c, c.at), rounds=rounds)  # type: ignore[misc]
        goal = next((goal for size, goal in GOALS if size >= count), GOALS[-1][1] * count / GOALS[-1][0])
        yield Row(f"scan of {count:,} accounts, table included", each[count], "goal", goal, 1)
        if count == max(SIZES) and count >= INDEX_FROM:
            yield from index(c, count)
    few, many = sorted(SIZES)[len(SIZES) // 3], max(SIZES)
    if many > few >= 10_000:
        what = f"scan, an account of {many:,}"
        yield Row(what, each[many] / many, f"of {few:,}", each[few] / few, 1.3, faster=False)


def index(c: Crowd, count: int) -> Iterator[Row]:
    """A move of 0.1 % after a scan, looked at through the index."""
    indexed = c.columns
    _, before = indexed._lanes(State(c), c.at, Price.TRIGGER)
    indexed._index_from = 0
    indexed._low(before)
    tick(c, SPOTS[0] * 0.999)
    _, after = indexed._lanes(State(c), c.at, Price.TRIGGER)
    rows = indexed._within(after)
    assert rows is not None, "a move of 0.1 % is beyond the index"
    [whole] = least(lambda: indexed._whole(after), rounds=9)
    ticked, block = least(lambda: indexed._low(after), lambda: indexed.suspects(c, c.at), rounds=100)
    assert (indexed._whole(after) < ABSOLUTE).sum() == len(indexed._low(after))
    must = 100 * min(1.0, count / GOALS[-1][0])  # what a look costs however few there are weighs more in a smaller book
    yield Row(f"a 0.1 % tick at {count:,}: {len(rows):,} looked at", ticked, "scan of all", whole, must)
    yield Row("the same, table included", block, "goal", 3e-3, 1)


def lending() -> list[Row]:
    """Up to four entries of collateral and two of debt, of 16 assets."""
    dice, positions = np.random.default_rng(SEED), Positions(4, 2)
    sides = [(dice.integers(0, 16, (n, KERNEL)), dice.random((n, KERNEL))) for n in (4, 2)]
    positions.fill(*sides)
    rates = dice.random(16), dice.random(16)
    quick, plain = least(*(partial(positions.sums, *rates, compiled=c) for c in (True, False)), rounds=25)
    return [
        Row("lending kernel, an account (4 + 2 entries)", quick / KERNEL, "goal: 150 million a second", 1 / 150e6, 1),
        Row("the same", quick / KERNEL, "numpy", plain / KERNEL, 2),
    ]


def memory() -> list[Row]:
    """Resident bytes, in processes of their own."""
    few, many = (_printed("resident", n) for n in (KERNEL, 1_000_000))
    slope = (many - few) / (1_000_000 - KERNEL)
    return [
        Row("memory of an account", slope, "goal", 250, 1, unit="B"),
        Row(
            "1,000,000 accounts read and scanned, at most", _printed("peak", 10**6) / 2**20, "goal", 500, 1, unit="MiB"
        ),
    ]


def _printed(what: str, count: int) -> int:
    command = [sys.executable, "-c", CODE.format(what=what, count=count)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def resident(count: int) -> None:
    """Print the resident bytes of this process once it has a book of so many, scanned."""
    c = crowd(count)
    c.columns.suspects(c, c.at)
    with open("/proc/self/statm") as file:  # noqa: PTH123
        print(int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE"))


def peak(count: int) -> None:
    """Print the most that this process held while it read a book of so many as a start does, and scanned it twice:
    as a whole and by its index."""
    c = asyncio.run(started(SEED, count))
    if work := c.columns.warming():
        work()
    for spot in (1.0, 0.999):
        tick(c, SPOTS[0] * spot)
        c.columns.suspects(c, c.at)
    with open("/proc/self/status") as file:  # noqa: PTH123
        print(next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM")))


def all_scans() -> list[Row]:
    return list(chain(scans()))


ALL: Sequence[Callable[[], list[Row]]] = (options_kernels, screen, all_scans, lending, memory)
