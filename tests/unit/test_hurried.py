"""What was prepared for a head leaves at a glance at it, and is decided with its block, or known all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from keeper.clock import SystemClock
from keeper.core.kernel import Kernel
from keeper.core.planner import Limits
from keeper.daemon import Daemon
from keeper.model import (
    Address,
    BlockBatch,
    BlockRef,
    ChainEvent,
    Early,
    Pending,
    Reason,
    Send,
    Turn,
    TxEvent,
    TxIntent,
    TxState,
)
from keeper.protocols.desk import directly
from keeper.testing.chain import ScriptedChain, log
from tests.bench.blocks import PUBLISHER
from tests.bench.stage import Foreseeing, Taker

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

    async def hurry(self, intents: Sequence[TxIntent], head: BlockRef) -> Sequence[TxIntent]:
        self.asked.append(("hurry", head.number))
        self.hurried += (new := [one for one in intents if one not in self.hurried])
        return new

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


async def test_what_was_sent_by_a_glance_and_is_not_decided_is_known_all_the_same() -> None:
    """The block was not the head any more when it was read."""
    parts, keeper = shell(1, "early 2", 2)
    last = parts.script[-1]
    assert isinstance(last, BlockBatch)
    parts.script[-1:] = [replace(last, head=False), *shell(3)[0].script]
    await keeper.run(2)
    [hurried] = parts.hurried
    assert hurried.id in keeper.kernel.inflight
    assert not keeper._unresolved
    assert hurried.subject not in {intent.subject for intent in parts.submitted}  # it is on its way


async def test_what_was_sent_by_a_glance_is_not_forgotten_at_the_next() -> None:
    """A second head came before the first was read: nobody has said yet what became of what left by the first."""
    parts, keeper = shell(1, "early 2", 2, "early 3", 3)
    second = parts.script[2]
    assert isinstance(second, BlockBatch)
    parts.script[2] = replace(second, head=False)
    await keeper.run(2)
    assert parts.hurried[0].id in keeper.kernel.inflight
    assert not keeper._unresolved


async def test_of_what_is_heard_between_a_glance_and_its_block_nothing_is_made_yet() -> None:
    """It would be planned without what has just left."""
    parts, keeper = shell(1, "early 2")
    await keeper.run()
    assert parts.hurried
    calls, before = [Pending(PUBLISHER, b"publish")], len(parts.effects)
    await keeper.glimpse(calls)
    assert keeper._aside == calls and len(parts.effects) == before


async def test_nothing_leaves_at_a_glance_before_the_keeper_is_ready() -> None:
    parts, keeper = shell("early 1", 1)
    await keeper.run(1)
    assert not parts.hurried


def kernel_at(block: int, limits: Limits | None = None) -> tuple[Kernel, list[BlockRef]]:
    chain = ScriptedChain()
    chain.mine(8)
    refs = [header.ref for header in chain.blocks]
    kernel = Kernel([(cast(Any, Foreseeing(None)), [Taker()])], refs[0], 1, directly, limits or Limits())
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


def test_what_left_by_a_glance_has_its_place_in_the_plan_of_its_block() -> None:
    """The block was another than it looked: what comes of it now must fit beside what is on its way."""
    kernel, refs = kernel_at(2, Limits(max_inflight=1))
    kernel.expect()
    with kernel.early(published(refs[3])) as [intent]:
        kernel.left([intent])
    kernel.absorb(published(refs[3]))
    kernel.absorb(published(refs[4]))  # so that the same is another intent, as it would be for another price
    [desk] = kernel.desks
    desk.coming |= {key._replace(id=4) for key in desk.coming}
    assert not [effect for effect in kernel.first() if isinstance(effect, Send)]
    assert kernel.inflight.keys() == {intent.id}
    assert not kernel._attempts._hurried


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
    kernel.left([intent])
    kernel.absorb(published(refs[3]))
    kernel.absorb(TxEvent(intent.id, S.SIGNED))
    assert intent.id in kernel.inflight
    kernel.absorb(TxEvent(intent.id, S.ABANDONED, why=Reason.REVERTED_OTHER))
    assert not kernel._attempts.resting
