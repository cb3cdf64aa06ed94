"""From a block to the node's answer, through the real follower, kernel, daemon, guard, journal and connection.

The floor is a blocking socket that waits for the notice of a block and writes a transaction that was signed before:
there is nothing to take away from it. What decides here is trivial; what is scanned is not. Both are timed from the
moment at which the notice has been read to the moment at which the acknowledgement has.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Mapping, Sequence
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
    Address,
    BlockRef,
    Call,
    Capital,
    Costs,
    Decision,
    Delta,
    Fact,
    Floor,
    Hash,
    HealthReport,
    Holding,
    Interests,
    Key,
    Kind,
    Liquidate,
    Log,
    LogFilter,
    Moment,
    Needs,
    Opportunity,
    Pending,
    Read,
    Realised,
    Reason,
    Turn,
)
from keeper.observe import logging
from keeper.observe.outlet import Outlet
from keeper.ports import View
from keeper.protocols.desk import directly
from keeper.protocols.options.records import Account, State
from keeper.protocols.options.risk import Market, Price, portfolio
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
from keeper.units import GWEI, wad
from tests.bench.harness import Row
from tests.bench.scanning import GOALS, SIZES, crowd, tick
from tests.worlds.crowd import SPOTS, Crowd

TURNS = 100  # blocks; the first few are not counted
WARM = 10
TARGET = b"t" * 20  # what the transactions call: nobody is there, so the node has nothing to execute
DATA = b"call" + bytes(296)
POOR = Key("account", 1)  # the one account that is always under water
CHAIN = 31337


def turns() -> list[Row]:
    """With nothing to scan against the floor; then with books of all sizes."""
    with Anvil(timestamp=GENESIS) as node, Path(os.devnull).open("w") as sink:
        logging.setup("json", stream=cast(TextIO, Outlet(sink)))
        floor = blocking(node)
        bare = until_done(turned(node, None))
        rows = [
            Row("block to transaction, nothing to scan", bare.sent, "presigned, blocking", floor, 2.5, faster=False)
        ]
        for count in SIZES:
            scanned = until_done(turned(node, steady(count)))
            goal = next((goal for size, goal in GOALS if size >= count), GOALS[-1][1] * count / GOALS[-1][0])
            what = f"block to transaction, {count:,} accounts scanned"
            rows.append(Row(what, scanned.sent, "goal", goal, 1))
            rows.append(Row("of it, the scan and the decision", scanned.decided - bare.decided, "goal", goal, 1))
    return rows


# ─── the floor ────────────────────────────────────────────────────────────────────────────────────


def blocking(node: Anvil) -> float:
    """Median seconds from a notice to the acknowledgement of bytes that were there before it."""
    key, address = actor("floor")
    node.set_balance(address, 10**20)
    signer = local_signer(from_hex(key.hex()), CHAIN)
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(node.ipc))
        lines = line.makefile("rb")
        line.sendall(_frame("eth_subscribe", "newHeads"))
        lines.readline()
        took = [_answered(node, line, lines, _raw(signer, n)) for n in range(TURNS)]
    return statistics.median(took[WARM:])


def _raw(signer: Any, nonce: int) -> bytes:
    raw, _ = signer.sign(nonce, Call(TARGET, DATA), 200_000, 10 * GWEI, GWEI, CHAIN)
    return _frame("eth_sendRawTransaction", "0x" + raw.hex())


def _answered(node: Anvil, line: socket.socket, lines: Any, frame: bytes) -> float:
    node.rpc("evm_mine")
    lines.readline()
    began = time.perf_counter()
    line.sendall(frame)
    answer = lines.readline()
    took = time.perf_counter() - began
    assert b"error" not in answer, answer
    return took


def _frame(method: str, *params: str) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n"


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
    """A node whose first acknowledgement after a notice is timed."""

    def __init__(self, rpc: wire.Rpc, watch: Stopwatch, known: dict[Hash, Header]) -> None:
        super().__init__(rpc, known)
        self._watch = watch

    async def send(self, raw: bytes) -> Answer:
        answer = await super().send(raw)
        assert answer.accepted, answer.error
        if self._watch.noticed:
            self._watch.sent.append(time.perf_counter() - self._watch.noticed)
        self._watch.noticed = 0.0
        return answer


async def turned(anvil: Anvil, scanned: Crowd | None) -> Turned:
    watch = Stopwatch()
    async with running(anvil, scanned, watch) as daemon:
        await daemon.run(TURNS)
    assert len(watch.sent) >= TURNS - 1, f"{len(watch.sent)} transactions in {TURNS} turns"
    return Turned(statistics.median(watch.sent[WARM:]), statistics.median(watch.decided[WARM:]))


@asynccontextmanager
async def running(anvil: Anvil, scanned: Crowd | None, watch: Stopwatch) -> AsyncIterator[Daemon]:
    key, address = actor(f"keeper {os.urandom(4).hex()}")
    anvil.set_balance(address, 10**21)
    async with AsyncExitStack() as stack:
        known = dict[Hash, Header]()
        node, ears = Timed(wire.connect(str(anvil.ipc)), watch, known), wire.connect(str(anvil.ipc))
        stack.push_async_callback(node.reset)
        stack.push_async_callback(ears.close)
        _stamped(ears, watch)
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
        kernel = Kernel([(cast(Any, Bench(scanned)), [Taker()])], genesis, 1, directly, Limits())
        source = Follower(Node(ears, known), kernel.interests, SystemClock(), notice=manager.notice)
        after = _Blocks(anvil, scanned)
        anvil.rpc("evm_mine")
        yield Daemon(kernel, source, manager, node, signer.address, SystemClock(), [watch, Calm()], after.step)


def _rewards(node: Node) -> Callable[[BlockRef], Any]:
    async def rewards(head: BlockRef) -> Sequence[int]:
        return [row[0] for row in (await node.fee_history(5, [60], head.number)).rewards]

    return rewards


def _stamped(ears: wire.Rpc, watch: Stopwatch) -> None:
    heard = ears.heard

    def hear(frame: bytes | str) -> None:
        if isinstance(frame, bytes) and b"eth_subscription" in frame[:64]:
            watch.noticed = time.perf_counter()
        heard(frame)

    ears.heard = hear  # type: ignore[method-assign]


@dataclass
class _Blocks:
    """The next block, when the keeper has done with the last one; mined by a thread, so that nobody waits for it."""

    anvil: Anvil
    scanned: Crowd | None
    turns: int = 0

    async def step(self, ref: BlockRef) -> bool:
        self.turns += 1
        if self.scanned is not None:
            tick(self.scanned, SPOTS[0] * (1 + 0.001 * (self.turns % 3 - 1)))
        await asyncio.to_thread(self.anvil.rpc, "evm_mine")
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


# ─── what it decides about ────────────────────────────────────────────────────────────────────────


class Taker:
    """Implements ``ports.Strategy``: takes whatever there is."""

    name = "taker"

    def decide(self, opportunity: Opportunity) -> Decision:
        return Liquidate(opportunity, 0)


class Empty:
    """Columns without accounts, but for the one that is always under water."""

    kinds: Collection[str] = ()
    refusals: Mapping[Key, str] = {}

    def get(self, key: Key) -> Any: ...

    def keys(self, kind: str) -> Iterator[Key]:
        return iter(())

    def put(self, key: Key, record: Any) -> None: ...

    def rolling(self, turn: int, count: int) -> Sequence[Key]:
        return ()

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        return (POOR,)

    def nearest(self, view: View, at: Moment, count: int) -> Sequence[tuple[Key, float]]:
        return ()

    def warming(self) -> Callable[[], str] | None:
        return None


@dataclass
class Scanning(Empty):
    crowd: Crowd

    def suspects(self, view: View, at: Moment) -> Sequence[Key]:
        return self.crowd.columns.suspects(self.crowd, self.crowd.at)


@dataclass(frozen=True)
class Bench:
    """An adapter that follows no contract: of whoever is under water, it wants to call something."""

    crowd: Crowd | None
    name = "bench"
    desk: Address | None = None

    def interests(self, view: View) -> Interests:
        return Interests((LogFilter(TARGET),))

    def absorb(self, view: View, source: Log | tuple[Read, bytes], ref: BlockRef) -> Iterable[Delta | Fact]:
        return ()

    def columns(self) -> Empty:
        return Empty() if self.crowd is None else Scanning(self.crowd)

    def health(self, view: View, key: Key, at: Moment) -> HealthReport:
        """Exactly, where there is a book."""
        if self.crowd is None:
            return HealthReport(key, at, 0, 1)
        state = State(self.crowd)
        record: Account = self.crowd.get(key)
        prices = Market(state, state.params(1).risk, self.crowd.now, Price.TRIGGER)
        h = prices.assess(portfolio(record, state.clearing()))
        return HealthReport(key, at, h.equity, h.mm, h.worst)

    def opportunities(self, view: View, suspects: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
        """Another one at each block."""
        for n, report in enumerate(suspects):
            key, id = Key("account", at.number * 1_000 + n), at.number.to_bytes(16) + n.to_bytes(8)
            yield Opportunity(
                id, self.name, key, Kind.LIQUIDATE, at, wad(100), Costs(gas=wad(1)), Needs(gas=60_000), report
            )

    def foresee(self, view: View, pending: Pending, at: Moment) -> View | None:
        return None

    def floors(self, decision: Decision) -> tuple[Floor, ...]:
        return ()

    def afford(self, view: View, chosen: Sequence[Opportunity], at: Moment) -> int:
        return 0

    def capital(self, view: View, at: Moment) -> Capital:
        return Capital()

    def calls(self, decision: Decision) -> tuple[Call, ...]:
        return (Call(TARGET, DATA),)

    def explain(self, revert: bytes) -> Reason:
        return Reason.REVERTED_OTHER

    def holdings(self, view: View) -> Mapping[str, Holding]:
        return {}

    def describe(self, view: View, key: Key, at: Moment) -> Sequence[tuple[str, str]]:
        return ()

    def realised(self, opportunity: Opportunity, facts: Sequence[Fact]) -> Realised:
        return Realised(0)


ALL = (turns,)
