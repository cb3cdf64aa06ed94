"""The follower on a scripted chain and a virtual clock: what is delivered, in which order, at what cost."""

import asyncio
from collections.abc import Callable, Sequence

import pytest
from structlog.testing import capture_logs

from keeper.chain.codec import Header
from keeper.chain.follower import UNPUSHED, Follower, Limits
from keeper.chain.node import BlockLogs, Contents
from keeper.chain.ring import RING
from keeper.errors import Broken, ChainLost, NodeUnavailable
from keeper.model import BlockBatch, Interests, LogFilter, Read, Rollback
from keeper.testing.chain import ScriptedChain
from keeper.testing.clock import VirtualClock
from tests.unit.following import ELSEWHERE, FAR, HERE, NEAR, OTHER, POOL, WANTED, follow, refs, take


async def test_every_block_comes_once_and_in_order() -> None:
    chain = ScriptedChain()
    chain.mine(5)
    assert refs(await take(follow(chain), 6)) == [header.ref for header in chain.blocks]


async def test_following_starts_where_it_is_told() -> None:
    chain = ScriptedChain()
    chain.mine(5)
    assert [ref.number for ref in refs(await take(follow(chain, start=4), 2))] == [4, 5]


async def test_a_batch_has_the_logs_of_interest_and_no_others() -> None:
    chain = ScriptedChain()
    chain.mine(1, [ELSEWHERE, HERE])
    (batch,) = await take(follow(chain, start=1), 1)
    assert isinstance(batch, BlockBatch)
    assert [(each.address, each.index) for each in batch.logs] == [(POOL, 1)]


async def test_reads_are_pinned_to_the_block_of_their_batch() -> None:
    chain = ScriptedChain(answers=lambda _, ref: ref.hash)
    chain.mine(3)
    for batch in await take(follow(chain), 4):
        assert isinstance(batch, BlockBatch)
        assert batch.reads == {"price": batch.ref.hash}


@pytest.mark.fault("S10", "S24")
async def test_only_the_newest_block_known_is_the_head() -> None:
    chain = ScriptedChain()
    chain.play(("mine", 3, [HERE]), ("mine", 9))
    events = await take(follow(chain, limits=FAR), 7)
    assert [event.ref.number for event in events if isinstance(event, BlockBatch) and event.head] == [12]


async def test_a_head_is_noticed_before_it_is_read_and_no_other_block_is() -> None:
    seen = list[tuple[str, int]]()

    class Told(ScriptedChain):
        async def contents(self, header: Header, filters: Sequence[LogFilter], reads: Sequence[Read]) -> Contents:
            seen.append(("read", header.ref.number))
            return await super().contents(header, filters, reads)

    chain = Told()
    chain.mine(2)
    follower = Follower(
        chain, lambda: [WANTED], VirtualClock(auto=True), NEAR, lambda head: seen.append(("noticed", head.number))
    )
    await take(follower.events(1), 2)
    assert seen == [("read", 1), ("noticed", 2), ("read", 2)]


async def test_a_block_is_not_the_head_when_a_newer_one_is_pushed_meanwhile() -> None:
    class Quick(ScriptedChain):
        async def contents(self, header: Header, filters: Sequence[LogFilter], reads: Sequence[Read]) -> Contents:
            if header.ref.number == 1 and header is self.head:
                self.mine()
            return await super().contents(header, filters, reads)

    chain, clock = Quick(), VirtualClock()
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    waiting = asyncio.create_task(take(stream, 2))
    await clock.slept_on()
    chain.mine()
    assert [event.head for event in await waiting if isinstance(event, BlockBatch)] == [False, True]


async def test_interests_are_asked_again_before_each_block() -> None:
    names: list[str] = ["r0"]
    chain = ScriptedChain()
    chain.mine(2)
    stream = follow(chain, interests=lambda: [Interests(logs=(), reads=tuple(Read(n, POOL, b"") for n in names))])
    (first,) = await take(stream, 1)
    names.append("r1")
    (second,) = await take(stream, 1)
    assert isinstance(first, BlockBatch) and isinstance(second, BlockBatch)
    assert (set(first.reads), set(second.reads)) == ({"r0"}, {"r0", "r1"})


async def test_two_different_reads_of_one_name_stop_the_keeper() -> None:
    clash = [Interests(logs=(), reads=(Read("price", address, b""),)) for address in (POOL, OTHER)]
    with pytest.raises(Broken, match="price"):
        await take(follow(ScriptedChain(), interests=lambda: clash), 1)


