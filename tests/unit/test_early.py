"""A glance at a head: by what was pushed of it, before it is read; what was prepared for it leaves then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from keeper.chain.codec import Header, to_hex
from keeper.chain.follower import Follower
from keeper.chain.pushed import BLOCKS, MOST, Pushed
from keeper.chain.rpc import RpcError
from keeper.clock import SystemClock
from keeper.core.book import DEPTH
from keeper.core.kernel import Kernel
from keeper.core.planner import Limits
from keeper.daemon import Daemon
from keeper.model import (
    Address,
    BlockBatch,
    BlockRef,
    ChainEvent,
    Early,
    Interests,
    Log,
    LogFilter,
    Reason,
    Send,
    Turn,
    TxEvent,
    TxIntent,
    TxState,
)
from keeper.protocols.desk import directly
from keeper.testing.chain import ScriptedChain, log
from keeper.testing.clock import VirtualClock
from tests.bench.blocks import PUBLISHER
from tests.bench.stage import Foreseeing, Taker
from tests.unit.following import ELSEWHERE, HERE, NEAR, OTHER, POOL, WANTED, Stream, take

LOGS = Interests((LogFilter(POOL),))


def glancing(
    chain: ScriptedChain,
    ready: Callable[[], bool] = lambda: True,
    interests: Callable[[], Sequence[Interests]] = lambda: [LOGS],
) -> Stream:
    return Follower(chain, interests, VirtualClock(), NEAR, early=ready).events(1)


# ─── the follower ─────────────────────────────────────────────────────────────────────────────────


async def following(chain: ScriptedChain, *logs: Any, **how: Any) -> list[ChainEvent]:
    """What comes of one more block with these logs, once the follower rests."""
    chain.mine()
    stream = glancing(chain, **how)
    await take(stream, 1)
    told = []

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


async def test_nobody_glances_who_has_nothing_to_send() -> None:
    assert len(await following(ScriptedChain(), HERE, ready=lambda: False)) == 1


async def test_a_glance_has_no_reads() -> None:
    early, batch = await following(ScriptedChain(), HERE, interests=lambda: [WANTED])
    assert isinstance(early, Early) and isinstance(batch, BlockBatch)
    assert (early.batch.logs, early.batch.reads) == (batch.logs, {}) and batch.reads


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


# ─── the daemon ───────────────────────────────────────────────────────────────────────────────────

S = TxState
ME = b"\x11" * 20


@dataclass
class Shell:
    """A source and a transaction manager that say what the test wrote down, and what was asked of them in order."""

    script: list[ChainEvent]
    asked: list[tuple[str, int]] = field(default_factory=list)  # what, and of how many at which block
    hurried: list[TxIntent] = field(default_factory=list)
    submitted: list[TxIntent] = field(default_factory=list)
    effects: list[Any] = field(default_factory=list)

    async def events(self, start: int) -> AsyncIterator[ChainEvent]:
        for event in self.script:
            yield event

    async def recover(self) -> Sequence[TxEvent]:
        return []

    async def prepare(self, intents: Sequence[TxIntent], head: BlockRef) -> None: ...

    async def hurry(self, intents: Sequence[TxIntent], head: BlockRef) -> bool:
        self.asked.append(("hurry", head.number))
        self.hurried += intents
        return bool(intents)

    async def on_block(self, head: BlockRef) -> Sequence[TxEvent]:
        self.asked.append(("on_block", head.number))
        unclaimed = [one for one in self.hurried if one not in self.submitted]
        return [TxEvent(one.id, state) for one in unclaimed for state in (S.SIGNED, S.BROADCAST)]

    async def submit(self, intent: TxIntent, head: BlockRef) -> Sequence[TxEvent]:
        self.asked.append(("submit", head.number))
        self.submitted.append(intent)
        return [TxEvent(intent.id, S.SIGNED), TxEvent(intent.id, S.BROADCAST)]

    async def nonce(self, address: Address) -> int:
        return 0

    async def balance(self, address: Address) -> int:
        return 10**18

    def effect(self, effect: Any) -> None:
        self.effects.append(effect)

    def turn(self, turn: Turn) -> None:
        self.effects.append(turn)


def published(ref: BlockRef) -> BlockBatch:
    """A block with the publication that was due."""
    return BlockBatch(ref, (log(PUBLISHER),))


def shell(*numbers: int | str) -> tuple[Shell, Daemon]:
    """Blocks by number, glances at them as "early 3"."""
    chain = ScriptedChain()
    chain.mine(8)
    genesis, *refs = (header.ref for header in chain.blocks)

    def event(name: int | str) -> ChainEvent:
        batch = published(refs[int(str(name).split()[-1]) - 1])
        return Early(batch) if str(name).startswith("early") else batch

    parts = Shell([event(name) for name in numbers])
    kernel = Kernel([(cast(Any, Foreseeing(None)), [Taker()])], genesis, 1, directly, Limits())
    return parts, Daemon(kernel, parts, parts, parts, ME, SystemClock(), [parts])  # type: ignore[arg-type]


async def test_what_was_expected_leaves_at_the_glance_and_is_decided_with_the_block() -> None:
    parts, keeper = shell(1, "early 2", 2)
    await keeper.run(2)
    at_two = [what for what, block in parts.asked if block == 2]
    assert at_two[:3] == ["hurry", "submit", "on_block"]
    assert parts.hurried and parts.hurried == [i for i in parts.submitted if i.id in {h.id for h in parts.hurried}]
    sends = [one.intent for one in parts.effects if isinstance(one, Send)]
    assert len({intent.id for intent in sends}) == len(sends)  # it is done once, and told once
    turn = next(one for one in parts.effects if isinstance(one, Turn) and one.ref.number == 2)
    assert turn.sent == keeper._hurried[1]


async def test_decisions_are_the_same_with_a_glance_and_without() -> None:
    told = []
    for script in ((1, 2, 3), (1, "early 2", 2, "early 3", 3)):
        parts, keeper = shell(*script)
        await keeper.run(3)
        told.append([one for one in parts.effects if not isinstance(one, Turn)])
    assert told[0] == told[1]


@pytest.mark.parametrize("after", [(3,), ("early 3", 3)])
async def test_what_was_sent_by_a_glance_and_is_not_decided_is_known_all_the_same(after: tuple[int | str, ...]) -> None:
    """The block was not the head any more when it was read, and the next one may be glanced at too."""
    parts, keeper = shell(1, "early 2", 2)
    last = parts.script[-1]
    assert isinstance(last, BlockBatch)
    parts.script[-1:] = [replace(last, head=False), *shell(*after)[0].script]
    await keeper.run(2)
    hurried = parts.hurried[0]
    assert hurried.id in keeper.kernel.inflight
    assert not keeper._unresolved
    assert [what for what, block in parts.asked if block == 3 and what != "hurry"][:1] == ["submit"]


async def test_nothing_leaves_at_a_glance_before_the_keeper_is_ready() -> None:
    parts, keeper = shell("early 1", 1)
    await keeper.run(1)
    assert not parts.hurried


def kernel_at(block: int) -> tuple[Kernel, list[BlockRef]]:
    chain = ScriptedChain()
    chain.mine(8)
    refs = [header.ref for header in chain.blocks]
    kernel = Kernel([(cast(Any, Foreseeing(None)), [Taker()])], refs[0], 1, directly, Limits())
    for ref in refs[1 : block + 1]:
        kernel.absorb(published(ref))
    return kernel, refs


def test_of_a_glance_nothing_stays_in_the_books() -> None:
    kernel, refs = kernel_at(2)
    kernel.decide()
    kernel.expect()
    [desk] = kernel.desks
    with kernel.early(published(refs[3])) as intents:
        assert len(intents) == 1
    assert (kernel.ref, desk.book.ref, kernel.inflight.keys() & {intents[0].id}) == (refs[2], refs[2], set())
    kernel.absorb(published(refs[3]))
    [send] = [effect for effect in kernel.first() if isinstance(effect, Send)]
    assert send.intent == intents[0]


def test_what_a_glance_would_have_sent_is_forgotten_with_its_block() -> None:
    kernel, refs = kernel_at(2)
    kernel.expect()
    with kernel.early(published(refs[3])) as [intent]:
        pass
    attempts = kernel._attempts
    [due] = (o.at.number for o in attempts.hurried.values())
    attempts.forget(due + DEPTH, due)
    assert list(attempts.hurried) == [intent.id]
    attempts.forget(due + DEPTH + 1, due + 1)
    assert not attempts.hurried


def test_without_what_was_expected_nothing_is_done() -> None:
    kernel, refs = kernel_at(2)
    kernel.decide()
    kernel.expect()
    with kernel.early(BlockBatch(refs[3])) as intents:
        assert intents == []


def test_a_block_that_does_not_follow_the_last_one_is_not_glanced_at() -> None:
    kernel, refs = kernel_at(2)
    kernel.expect()
    with kernel.early(published(refs[5])) as intents:
        assert intents == []
    assert kernel.desks[0].book.ref == refs[2]


def test_an_adapter_that_fails_at_a_glance_is_not_paused_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel, refs = kernel_at(2)
    kernel.expect()
    [desk] = kernel.desks

    def fails(*_: object) -> None:
        raise ValueError("half a block")

    monkeypatch.setattr(type(desk.adapter), "health", fails)
    with kernel.early(published(refs[3])) as intents:
        assert intents == []
    assert not desk.paused


def test_what_failed_because_a_glance_was_not_all_says_nothing_about_it() -> None:
    kernel, refs = kernel_at(2)
    kernel.expect()
    with kernel.early(published(refs[3])) as [intent]:
        pass
    kernel.absorb(published(refs[3]))
    kernel.absorb(TxEvent(intent.id, S.SIGNED))
    assert intent.id in kernel.inflight
    kernel.absorb(TxEvent(intent.id, S.ABANDONED, why=Reason.REVERTED_OTHER))
    assert not kernel._attempts.resting
