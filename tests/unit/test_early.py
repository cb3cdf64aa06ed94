"""A glance at a head: by what was pushed of it, before it is read. What leaves by it is in ``test_hurried``."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

from keeper.chain.codec import Header, to_hex
from keeper.chain.follower import Follower
from keeper.chain.node import Contents
from keeper.chain.pushed import BLOCKS, MOST, Pushed
from keeper.chain.rpc import RpcError
from keeper.errors import RateLimited
from keeper.model import (
    BlockBatch,
    ChainEvent,
    Early,
    Interests,
    Log,
    LogFilter,
    Read,
)
from keeper.testing.chain import ScriptedChain
from keeper.testing.clock import VirtualClock
from tests.unit.following import ELSEWHERE, HERE, NEAR, OTHER, POOL, WANTED, Stream, take

LOGS = Interests((LogFilter(POOL),))


def glancing(
    chain: ScriptedChain,
    ready: Callable[[], bool] = lambda: True,
    interests: Callable[[], Sequence[Interests]] = lambda: [LOGS],
) -> Stream:
    return Follower(chain, interests, VirtualClock(), NEAR, early=ready).events(1)


# ─── the follower ─────────────────────────────────────────────────────────────────────────────────


async def following(
    chain: ScriptedChain, *logs: Any, told: list[ChainEvent] | None = None, **how: Any
) -> list[ChainEvent]:
    """What comes of one more block with these logs, once the follower rests."""
    chain.mine()
    stream = glancing(chain, **how)
    await take(stream, 1)
    told = [] if told is None else told

    async def listening() -> None:
        async for event in stream:
            told.append(event)
            if isinstance(event, BlockBatch):
                return

    listener = asyncio.create_task(listening())
    for _ in range(20):  # until it waits for a head
        await asyncio.sleep(0)
    chain.mine(1, logs)
    async with asyncio.timeout(5):
        await listener
    return told


async def test_a_head_is_glanced_at_and_then_read() -> None:
    chain = ScriptedChain()
    early, batch = await following(chain, ELSEWHERE, HERE)
    assert isinstance(early, Early) and isinstance(batch, BlockBatch)
    assert early.batch.ref == batch.ref == chain.head.ref
    assert early.batch.logs == batch.logs and [log.address for log in batch.logs] == [POOL]


async def test_a_block_that_has_nothing_for_us_is_glanced_at_too() -> None:
    early, _ = await following(ScriptedChain())
    assert isinstance(early, Early) and early.batch.logs == ()


async def test_a_log_that_is_promised_and_does_not_come_is_read() -> None:
    chain = ScriptedChain()
    chain.late = 0
    [batch] = await following(chain, HERE)
    assert isinstance(batch, BlockBatch) and len(batch.logs) == 1


async def test_nobody_glances_who_has_nothing_to_send_nor_has_logs_pushed() -> None:
    idle, holding = Line(), Line()
    assert len(await following(idle, HERE, ready=lambda: False)) == 1
    assert len(await following(holding, HERE)) == 2
    assert (idle.asked_for, holding.asked_for) == ([], [list(LOGS.logs)])


async def test_a_glance_has_no_reads() -> None:
    early, batch = await following(ScriptedChain(), HERE, interests=lambda: [WANTED])
    assert isinstance(early, Early) and isinstance(batch, BlockBatch)
    assert (early.batch.logs, early.batch.reads) == (batch.logs, {}) and batch.reads


async def test_a_block_is_asked_for_what_was_wanted_before_it_whatever_a_glance_at_it_changes() -> None:
    """What is pushed may be a lie: it must not hide a log of the block."""

    class Asked(ScriptedChain):
        async def contents(self, header: Header, filters: Sequence[LogFilter], reads: Sequence[Read]) -> Contents:
            asked.append(list(filters))
            return await super().contents(header, filters, reads)

    asked, told = list[list[LogFilter]](), list[ChainEvent]()
    elsewhere = Interests((LogFilter(OTHER),))
    await following(Asked(), HERE, told=told, interests=lambda: [elsewhere if told else LOGS])
    assert isinstance(told[0], Early) and asked[-1] == list(LOGS.logs)


async def test_where_logs_are_not_pushed_blocks_are_read_as_ever() -> None:
    class Deaf(ScriptedChain):
        async def logs_pushed(self, filters: Sequence[LogFilter], handler: Callable[[Any], None]) -> list[str]:
            raise RpcError("scripted", -32601, "method not found")

    assert len(await following(Deaf(), HERE)) == 1


# ─── what is pushed ───────────────────────────────────────────────────────────────────────────────


class Line(ScriptedChain):
    """Keeps who listens, so that a test can push what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_for: list[Sequence[LogFilter]] = []
        self.ended: list[str] = []

    async def logs_pushed(self, filters: Sequence[LogFilter], handler: Callable[[Any], None]) -> list[str]:
        self.asked_for.append(filters)
        return await super().logs_pushed(filters, handler)

    async def unsubscribe(self, names: Sequence[str]) -> None:
        self.ended += names
        await super().unsubscribe(names)

    def says(self, payload: Any) -> None:
        for _, listener in self._listeners:
            listener(payload)


