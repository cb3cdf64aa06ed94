"""The follower when the node is slow, silent, gone, or another one."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from keeper.chain.codec import Header
from keeper.chain.follower import UNPUSHED, Follower, Limits
from keeper.chain.node import BlockLogs, Contents
from keeper.chain.ring import RING
from keeper.chain.rpc import RpcError
from keeper.errors import ChainLost, KeeperError, NodeUnavailable, RateLimited, StaleRead, WrongChain
from keeper.model import BlockBatch, LogFilter, Read
from keeper.testing.chain import ScriptedChain
from keeper.testing.clock import VirtualClock
from tests.unit.following import FAR, HERE, TOPIC, follow, refs, take


@pytest.mark.fault("R02", "R05")
@pytest.mark.parametrize(
    "error",
    [NodeUnavailable("closed"), RateLimited("slow down"), StaleRead("unknown block"), RpcError("n", -32603, "oops")],
    ids=lambda error: type(error).__name__,
)
async def test_trouble_that_passes_costs_no_block(error: KeeperError) -> None:
    chain = ScriptedChain()
    stream = follow(chain)
    await take(stream, 1)
    chain.play(("fail", 4, error), ("mine", 3))
    assert [ref.number for ref in refs(await take(stream, 3))] == [1, 2, 3]


async def test_trouble_that_stays_ends_in_chain_lost_after_the_patience() -> None:
    chain, clock = ScriptedChain(), VirtualClock(auto=True)
    chain.fail(10_000, NodeUnavailable("refused"))
    with pytest.raises(ChainLost, match="refused"):
        await take(follow(chain, limits=Limits(patience=30), clock=clock), 1)
    assert 30 <= clock.monotonic() <= 31 + Limits().backoff


@pytest.mark.fault("R01")
async def test_pauses_between_tries_grow_up_to_the_limit() -> None:
    chain, clock = ScriptedChain(), VirtualClock(auto=True)
    chain.fail(10_000, NodeUnavailable("refused"))
    with pytest.raises(ChainLost):
        await take(follow(chain, limits=Limits(patience=60, backoff=1), clock=clock), 1)
    assert chain.asked < 70


@pytest.mark.fault("G03")
async def test_losing_and_finding_the_node_is_told_once_each() -> None:
    chain = ScriptedChain()
    stream = follow(chain)
    await take(stream, 1)
    with capture_logs() as lines:
        chain.play(("fail", 5, NodeUnavailable("closed")), ("mine", 2))
        await take(stream, 2)
    assert [line["event"] for line in lines] == ["rpc.lost", "rpc.back"]


async def test_a_node_that_is_back_without_news_is_told_too() -> None:
    chain, clock = ScriptedChain(pushes=False), VirtualClock()
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    waiting = asyncio.create_task(take(stream, 1))
    await clock.slept_on()
    with capture_logs() as lines:
        chain.fail(3, NodeUnavailable("closed"))
        await clock.advance(10)
    assert [line["event"] for line in lines] == ["rpc.lost", "rpc.back"]
    waiting.cancel()


@pytest.mark.fault("S22")
async def test_a_reorg_in_mid_question_is_no_lost_node() -> None:
    chain = ScriptedChain()
    stream = follow(chain)
    await take(stream, 1)
    with capture_logs() as lines:
        chain.play(("fail", 1, StaleRead("unknown block")), ("mine", 1))
        await take(stream, 1)
    assert lines == []


@pytest.mark.fault("S23", "G03")
async def test_a_head_that_stands_still_is_told_once() -> None:
    chain, clock = ScriptedChain(), VirtualClock()
    stream = follow(chain, limits=Limits(max_head_age=20), clock=clock)
    await take(stream, 1)
    waiting = asyncio.create_task(take(stream, 1))
    with capture_logs() as lines:
        await clock.advance(100)
    assert [line["event"] for line in lines] == ["head.stale"]
    chain.mine()
    await waiting


async def test_a_head_that_moves_in_time_is_not_stale() -> None:
    chain, clock = ScriptedChain(), VirtualClock()
    stream = follow(chain, limits=Limits(max_head_age=20), clock=clock)
    await take(stream, 1)
    with capture_logs() as lines:
        for _ in range(4):
            waiting = asyncio.create_task(take(stream, 1))
            await clock.advance(15)
            chain.mine()
            await waiting
    assert lines == []


@pytest.mark.fault("R14")
async def test_another_chain_id_after_reconnecting_stops_the_keeper() -> None:
    chain = ScriptedChain()
    stream = follow(chain)
    await take(stream, 1)
    chain.chain_id = 1
    chain.play(("hang_up",), ("mine",))
    with pytest.raises(WrongChain):
        await take(stream, 1)


@pytest.mark.fault("R15")
async def test_another_genesis_after_reconnecting_stops_the_keeper() -> None:
    chain = ScriptedChain()
    stream = follow(chain)
    await take(stream, 1)
    (genesis,) = chain.blocks
    chain.blocks[0] = genesis._replace(ref=replace(genesis.ref, hash=TOPIC))
    chain.hang_up()
    with pytest.raises(WrongChain):
        await take(stream, 1)


async def test_without_connections_a_fork_is_where_another_chain_shows() -> None:
    chain = ScriptedChain(pushes=False)
    stream = follow(chain)
    chain.mine(2)
    await take(stream, 3)
    chain.chain_id = 1
    chain.reorg(1)
    with pytest.raises(WrongChain):
        await take(stream, 1)


async def test_logs_that_name_another_block_than_their_number_are_asked_for_again() -> None:
    class Confused(ScriptedChain):
        async def logs_range(self, filters: Sequence[LogFilter], first: int, last: int) -> list[BlockLogs]:
            found = await super().logs_range(filters, first, last)
            return [each._replace(number=each.number - 1) for each in found]

    chain = Confused()
    chain.play(("mine", 3, [HERE]), ("mine", 9))
    with pytest.raises(ChainLost, match="name block"):
        await take(follow(chain, limits=FAR), 10)


@pytest.mark.fault("S01", "S06")
async def test_heads_are_asked_for_again_on_a_new_connection() -> None:
    chain, clock = ScriptedChain(), VirtualClock()
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    waiting = asyncio.create_task(take(stream, 1))
    await clock.slept_on()
    chain.hang_up()
    await clock.advance(0)
    chain.mine()
    assert refs(await waiting) == [chain.head.ref]


@pytest.mark.fault("S03")
async def test_a_subscription_that_died_alone_is_renewed() -> None:
    chain = ScriptedChain()
    stream = follow(chain)
    await take(stream, 1)
    chain._handlers.clear()
    for _ in range(6):
        chain.mine()
        await take(stream, 1)
    assert chain._handlers


@pytest.mark.fault("S15")
async def test_a_chain_that_takes_back_what_was_final_is_left() -> None:
    chain = ScriptedChain()
    chain.finality = 64
    chain.mine(100)
    stream = follow(chain)
    await take(stream, 101)
    chain.reorg(60)
    await take(stream, 61)  # above what is final, anything may happen
    chain.rollback(70)
    with pytest.raises(ChainLost, match="block 36 was final"):
        await take(stream, 1)


@pytest.mark.fault("R29")
async def test_a_node_that_pushes_no_heads_is_looked_at() -> None:
    class Dumb(ScriptedChain):
        async def heads(self, handler: object) -> None:
            raise RpcError("n", -32601, "the method eth_subscribe does not exist")

    chain = Dumb()
    stream = follow(chain)
    await take(stream, 1)
    for _ in range(3 * UNPUSHED):
        chain.mine()
        assert refs(await take(stream, 1)) == [chain.head.ref]


@pytest.mark.fault("S11")
async def test_heads_that_nobody_takes_do_not_pile_up() -> None:
    chain, clock = ScriptedChain(), VirtualClock()
    follower = Follower(chain, lambda: [], clock, Limits(depth=1_000))
    stream = follower.events(0)
    await take(stream, 1)
    chain.mine(2 * RING)  # while the kernel is busy
    assert len(follower._pushed) == RING
    assert [ref.number for ref in refs(await take(stream, 2 * RING))] == list(range(1, 2 * RING + 1))


@pytest.mark.fault("S26")
async def test_wall_time_may_jump_as_it_likes() -> None:
    class Mad(VirtualClock):
        def now(self) -> float:
            raise AssertionError("the follower looked at the wall clock")

    chain, clock = ScriptedChain(pushes=False), Mad(auto=True)
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    chain.play(("fail", 3, NodeUnavailable("closed")), ("mine", 2))
    assert len(await take(stream, 2)) == 2


@pytest.mark.fault("R07")
async def test_a_node_that_asks_for_a_pause_gets_it() -> None:
    chain, clock = ScriptedChain(), VirtualClock(auto=True)
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    began = clock.monotonic()
    chain.play(("fail", 1, RateLimited("slow down", 7.0)), ("mine",))
    await take(stream, 1)
    assert clock.monotonic() - began >= 7
    chain.play(("fail", 1, RateLimited("slow down", 10.0**9)), ("mine",))
    began = clock.monotonic()
    await take(stream, 1)
    assert clock.monotonic() - began < 60


@pytest.mark.fault("R32")
async def test_state_that_a_node_has_pruned_is_named_when_it_is_needed_for_good() -> None:
    class Pruned(ScriptedChain):
        async def contents(self, header: Header, filters: Sequence[LogFilter], reads: Sequence[Read]) -> Contents:
            if header.ref.number < 3:
                raise RpcError("n", -32000, "missing trie node 0xabc")
            return await super().contents(header, filters, reads)

    chain = Pruned()
    chain.mine(6)
    with pytest.raises(ChainLost, match="missing trie node"):
        await take(follow(chain, limits=Limits(depth=1_000, patience=5)), 1)
    assert len(await take(follow(chain, start=3), 4)) == 4  # in steady state nothing old is asked for


# ─── heads that are none ──────────────────────────────────────────────────────────────────────────


def forged(chain: ScriptedChain, **fields: Any) -> Header:
    """The head with other fields, pushed before anybody has asked for it."""
    made = chain.head._replace(ref=replace(chain.head.ref, **fields))
    chain._tell(made)
    return made


@pytest.mark.fault("S30")
@pytest.mark.parametrize("by", [-1, 1, 3])
async def test_a_block_whose_number_does_not_follow_its_parents_is_not_believed(by: int) -> None:
    chain, clock = ScriptedChain(pushes=False), VirtualClock(auto=True)
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    chain.mine()
    true = chain.blocks[-1]
    chain.blocks[-1] = true._replace(ref=replace(true.ref, number=true.ref.number + by))
    waiting, before = asyncio.create_task(take(stream, 1)), chain.asked
    while chain.asked < before + 8 and not waiting.done():  # noqa: ASYNC110  it looks again and again
        await asyncio.sleep(0)
    assert not waiting.done()
    chain.blocks[-1] = true
    assert refs(await waiting) == [true.ref]


@pytest.mark.fault("S30", "S05")
async def test_a_pushed_head_that_is_its_own_parent_is_forgotten() -> None:
    chain, clock = ScriptedChain(), VirtualClock(auto=True)
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    forged(chain, number=1, hash=b"\xab" * 32, parent=b"\xab" * 32)
    chain.mine()
    assert refs(await take(stream, 1)) == [chain.head.ref]


@pytest.mark.fault("S30")
async def test_pushed_heads_of_no_chain_keep_no_turn_away_for_long() -> None:
    """Each real head comes with a child that nobody can find: the first costs a turn, the others none."""
    chain, clock = ScriptedChain(), VirtualClock(auto=True)
    stream = follow(chain, clock=clock)
    await take(stream, 1)
    heads = list[bool]()
    for n in range(1, 6):
        waiting = asyncio.create_task(take(stream, 1))
        chain.mine()
        forged(chain, number=n + 1, hash=bytes([n]) * 32, parent=chain.head.ref.hash)
        [event] = await waiting
        assert isinstance(event, BlockBatch)
        heads.append(event.head)
    assert heads == [False, True, True, True, True]
