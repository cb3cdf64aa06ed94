"""From a block to the node's answer, through the real follower, kernel, daemon, guard, journal and connection.

The floor is a blocking socket that waits for the notice of a block and writes a transaction that was signed before:
there is nothing to take away from it. It is the measure of what the keeper foresees, and has signed before as well.
What comes unforeseen is simulated, signed and made durable first; its floor is a blocking socket that does that.
What decides here is trivial; what is scanned is not. All are timed from the moment at which the notice has been read to
the moment at which the acknowledgement has.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TextIO, cast

from keeper.chain import rpc as wire
from keeper.chain.codec import Header
from keeper.chain.follower import Follower
from keeper.chain.node import Answer, Node
from keeper.cli.running import Calm, until_done
from keeper.clock import SystemClock
from keeper.core.kernel import Kernel
from keeper.core.planner import Limits
from keeper.daemon import Daemon
from keeper.model import (
    BlockRef,
    Hash,
    Key,
    Turn,
)
from keeper.observe import logging
from keeper.observe.outlet import Outlet
from keeper.protocols.desk import directly
from keeper.protocols.options.records import Account
from keeper.simulation.deploy import actor
from keeper.simulation.node import Anvil
from keeper.simulation.world import GENESIS
from keeper.tx.budget import Budget
from keeper.tx.fees import Policy
from keeper.tx.journal import Binding, Journal
from keeper.tx.keys import from_hex
from keeper.tx.manager import Manager
from keeper.tx.settings import Limits as Caps
from keeper.tx.settings import Settings
from keeper.tx.signer import local_signer
from keeper.units import GWEI
from tests.bench.blocks import blocks
from tests.bench.floors import CHAIN, DATA, TARGET, TURNS, WARM, blocking, careful
from tests.bench.harness import Row
from tests.bench.scanning import GOALS, SIZES, crowd, tick
from tests.bench.stage import POOR, Bench, Foreseeing, Taker
from tests.worlds.crowd import SPOTS, Crowd

ACKNOWLEDGED = re.compile(rb'"result":"0x[0-9a-f]{64}"')  # the hash of what was sent


def turns() -> list[Row]:
    """With nothing to scan against the floor; then with books of all sizes."""
    with Anvil(timestamp=GENESIS) as node, Path(os.devnull).open("w") as sink:
        logging.setup("json", stream=cast(TextIO, Outlet(sink)))
        bare = until_done(turned(node, None))
        foreseen = until_done(turned(node, None, foreseen=True))
        what = "block to transaction, "
        rows = [
            Row(what + "foreseen", foreseen.sent, "presigned, blocking", blocking(node), 2.5, faster=False),
            Row(what + "unforeseen", bare.sent, "simulated, durable, blocking", careful(node), 2.5, faster=False),
        ]
        for count in SIZES:
            scanned = until_done(turned(node, steady(count)))
            goal = next((goal for size, goal in GOALS if size >= count), GOALS[-1][1] * count / GOALS[-1][0])
            what = f"block to transaction, {count:,} accounts scanned"
            rows.append(Row(what, scanned.sent, "goal", goal, 1))
            rows.append(Row("of it, the scan and the decision", scanned.decided - bare.decided, "goal", goal, 1))
            due = until_done(turned(node, steady(count), foreseen=True))
            rows.append(Row("the same account, foreseen", due.sent, "goal", goal, 1))
    return rows


# ─── the keeper ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class Stopwatch:
    """Implements ``ports.Watcher``."""

    noticed: float = 0.0
    sent: list[float] = field(default_factory=list)
    decided: list[float] = field(default_factory=list)

    def effect(self, effect: object) -> None: ...

    def turn(self, turn: Turn) -> None:
        self.decided.append(turn.decided)


@dataclass(frozen=True)
class Turned:
    """Medians, seconds."""

    sent: float  # from the notice to the acknowledgement
    decided: float  # from the block at hand to the decision


class Timed(Node):
    """A node whose answers to what is sent must be acknowledgements."""

    async def send(self, raw: bytes) -> Answer:
        answer = await super().send(raw)
        assert answer.accepted, answer.error
        return answer


async def turned(anvil: Anvil, scanned: Crowd | None, *, foreseen: bool = False) -> Turned:
    watch = Stopwatch()
    async with running(anvil, (Foreseeing if foreseen else Bench)(scanned), watch) as daemon:
        await daemon.run(TURNS)
    assert len(watch.sent) >= TURNS - 1, f"{len(watch.sent)} transactions in {TURNS} turns"
    return Turned(statistics.median(watch.sent[WARM:]), statistics.median(watch.decided[WARM:]))


@asynccontextmanager
async def running(anvil: Anvil, adapter: Bench, watch: Stopwatch) -> AsyncIterator[Daemon]:
    key, address = actor(f"keeper {os.urandom(4).hex()}")
    anvil.set_balance(address, 10**21)
    async with AsyncExitStack() as stack:
        known = dict[Hash, Header]()
        line, ears = wire.connect(str(anvil.ipc)), wire.connect(str(anvil.ipc))
        stack.push_async_callback(line.close)
        stack.push_async_callback(ears.close)
        _stamped(line, ears, watch)
        node = Timed(line, known)
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        caps = Caps(tx_cost=10**18, hour_cost=10**21, day_cost=10**21, reverts=8, lost=10**18, retries=3)
        budget = Budget(caps)
        signer = local_signer(from_hex(key.hex()), CHAIN, {(TARGET, DATA[:4])}, budget)
        binding = Binding(CHAIN, await node.genesis_hash(), signer.address, "live")
        journal = Journal(Path(folder) / "journal.db", binding)
        stack.callback(journal.close)
        settings = Settings(Policy(hard_cap=1000 * GWEI), confirmations=1, limits=caps)
        manager = Manager(node, journal, signer, settings, _rewards(node), budget=budget)
        genesis = await node.block("latest")
        kernel = Kernel([(cast(Any, adapter), [Taker()])], genesis, 1, directly, Limits())
        source = Follower(
            Node(ears, known), kernel.interests, SystemClock(), notice=manager.notice, early=lambda: manager.ready
        )
        steps = Steps(stack.enter_context(blocks(anvil, published=True)), adapter.crowd)
        steps.next()
        yield Daemon(kernel, source, manager, node, signer.address, SystemClock(), [watch, Calm()], steps.step)


def _rewards(node: Node) -> Callable[[BlockRef], Any]:
    async def rewards(head: BlockRef) -> Sequence[int]:
        return [row[0] for row in (await node.fee_history(5, [60], head.number)).rewards]

    return rewards


def _stamped(node: wire.Rpc, ears: wire.Rpc, watch: Stopwatch) -> None:
    """Note when the notice of a block has been read, and the first acknowledgement after it."""
    heard, answered = ears.heard, node.heard

    def hear(frame: bytes | str) -> None:
        if isinstance(frame, bytes) and b"eth_subscription" in frame[:64] and b"parentHash" in frame:
            watch.noticed = time.perf_counter()
        heard(frame)

    def answer(frame: bytes | str) -> None:
        if watch.noticed and isinstance(frame, bytes) and ACKNOWLEDGED.search(frame[:128]):
            watch.sent.append(time.perf_counter() - watch.noticed)
            watch.noticed = 0.0
        answered(frame)

    ears.heard, node.heard = hear, answer  # type: ignore[method-assign]


@dataclass
class Steps:
    """A new price, then the next block, when the keeper has done with the last one."""

    next: Callable[[], None]
    crowd: Crowd | None
    turns: int = 0

    async def step(self, ref: BlockRef) -> bool:
        self.turns += 1
        if self.crowd is not None:
            tick(self.crowd, SPOTS[0] * (1 + 0.001 * (self.turns % 3 - 1)))
        self.next()
        return True


def steady(count: int) -> Crowd:
    """So many accounts, and one of them under water at the prices that come: all are scanned, one is acted on."""
    c = crowd(count)
    for move in (-0.0015, 0.0, 0.0015):
        tick(c, SPOTS[0] * (1 + move))
        for key in c.columns.suspects(c, c.at):
            c.columns.put(key, replace(_record(c, key), cash=10**28))
    c.columns.put(POOR, replace(_record(c, next(iter(c.columns.keys("account")))), cash=-(10**25)))
    assert list(c.columns.suspects(c, c.at)) == [POOR]
    return c


def _record(c: Crowd, key: Key) -> Account:
    found = c.columns.get(key)
    assert found is not None
    return found


ALL = (turns,)