async def test_a_pushed_head_costs_one_question() -> None:
    chain, clock = ScriptedChain(), VirtualClock()
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    waiting = asyncio.create_task(take(stream, 1))
    await clock.slept_on()
    before = chain.asked
    chain.mine()
    await waiting
    waiting = asyncio.create_task(take(stream, 1))
    await clock.advance(0)
    assert chain.asked - before == 1
    waiting.cancel()


async def test_heads_are_found_by_looking_where_nothing_is_pushed() -> None:
    chain = ScriptedChain(pushes=False)
    stream = follow(chain)
    await take(stream, 1)
    waiting = asyncio.create_task(take(stream, 1))
    chain.mine()
    assert refs(await waiting) == [chain.head.ref]


@pytest.mark.fault("S09", "S10")
async def test_a_burst_of_heads_skips_no_block() -> None:
    chain = ScriptedChain()
    stream = follow(chain)
    await take(stream, 1)
    chain.mine(300)
    assert [ref.number for ref in refs(await take(stream, 300))] == list(range(1, 301))


async def test_a_burst_of_pushed_heads_costs_one_question_each() -> None:
    chain, clock = ScriptedChain(), VirtualClock()
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    waiting = asyncio.create_task(take(stream, 5))
    await clock.slept_on()
    before = chain.asked
    chain.mine(5)
    await waiting
    assert chain.asked - before == 5


@pytest.mark.fault("S07", "S08")
async def test_heads_pushed_twice_or_out_of_order_change_nothing() -> None:
    chain, clock = ScriptedChain(), VirtualClock()
    chain.mine(3)
    stream = follow(chain, clock=clock)
    await take(stream, 4)
    waiting = asyncio.create_task(take(stream, 2))
    await clock.slept_on()
    for number in (3, 1):
        chain.push(number)
        await clock.advance(0)
    chain.play(("mine", 2), ("push", 4))
    assert [ref.number for ref in refs(await waiting)] == [4, 5]


@pytest.mark.fault("S19")
async def test_of_two_heads_pushed_at_one_height_the_later_is_followed() -> None:
    chain, clock = ScriptedChain(remembers=True), VirtualClock()
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    waiting = asyncio.create_task(take(stream, 1))
    await clock.slept_on()
    chain.play(("mine",), ("reorg", 1))
    assert refs(await waiting) == [chain.head.ref]


async def test_pushes_without_a_header_are_pushes() -> None:
    class Terse(ScriptedChain):
        async def heads(self, handler: Callable[[Header | None], None]) -> None:
            await super().heads(lambda _: handler(None))

    chain, clock = Terse(), VirtualClock()
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    with capture_logs() as lines:
        for _ in range(2 * UNPUSHED):
            waiting = asyncio.create_task(take(stream, 1))
            await clock.slept_on()
            chain.mine()
            await waiting
    assert lines == []


async def test_a_pushed_head_that_died_at_once_is_forgotten() -> None:
    chain, clock = ScriptedChain(), VirtualClock()
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    waiting = asyncio.create_task(take(stream, 1))
    await clock.slept_on()
    chain.play(("mine", 1), ("rollback", 1))
    await clock.advance(2 * NEAR.patience)
    chain.mine()
    assert refs(await waiting) == [chain.head.ref]


# ── changes of mind ──


@pytest.mark.fault("S12", "S13", "S19")
async def test_a_reorg_is_a_rollback_to_the_fork_and_then_the_new_blocks() -> None:
    chain = ScriptedChain()
    chain.mine(5)
    stream = follow(chain)
    await take(stream, 6)
    chain.reorg(3, [HERE])
    rollback, *new = await take(stream, 4)
    assert rollback == Rollback(chain.blocks[2].ref)
    assert refs(new) == [header.ref for header in chain.blocks[3:]]


async def test_a_longer_branch_is_followed_from_the_fork() -> None:
    chain = ScriptedChain()
    chain.mine(5)
    stream = follow(chain)
    await take(stream, 6)
    chain.play(("reorg", 2), ("mine", 2))
    rollback, *new = await take(stream, 5)
    assert rollback == Rollback(chain.blocks[3].ref)
    assert [ref.number for ref in refs(new)] == [4, 5, 6, 7]


@pytest.mark.fault("S18")
async def test_a_head_that_stays_lower_is_a_rollback() -> None:
    chain = ScriptedChain()
    chain.mine(5)
    stream = follow(chain)
    await take(stream, 6)
    chain.rollback(2)
    assert await take(stream, 1) == [Rollback(chain.blocks[3].ref)]


