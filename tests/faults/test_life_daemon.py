"""One turn of the shell when its parts fail, hang, or bring news of an earlier process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from keeper import daemon
from keeper.chain.rpc import RpcError
from keeper.clock import SystemClock
from keeper.core.kernel import Kernel
from keeper.core.planner import Limits
from keeper.daemon import Daemon
from keeper.errors import Broken, KeeperError, NodeUnavailable
from keeper.model import (
    Address,
    BlockBatch,
    BlockRef,
    ChainEvent,
    Effect,
    Receipt,
    Rollback,
    Turn,
    TxEvent,
    TxIntent,
    TxState,
)
from keeper.protocols.desk import directly
from keeper.testing.chain import ScriptedChain

S = TxState
ME = b"\x11" * 20
COIN = 10**18


@dataclass
class Parts:
    """A chain, a transaction manager and a node that say what the test wrote down; and a watcher."""

    script: list[ChainEvent]
    news: dict[int, list[TxEvent] | KeeperError] = field(default_factory=dict)  # by block
    open: list[TxEvent] = field(default_factory=list)
    nonces: list[int] = field(default_factory=list)
    recoveries: int = 0
    turns: list[int] = field(default_factory=list)  # blocks
    hang: bool = False
    hanging: asyncio.Event = field(default_factory=asyncio.Event)

    async def events(self, start: int) -> AsyncIterator[ChainEvent]:
        for event in self.script:
            yield event

    async def recover(self) -> Sequence[TxEvent]:
        self.recoveries += 1
        return self.open

    async def on_block(self, head: BlockRef) -> Sequence[TxEvent]:
        if self.hang:
            self.hanging.set()
            await asyncio.Event().wait()
        said = self.news.pop(head.number, [])
        if isinstance(said, KeeperError):
            raise said
        return said

    async def submit(self, intent: TxIntent, head: BlockRef) -> Sequence[TxEvent]:
        raise AssertionError

    async def nonce(self, address: Address) -> int:
        return self.nonces.pop(0) if self.nonces else 0

    async def balance(self, address: Address) -> int:
        return COIN

    def effect(self, effect: Effect) -> None: ...

    def turn(self, turn: Turn) -> None:
        self.turns.append(turn.ref.number)


def blocks(count: int) -> list[BlockRef]:
    chain = ScriptedChain()
    chain.mine(count)
    return [header.ref for header in chain.blocks]


def heads(refs: Sequence[BlockRef]) -> list[ChainEvent]:
    return [BlockBatch(ref) for ref in refs]


def made(parts: Parts, genesis: BlockRef) -> Daemon:
    kernel = Kernel([], genesis, 12, directly, Limits())
    return Daemon(kernel, parts, parts, parts, ME, SystemClock(), [parts])  # type: ignore[arg-type]


def mined(ref: BlockRef, fee: int) -> Receipt:
    return Receipt(b"\xaa" * 32, ref, True, fee, 1)


@pytest.mark.parametrize("error", [NodeUnavailable("gone"), RpcError("ipc", -32000, "missing trie node")])
async def test_a_node_in_trouble_costs_a_turn_and_nothing_else(error: KeeperError) -> None:
    genesis, *refs = blocks(4)
    parts = Parts(heads(refs), {1: error, 2: error})
    await made(parts, genesis).run(blocks=1)
    assert parts.turns == [3]


async def test_a_turn_that_hangs_is_cut_off_when_asked_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(daemon, "GRACE", 0.01)
    genesis, *refs = blocks(2)
    parts = Parts(heads(refs), hang=True)
    keeper = made(parts, genesis)
    async with asyncio.timeout(5):
        running = asyncio.create_task(keeper.run())
        await parts.hanging.wait()
        keeper.stop()
        await running
    assert keeper.kernel.ref == refs[0]


async def test_what_scans_want_is_compiled_before_the_first_turn_and_later_beside_the_blocks() -> None:
    """Nothing waits for the second one, which the book has grown into."""
    genesis, *refs = blocks(4)
    parts = Parts(heads(refs))
    keeper = made(parts, genesis)
    wanted, turns, go = ["one"], list[tuple[str, int]](), threading.Event()

    def compile_() -> str:
        if "two" in wanted:
            assert go.wait(5), "the loop waited for it"
        turns.append((wanted[0], len(parts.turns)))
        wanted.clear()
        return "compiled"

    async def after(ref: BlockRef) -> bool:
        if ref == refs[1]:
            wanted.append("two")
        if ref == refs[3]:
            go.set()
            await keeper._warmer  # type: ignore[misc]
        return True

    keeper._after = after
    keeper.kernel.warming = lambda: [compile_] if wanted else []  # type: ignore[method-assign]
    await keeper.run()
    assert turns == [("one", 0), ("two", 4)]


async def test_asked_to_stop_before_it_began_it_does_not_begin() -> None:
    genesis, *refs = blocks(2)
    parts = Parts(heads(refs))
    keeper = made(parts, genesis)
    keeper.stop()
    await keeper.run()
    assert keeper.kernel.ref == genesis


# ─── what an earlier process left ─────────────────────────────────────────────────────────────────

OPEN = TxEvent(b"\1" * 32, S.BROADCAST)


@pytest.mark.parametrize("end", [S.INCLUDED, S.BROADCAST, S.CANCELLED])  # BROADCAST with a receipt: a no-op
async def test_nothing_is_decided_while_a_nonce_of_an_earlier_process_is_open(end: TxState) -> None:
    genesis, *refs = blocks(4)
    done = TxEvent(OPEN.intent, end, mined(refs[2], 7))
    parts = Parts(heads(refs), {3: [done]}, [OPEN])
    await made(parts, genesis).run()
    assert parts.turns == [3, 4]


async def test_nor_when_a_reorg_opens_it_again() -> None:
    genesis, *refs = blocks(4)
    done = TxEvent(OPEN.intent, S.INCLUDED, mined(refs[0], 7))
    parts = Parts(heads(refs), {2: [OPEN], 4: [done]}, [done])
    await made(parts, genesis).run()
    assert parts.turns == [1, 4]


async def test_a_fee_that_was_paid_before_the_start_is_counted_once() -> None:
    genesis, *refs = blocks(4)
    paid = mined(refs[0], 7)
    news = {2: [TxEvent(OPEN.intent, S.CONFIRMED, paid)]}
    keeper = made(Parts(heads(refs), dict(news), [TxEvent(OPEN.intent, S.INCLUDED, paid)]), genesis)
    await keeper.run()
    assert keeper.kernel.ledger.balances()["signer coin"] == COIN


async def test_a_transaction_that_is_mined_during_recovery_makes_it_look_again() -> None:
    genesis, *refs = blocks(1)
    parts = Parts(heads(refs), nonces=[3, 4, 4, 4])
    await made(parts, genesis).run()
    assert parts.recoveries == 2


async def test_the_opening_balance_survives_a_reorg_of_the_block_at_which_it_was_taken() -> None:
    genesis, *refs = blocks(3)
    keeper = made(Parts([*heads(refs), Rollback(genesis), *heads(refs)]), genesis)
    await keeper.run()
    assert keeper.kernel.ledger.balances() == {"signer coin": COIN}


async def test_what_an_earlier_process_finished_holds_nothing_back() -> None:
    genesis, *refs = blocks(1)
    parts = Parts(heads(refs), open=[TxEvent(OPEN.intent, S.CONFIRMED, mined(genesis, 1))])
    await made(parts, genesis).run()
    assert parts.turns == [1]


# ─── what runs beside it ──────────────────────────────────────────────────────────────────────────


async def broken() -> None:
    raise ValueError("a bug")


async def over() -> None: ...


@pytest.mark.fault("C40")
@pytest.mark.parametrize(("work", "kind"), [(broken, ValueError), (over, Broken)])
async def test_a_task_beside_it_that_dies_ends_all_of_it(
    work: Callable[[], Awaitable[None]], kind: type[Exception]
) -> None:
    genesis, *refs = blocks(1)
    parts = Parts(heads(refs), hang=True)
    kernel = Kernel([], genesis, 12, directly, Limits())
    keeper = Daemon(kernel, parts, parts, parts, ME, SystemClock(), [parts], beside=[work])  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup) as caught:
            await keeper.run()
    assert [type(error) for error in caught.value.exceptions] == [kind]


async def test_when_it_ends_so_does_what_runs_beside_it() -> None:
    genesis, *refs = blocks(1)
    parts, ended = Parts(heads(refs)), asyncio.Event()

    async def lasting() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    kernel = Kernel([], genesis, 12, directly, Limits())
    keeper = Daemon(kernel, parts, parts, parts, ME, SystemClock(), [parts], beside=[lasting])  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await keeper.run()
    assert ended.is_set()
