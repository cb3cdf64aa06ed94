"""The same after many blocks as after few: memory and tasks. KEEPER_BLOCKS=100000 for the long form."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import tracemalloc
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from keeper.chain.codec import Header
from keeper.chain.follower import Follower, Limits
from keeper.core.kernel import Kernel
from keeper.core.planner import Limits as Planning
from keeper.daemon import Daemon
from keeper.model import Address, BlockRef, Hash, Interests, Log, LogFilter
from keeper.observe.watch import Spoken
from keeper.process.vitals import Vitals
from keeper.protocols.desk import directly
from keeper.testing.chain import ScriptedChain, log
from keeper.testing.clock import VirtualClock
from keeper.tx.budget import HOUR
from keeper.tx.settings import DAY
from keeper.tx.settings import Limits as Spending
from tests.faults.test_life_daemon import ME, Parts
from tests.unit.tx_chain import Chain, Sent, Tx
from tests.unit.tx_rig import SETTINGS, Rig, intent

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
        for hash in self._dead:
            self.contents_of.pop(hash, None)
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
    told("the keeper", later - before)
    assert later - before < 50_000 + BLOCKS // 4  # bytes; a block that is kept has some 1500
    assert tasks_later <= tasks


# ─── the transaction manager ──────────────────────────────────────────────────────────────────────

EVERY = 10  # blocks to a transaction
TICK = 600  # seconds to a block: a day's limits, and what the journal keeps, are full before WARM


class Lean(Chain):
    """Forgets its old blocks, and what was sent."""

    kept = 30

    def __init__(self) -> None:
        self.gone = self.count = 0
        super().__init__()

    def _append(self, txs: list[Tx]) -> None:
        before = self.blocks[-1][0].number if self.blocks else -1
        super()._append(txs)
        ref, _ = self.blocks[-1]
        self.blocks[-1] = replace(ref, number=before + 1, timestamp=TICK * (before + 1)), txs
        self.count += len(txs)
        del self.blocks[: -self.kept], self.sent[:]

    async def nonce(self, address: Address) -> int:
        return self.count

    def _take(self) -> list[Tx]:
        return [self.pool.pop(nonce) for nonce in sorted(self.pool)]

    def _admit(self, tx: Tx) -> Sent:
        self.pool[tx.nonce] = tx
        return Sent(True)


@pytest.mark.fault("G01", "C24")
async def test_memory_of_the_transaction_manager_is_flat(tmp_path: Path) -> None:
    rig = Rig(tmp_path / "journal.db", replace(SETTINGS, keep=2 * DAY + HOUR, limits=Spending(day_cost=10**21)))
    rig.chain = rig.manager.lane.node = chain = Lean()
    rig.signed = rig.manager.lane.signer._signed = deque(maxlen=1)  # type: ignore[attr-defined, assignment]
    rig.budget._monotonic = lambda: float(chain.head.timestamp)
    await rig.manager.recover()
    marks = list[int]()
    tracemalloc.start()
    try:
        for n in range(1, WARM + BLOCKS + 1):
            if n % EVERY == 0:
                await rig.submit(intent(1, id=n.to_bytes(32), subject=f"account {n}", valid_until=2**40))
            await rig.mine()
            if n in (WARM, WARM + BLOCKS):
                rig.journal.settle()  # what waits to be written is no leak
                gc.collect()
                marks.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert chain.count == (WARM + BLOCKS) // EVERY
    [(rows,)] = rig.journal.ask("SELECT count(*) FROM event")
    assert rows < 4 * 3 * DAY // TICK  # of three days, and a few events to each
    told("the transaction manager", marks[1] - marks[0])
    assert marks[1] - marks[0] < 20_000 + 2 * BLOCKS  # bytes; a nonce that is remembered has some 300, in ten blocks


def told(who: str, more: int) -> None:
    """Seen with ``pytest -s``."""
    print(f"{who}: {more} bytes more after {BLOCKS} blocks, {more / BLOCKS:.2f} a block")  # noqa: T201


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
    return sys.getsizeof(chain.blocks)