FILTERS = [LogFilter(POOL)]


async def of(pushed: Pushed, header: Header, filters: Sequence[LogFilter] = FILTERS) -> tuple[Log, ...] | None:
    """What has been pushed of a block when the loop has had a few turns, and the question is answered."""
    asked = asyncio.get_running_loop().create_future()
    asking = asyncio.ensure_future(pushed.of(header, filters, asked))
    for _ in range(5):
        await asyncio.sleep(0)
    asked.set_result(None)
    return await asking


@pytest.fixture
async def line() -> AsyncIterator[tuple[Line, Pushed]]:
    chain = Line()
    pushed = Pushed(chain)
    await pushed.keep(FILTERS)
    yield chain, pushed


@pytest.mark.fault("S13")
async def test_what_makes_no_sense_is_passed_over(line: tuple[Line, Pushed]) -> None:
    chain, pushed = line
    ref = chain.mine(1, [HERE])
    junk: Any
    for junk in (None, 7, "0x", [], {}, {"blockHash": 7}, {"blockHash": "0x"}, {"blockHash": to_hex(bytes(32))}):
        chain.says(junk)
    logs = await of(pushed, chain.head)
    assert logs is not None and len(logs) == 1
    chain.mine(1, [HERE])
    chain.says({"blockHash": to_hex(chain.head.ref.hash)})
    assert await of(pushed, chain.head) is None  # nor is the block believed
    assert ref.hash != chain.head.ref.hash


async def test_a_log_that_is_promised_is_waited_for(line: tuple[Line, Pushed]) -> None:
    chain, pushed = line
    chain.late = 0
    chain.mine(1, [HERE])
    asked = asyncio.get_running_loop().create_future()
    asking = asyncio.ensure_future(pushed.of(chain.head, FILTERS, asked))
    for _ in range(5):
        await asyncio.sleep(0)
    assert not asking.done()
    chain.late = None
    chain.push(chain.head.ref.number)
    logs = await asking
    assert logs is not None and len(logs) == 1


async def test_no_more_is_kept_than_will_be_looked_at(line: tuple[Line, Pushed]) -> None:
    chain, pushed = line
    for n in range(100):
        chain.says({"blockHash": to_hex(n.to_bytes(32))})
    assert len(pushed._raw) == BLOCKS
    chain.mine(1, [HERE] * (MOST + 50))
    assert len(pushed._raw[to_hex(chain.head.ref.hash)]) == MOST + 1
    assert await of(pushed, chain.head) is None


async def test_a_log_that_the_header_denies_is_not_believed(line: tuple[Line, Pushed]) -> None:
    chain, pushed = line
    chain.mine(1, [HERE])
    assert await of(pushed, chain.head._replace(bloom=0)) is None


async def test_other_interests_are_subscribed_to_anew_and_so_is_another_connection(line: tuple[Line, Pushed]) -> None:
    chain, pushed = line
    await pushed.keep(list(FILTERS))
    assert chain.asked_for == [FILTERS]
    both = [LogFilter(POOL), LogFilter(OTHER)]
    assert await of(pushed, chain.head, both) is None
    await pushed.keep(both)
    assert (chain.asked_for, chain.ended) == ([FILTERS, both], ["1"])
    chain.hang_up()
    chain.mine()
    assert await of(pushed, chain.head, both) is None
    await pushed.keep(both)
    assert (chain.asked_for[2:], chain.ended) == ([both], ["1"])
    chain.mine(1, [ELSEWHERE])
    assert await of(pushed, chain.head, both) is not None


async def test_a_node_that_fails_when_logs_are_subscribed_to_is_asked_again() -> None:
    class Busy(Line):
        async def logs_pushed(self, filters: Sequence[LogFilter], handler: Callable[[Any], None]) -> list[str]:
            subscriptions = await super().logs_pushed(filters, handler)
            if len(self.asked_for) == 1:
                raise RateLimited("scripted: too many requests")
            return subscriptions

    chain = Busy()
    pushed = Pushed(chain)
    with pytest.raises(RateLimited):
        await pushed.keep(FILTERS)
    chain.mine(1, [HERE])
    assert await of(pushed, chain.head) is None
    await pushed.keep(FILTERS)
    chain.mine(1, [HERE])
    assert await of(pushed, chain.head) is not None