@pytest.mark.fault("R17")
async def test_a_head_that_is_lower_for_a_moment_is_not() -> None:
    chain, clock = ScriptedChain(pushes=False), VirtualClock()
    stream = follow(chain, clock=clock)
    chain.mine(2)
    await take(stream, 3)
    waiting = asyncio.create_task(take(stream, 1))
    await clock.slept_on()
    for _ in range(4):
        chain.freeze(behind=1)  # another node behind the same name, one block late
        await clock.advance(NEAR.regress / 2)
        chain.thaw()
        await clock.advance(NEAR.poll)
    chain.mine()
    await clock.advance(NEAR.poll)
    assert refs(await waiting) == [chain.head.ref]


async def test_two_low_heads_with_news_in_between_are_two_moments() -> None:
    chain, clock = ScriptedChain(), VirtualClock()
    stream = follow(chain, clock=clock)
    chain.mine(2)
    await take(stream, 3)
    waiting = asyncio.create_task(take(stream, 2))
    await clock.slept_on()
    for _ in range(2):
        chain.freeze(behind=1)
        await clock.advance(NEAR.regress * 0.9)
        chain.play(("mine",), ("thaw",))
    assert refs(await waiting) == [header.ref for header in chain.blocks[-2:]]


async def test_a_fork_below_everything_followed_ends_it() -> None:
    chain = ScriptedChain()
    chain.mine(5)
    stream = follow(chain, start=4)
    await take(stream, 2)
    chain.play(("reorg", 3), ("mine", 1))
    with pytest.raises(ChainLost, match="shares no block"):
        await take(stream, 1)


async def test_a_fork_below_what_the_book_can_undo_ends_it() -> None:
    chain = ScriptedChain()
    chain.mine(RING + 50)
    stream = follow(chain)
    await take(stream, RING + 51)
    chain.reorg(RING + 10)
    with pytest.raises(ChainLost, match="shares no block"):
        await take(stream, 1)


async def test_a_fork_deep_in_a_range_ends_it_before_everything_is_walked() -> None:
    chain = ScriptedChain()
    chain.mine(700)
    stream = follow(chain, limits=Limits(depth=4, span=1_000))
    await take(stream, 5)
    chain.reorg(650)
    with pytest.raises(ChainLost, match="shares no block"):
        await take(stream, 1)


# ── far from the head ──


async def test_old_blocks_without_logs_are_folded_into_the_next_batch() -> None:
    chain = ScriptedChain()
    chain.play(("mine", 3, [HERE]), ("mine", 9))
    events = await take(follow(chain, limits=FAR), 7)
    spans = [(event.first, event.ref.number) for event in events if isinstance(event, BlockBatch)]
    assert spans == [(0, 3), (4, 4), (5, 8), (None, 9), (None, 10), (None, 11), (None, 12)]


async def test_old_blocks_are_not_read() -> None:
    chain = ScriptedChain()
    chain.play(("mine", 8, [HERE]), ("mine", 4))
    events = await take(follow(chain, limits=FAR), 6)
    read = [event.ref.number for event in events if isinstance(event, BlockBatch) and event.reads]
    assert read == [9, 10, 11, 12]


async def test_a_filter_that_an_old_block_brings_holds_from_the_next_block_on() -> None:
    chain, wanted = ScriptedChain(), [WANTED]
    chain.play(("mine", 1, [HERE]), ("mine", 1, [ELSEWHERE]), ("mine", 10))
    stream = follow(chain, limits=FAR, interests=lambda: wanted)
    await take(stream, 1)
    wanted.append(Interests(logs=(LogFilter(OTHER),)))
    (batch,) = await take(stream, 1)
    assert isinstance(batch, BlockBatch)
    assert (batch.ref.number, [each.address for each in batch.logs]) == (2, [OTHER])


async def test_a_range_that_fails_is_tried_smaller_and_then_larger_again() -> None:
    class Narrow(ScriptedChain):
        spans: list[int] = []  # noqa: RUF012

        async def logs_range(self, filters: Sequence[LogFilter], first: int, last: int) -> list[BlockLogs]:
            self.spans.append(last - first + 1)
            if last - first >= 10 and first < 20:
                raise NodeUnavailable("an answer of more than 1 bytes")
            return await super().logs_range(filters, first, last)

    chain = Narrow()
    chain.mine(100)
    await take(follow(chain, limits=Limits(depth=4, span=32)), 10)
    assert chain.spans == [32, 16, 8, 10, 12, 6, 8, 10, 12, 14, 16, 13]


async def test_a_reorg_during_a_long_absence_is_found_before_catching_up() -> None:
    chain = ScriptedChain()
    chain.mine(6)
    stream = follow(chain, limits=FAR)
    seen = await take(stream, 5)
    assert refs(seen)[-1] == chain.head.ref
    chain.play(("reorg", 2), ("mine", 20))
    (rollback,) = await take(stream, 1)
    assert rollback == Rollback(chain.blocks[4].ref)
