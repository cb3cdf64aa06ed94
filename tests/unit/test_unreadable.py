"""A block that an adapter cannot read: it did not come, in any book, and is asked for again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from keeper.chain.filling import Filling
from keeper.chain.follower import Follower, Limits
from keeper.core.kernel import Kernel
from keeper.core.planner import Limits as Planning
from keeper.daemon import Daemon
from keeper.errors import AdapterFault, Unreadable
from keeper.model import BlockBatch, BlockRef, ChainEvent, Delta, Fact, Key, Log, Read
from keeper.ports import View
from keeper.protocols.desk import directly
from keeper.testing.chain import ScriptedChain
from keeper.testing.clock import VirtualClock
from tests.bench.stage import Bench
from tests.faults.test_life_daemon import ME, Parts
from tests.unit.following import HERE, NEAR, WANTED

COUNT = Key("count", 1)
UNREAD = Unreadable("one cannot read block 2")


@dataclass(frozen=True)
class Counting(Bench):
    """Counts logs, and cannot make sense of those in ``odd`` blocks."""

    odd: set[bytes] = field(default_factory=set)

    def absorb(self, view: View, source: Log | tuple[Read, bytes], ref: BlockRef) -> Iterable[Delta | Fact]:
        if ref.hash in self.odd:
            raise AdapterFault("no such event")
        yield Delta(COUNT, view.get(COUNT), (view.get(COUNT) or 0) + 1)


def batch(ref: BlockRef) -> BlockBatch:
    return BlockBatch(ref, (HERE,), head=True)


@pytest.mark.fault("R36")
def test_no_book_has_a_block_that_one_of_them_cannot_read() -> None:
    chain = ScriptedChain()
    chain.mine(2)
    genesis, first, second = (header.ref for header in chain.blocks)
    odd = {second.hash}
    adapters = [Counting(None), Counting(None, odd=odd)]
    kernel = Kernel([(cast(Any, each), []) for each in adapters], genesis, 12, directly, Planning())
    kernel.absorb(batch(first))
    with pytest.raises(Unreadable, match="bench cannot read block 2"):
        kernel.absorb(batch(second))
    assert [(desk.book.ref, desk.book.get(COUNT)) for desk in kernel.desks] == [(first, 1)] * 2
    assert kernel.ref == first
    odd.clear()
    kernel.absorb(batch(second))
    assert [(desk.book.ref, desk.book.get(COUNT)) for desk in kernel.desks] == [(second, 2)] * 2


@pytest.mark.fault("R36")
async def test_such_a_block_is_told_once_more_and_those_after_it_follow() -> None:
    chain = ScriptedChain()
    chain.mine(4)
    follower = Follower(chain, lambda: [WANTED], VirtualClock(auto=True), NEAR)
    stream, seen, session = follower.events(1), list[int](), chain.session
    async with asyncio.timeout(5):
        while len(seen) < 6:
            event = await anext(stream)
            assert isinstance(event, BlockBatch)
            seen.append(event.ref.number)
            if seen in ([1, 2], [1, 2, 2]):
                await follower.again(UNREAD)
    assert seen == [1, 2, 2, 2, 3, 4]
    assert chain.session == session + 2  # elsewhere, where there is another


@pytest.mark.fault("R36")
async def test_after_the_patience_it_is_what_it_is() -> None:
    chain, clock = ScriptedChain(), VirtualClock(auto=True)
    chain.mine()
    follower = Follower(chain, lambda: [WANTED], clock, Limits(patience=30, depth=1_000))
    stream = follower.events(1)
    with pytest.raises(Unreadable, match="one cannot read"):
        async with asyncio.timeout(5):
            while True:
                await anext(stream)
                await follower.again(UNREAD)
    assert 30 <= clock.monotonic() <= 31 + Limits().backoff


@pytest.mark.fault("R36")
async def test_the_daemon_asks_again_and_goes_on() -> None:
    chain, clock = ScriptedChain(), VirtualClock(auto=True)
    chain.mine(3, [HERE])
    odd, parts = {header.ref.hash for header in chain.blocks[3:]}, Parts([])
    kernel = Kernel([(cast(Any, Counting(None, odd=odd)), [])], chain.blocks[0].ref, 12, directly, Planning())
    follower = Follower(chain, lambda: [WANTED], clock, NEAR)
    asked = list[str]()

    async def again(why: Unreadable) -> None:
        asked.append(str(why))
        odd.clear()
        await follower.again(why)

    daemon = Daemon(kernel, follower, parts, parts, ME, clock, [parts], again=again)  # type: ignore[arg-type]
    async with asyncio.timeout(5):
        await daemon.run(blocks=1)
    assert asked == ["bench cannot read block 3: no such event"] and parts.turns == [3]


async def test_where_nobody_can_be_asked_again_it_is_the_end() -> None:
    chain, clock, parts = ScriptedChain(), VirtualClock(auto=True), Parts([])
    odd = {chain.mine(1, [HERE]).hash}
    kernel = Kernel([(cast(Any, Counting(None, odd=odd)), [])], chain.blocks[0].ref, 12, directly, Planning())
    follower = Follower(chain, lambda: [WANTED], clock, NEAR)
    daemon = Daemon(kernel, follower, parts, parts, ME, clock, [parts])  # type: ignore[arg-type]
    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.timeout(5):
            await daemon.run(blocks=1)
    assert [type(error) for error in caught.value.exceptions] == [Unreadable]


async def test_accounts_are_not_read_at_a_block_that_was_not_taken() -> None:
    chain, asked = ScriptedChain(), list[BlockRef]()
    first, second = (chain.mine(1, [HERE]) for _ in range(2))

    @dataclass
    class Waiting:
        missing: bool
        book: Any

    class Source:
        async def events(self, start: int) -> AsyncIterator[ChainEvent]:
            yield batch(first)
            yield batch(second)

    class Asking(Filling[Any]):
        async def _filled(self, desk: Any, adapter: Any, ref: BlockRef) -> None:
            asked.append(ref)

    desk = Waiting(True, SimpleNamespace(ref=chain.blocks[0].ref))
    filling = Asking(Source(), cast(Any, None), [(desk, cast(Any, None))], lambda *_: None, 0, 0)
    async for event in filling.events(1):
        assert isinstance(event, BlockBatch)
        if event.ref == second:
            desk.book.ref = second
    assert asked == [second]
