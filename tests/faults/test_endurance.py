"""The same after many blocks as after few: memory and tasks. KEEPER_BLOCKS=100000 for the long form."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from collections.abc import Sequence

import pytest

from keeper.chain.codec import Header
from keeper.chain.follower import Follower, Limits
from keeper.core.kernel import Kernel
from keeper.core.planner import Limits as Planning
from keeper.daemon import Daemon
from keeper.model import BlockRef, Hash, Interests, Log, LogFilter
from keeper.observe.watch import Spoken
from keeper.process.vitals import Vitals
from keeper.protocols.desk import directly
from keeper.testing.chain import ScriptedChain, log
from keeper.testing.clock import VirtualClock
from tests.faults.test_life_daemon import ME, Parts

BLOCKS = int(os.environ.get("KEEPER_BLOCKS", "1000"))
WARM = 600  # blocks until every ring and cache is full
POOL = b"\x01" * 20


class Endless(ScriptedChain):
    """Forgets what is older than a reorg may be, so that only the keeper could grow. Every tenth block is replaced."""

    kept = 300

    def __init__(self) -> None:
        self.first = 0
        super().__init__()

    def forget(self) -> None:
        for header in self.blocks[self.first : max(self.first, len(self.blocks) - self.kept)]:
            self.contents_of.pop(header.ref.hash, None)
            self.first += 1
        self._dead.clear()

    def _by_hash(self, block: Hash) -> Header:
        return next(header for header in reversed(self.blocks) if header.ref.hash == block)


def forgotten(chain: Endless) -> None:
    """The list of blocks itself, by numbers that stand for headers."""
    for at in range(max(0, len(chain.blocks) - 2 * chain.kept), len(chain.blocks) - chain.kept):
        chain.blocks[at] = chain.blocks[0]


@pytest.mark.fault("G01", "G02")
async def test_memory_and_tasks_are_flat() -> None:
    chain, clock, marks = Endless(), VirtualClock(auto=True), list[tuple[int, int]]()
    follower = Follower(chain, lambda: [Interests((LogFilter(POOL),))], clock, Limits())
    vitals = Vitals(clock, 60.0)
    parts = Parts([])
    kernel = Kernel([], chain.blocks[0].ref, 12, directly, Planning())

    async def after(ref: BlockRef) -> bool:
        if ref.number in (WARM, WARM + BLOCKS):
            gc.collect()
            marks.append((tracemalloc.get_traced_memory()[0] - sizes(chain), len(asyncio.all_tasks())))
        if ref.number >= WARM + BLOCKS:
            return False
        mined(chain)
        return True

    daemon = Daemon(kernel, follower, parts, parts, ME, clock, [Spoken(100), vitals], after)  # type: ignore[arg-type]
    mined(chain)
    tracemalloc.start()
    try:
        await daemon.run()
    finally:
        tracemalloc.stop()
    (before, tasks), (later, tasks_later) = marks
    assert later - before < 200_000  # bytes; a block that is kept has some 1500
    assert tasks_later <= tasks


def mined(chain: Endless) -> None:
    chain.mine(1, logs())
    if chain.head.ref.number % 10 == 0:
        chain.reorg(1, logs())
    chain.forget()
    forgotten(chain)


def logs() -> Sequence[Log]:
    return [log(POOL, b"\x0a" * 32)]


def sizes(chain: Endless) -> int:
    """Bytes of the list of the chain's blocks, which are not the keeper's."""
    return 8 * len(chain.blocks)
