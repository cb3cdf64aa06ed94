"""What the node hears of before it is mined: whole, as hashes, or not at all; and what happens in a flood."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from keeper.chain.mempool import QUEUED, Mempool, Way
from keeper.chain.rpc import RpcError
from keeper.errors import NodeUnavailable
from keeper.model import BlockRef, Pending
from keeper.testing.clock import VirtualClock

ORACLE, OTHER, WHO = b"o" * 20, b"x" * 20, b"w" * 20
HEAD = BlockRef(7, bytes(32), bytes(32), 0, 0, 0, 1)
Handler = Callable[[Any], None]


def tx(n: int, to: bytes | None = ORACLE, **more: Any) -> dict[str, Any]:
    target = None if to is None else f"0x{to.hex()}"
    return {"hash": name(n), "to": target, "from": f"0x{WHO.hex()}", "input": f"0x{n:08x}", "blockHash": None, **more}


def name(n: int) -> str:
    return f"0x{n:064x}"


def call(n: int) -> Pending:
    return Pending(ORACLE, n.to_bytes(4), WHO)


class Pushing:
    """A node; ``refuses`` are the parameters of subscriptions that it does not know."""

    endpoint = "scripted"
    session = 1

    def __init__(self, *refuses: tuple[Any, ...], pushes: bool = True) -> None:
        self.pushes, self.refuses = pushes, refuses
        self.there: dict[str, dict[str, Any]] = {}  # what it can be asked for
        self.block: list[dict[str, Any]] = []  # what it would mine now
        self.asked = list[str]()
        self.looks = 0  # at the pending block
        self.down = False
        self.handler: Handler | None = None

    async def subscribe(self, kind: str, handler: Handler, *params: Any) -> None:
        assert kind == "newPendingTransactions"
        if self.down:
            raise NodeUnavailable("scripted: down")
        if params in self.refuses:
            raise RpcError("scripted", -32602, "no such subscription")
        self.handler = handler

    async def batch(self, calls: list[tuple[str, tuple[str, ...]]]) -> list[Any]:
        self.asked += [params[0] for _, params in calls]
        return [self.there.get(params[0]) for _, params in calls]

    async def call(self, method: str, *params: Any) -> Any:
        assert (method, *params) == ("eth_getBlockByNumber", "pending", True)
        self.looks += 1
        return {"transactions": self.block}

    def push(self, payload: Any) -> None:
        assert self.handler
        self.handler(payload)


@asynccontextmanager
async def listening(node: Pushing) -> AsyncIterator[Mempool]:
    clock = VirtualClock()
    mempool = Mempool(node, lambda: {ORACLE}, clock)  # type: ignore[arg-type]
    task = asyncio.create_task(mempool.listen())
    await settled()
    mempool.clock = clock  # type: ignore[attr-defined]
    try:
        yield mempool
    finally:
        assert not task.done() or task.cancelled(), "whoever listens must not end"
        task.cancel()


async def settled() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_whole_transactions_need_no_question() -> None:
    node = Pushing()
    async with listening(node) as mempool:
        waiting = asyncio.ensure_future(mempool.heard())
        await settled()
        assert not waiting.done()
        node.push(tx(1))
        assert await waiting == [call(1)]
        assert (mempool.way, node.asked) == (Way.WHOLE, [])


async def test_the_sender_is_told_and_makes_no_other_call() -> None:
    node = Pushing()
    async with listening(node) as mempool:
        node.push(tx(1))
        [one] = await mempool.heard()
        assert one.sender == WHO
        assert one == Pending(ORACLE, one.data, OTHER)


async def test_of_hashes_each_is_asked_for_once() -> None:
    node = Pushing((True,))
    async with listening(node) as mempool:
        node.there = {name(1): tx(1), name(2): tx(2, OTHER), name(3): tx(3, blockHash=name(9))}
        for n in (1, 2, 3, 4, 1):
            node.push(name(n))
        await settled()
        assert await mempool.heard() == [call(1)]  # 2 is another's, 3 is mined already, 4 is gone
        assert (mempool.way, node.asked) == (Way.HASHES, [name(n) for n in (1, 2, 3, 4)])


async def test_a_node_that_takes_the_parameter_and_sends_hashes_all_the_same() -> None:
    node = Pushing()
    async with listening(node) as mempool:
        node.there = {name(1): tx(1)}
        node.push(name(1))
        await settled()
        assert await mempool.heard() == [call(1)]
        assert mempool.way is Way.HASHES


async def test_the_same_transaction_twice_is_one() -> None:
    node = Pushing()
    async with listening(node) as mempool:
        node.push(tx(1))
        node.push(tx(1))
        assert await mempool.heard() == [call(1)]


@pytest.mark.parametrize("payload", [7, [], {}, {"hash": name(1)}, tx(1, OTHER), tx(1, None), tx(1, input="0xzz")])
async def test_what_is_none_of_ours_or_makes_no_sense_is_passed_over(payload: Any) -> None:
    node = Pushing()
    async with listening(node) as mempool:
        node.push(payload)
        node.push(tx(2))
        assert await mempool.heard() == [call(2)]


@pytest.mark.parametrize("node", [Pushing((True,), ()), Pushing(pushes=False)])
async def test_without_a_subscription_the_pending_block_is_looked_at_with_every_head(node: Pushing) -> None:
    async with listening(node) as mempool:
        await mempool.clock.advance(5)  # type: ignore[attr-defined]
        node.block = [tx(1), tx(2, OTHER), tx(3)]
        assert list(await mempool.seen(HEAD)) == [call(1), call(3)]
        assert list(await mempool.seen(HEAD)) == [call(1), call(3)]
        assert (mempool.way, node.looks) == (Way.BLOCK, 2)


async def test_what_was_there_before_we_listened_is_looked_for_once() -> None:
    node = Pushing()
    node.block = [tx(1)]
    async with listening(node) as mempool:
        assert list(await mempool.seen(HEAD)) == [call(1)]
        node.push(tx(2))
        assert list(await mempool.seen(HEAD)) == [call(2)]
        assert node.looks == 1


async def test_after_a_lost_connection_it_subscribes_again_and_looks_for_what_it_missed() -> None:
    node = Pushing()
    async with listening(node) as mempool:
        await mempool.seen(HEAD)
        node.down = True
        node.push(None)
        node.handler = None
        await settled()
        await mempool.clock.advance(3)  # type: ignore[attr-defined]
        node.block = [tx(1)]
        assert list(await mempool.seen(HEAD)) == [call(1)]
        assert list(await mempool.seen(HEAD)) == [call(1)]  # still blind
        node.down = False
        await mempool.clock.advance(3)  # type: ignore[attr-defined]
        await settled()
        node.push(tx(2))
        assert list(await mempool.seen(HEAD)) == [call(2), call(1)]
        assert list(await mempool.seen(HEAD)) == []


async def test_a_flood_is_bounded_and_what_it_washed_away_is_looked_for() -> None:
    node = Pushing()
    async with listening(node) as mempool:
        await mempool.seen(HEAD)
        for n in range(2 * QUEUED):
            node.push(tx(n))
        assert node.looks == 1
        assert len(await mempool.seen(HEAD)) == QUEUED
        assert node.looks == 2
