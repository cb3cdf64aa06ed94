"""A rollup whose sequencer was down: nothing new begins until it is up, and has been for a while."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from keeper.errors import NodeUnavailable
from keeper.model import BlockRef, Call, Reason, TxEvent, TxIntent, TxState
from keeper.protocols import words
from keeper.tx.sequencer import LATEST, Sequenced
from tests.unit.tx_chain import Simulated
from tests.unit.tx_rig import intent

FEED, GRACE, NOW = b"\x5e" * 20, 3_600, 100_000


def head(at: int) -> BlockRef:
    return BlockRef(at, at.to_bytes(32), bytes(32), at, 1, 1, 1)


@dataclass
class Parts:
    """A feed that says what it is told to, and transactions that take everything."""

    answer: Any = b""
    asked: list[tuple[Call, bytes | None]] = field(default_factory=list)
    taken: int = 0
    ready: bool = True

    async def call(self, call: Call, sender: bytes, block: bytes | None, **_: Any) -> Simulated:
        self.asked.append((call, block))
        if isinstance(self.answer, Exception):
            raise self.answer
        return Simulated(ok=self.answer is not None, data=self.answer or b"")

    async def recover(self) -> Sequence[TxEvent]:
        return [TxEvent(b"recovered", TxState.SIGNED)]

    async def prepare(self, intents: Sequence[TxIntent], head: BlockRef) -> None: ...

    def notice(self, head: BlockRef) -> None: ...

    async def on_block(self, head: BlockRef) -> Sequence[TxEvent]:
        return [TxEvent(b"followed", TxState.SIGNED)]

    async def hurry(self, intents: Sequence[TxIntent], head: BlockRef) -> Sequence[TxIntent]:
        self.taken += len(intents)
        return intents

    async def submit(self, intent: TxIntent, head: BlockRef) -> Sequence[TxEvent]:
        self.taken += 1
        return [TxEvent(intent.id, TxState.SIGNED)]


def said(answer: int, since: int) -> bytes:
    return words.pack(7, answer, since, since, 7)


async def submitted(answer: Any, at: int = NOW) -> tuple[TxEvent, Parts]:
    parts = Parts(answer)
    [event] = await Sequenced(parts, parts, FEED, GRACE).submit(intent(), head(at))  # type: ignore[arg-type]
    return event, parts


@pytest.mark.fault("S27")
@pytest.mark.parametrize(
    "answer",
    [
        said(1, NOW - 10 * GRACE),  # down for long
        said(1, NOW),
        said(0, NOW - GRACE + 1),  # up, and not long enough
        said(0, 0),  # no round yet (Arbitrum)
        said(0, NOW + 5),
        b"",
        said(0, NOW - GRACE)[:95],
        None,  # it reverts
        NodeUnavailable("gone"),
    ],
)
async def test_nothing_begins_while_it_is_down_and_for_a_grace_after(answer: Any) -> None:
    event, parts = await submitted(answer)
    assert (event.state, event.why, parts.taken) == (TxState.ABANDONED, Reason.GRACE_PERIOD, 0)
    assert event.detail


@pytest.mark.fault("S27")
async def test_when_it_has_been_up_for_the_grace_it_goes_on() -> None:
    event, parts = await submitted(said(0, NOW - GRACE))
    assert (event.state, parts.taken) == (TxState.SIGNED, 1)
    assert parts.asked == [(Call(FEED, LATEST), head(NOW).hash)]


@pytest.mark.fault("S27")
async def test_what_is_open_goes_on_and_the_feed_is_asked_once_a_block() -> None:
    parts = Parts(said(1, NOW))
    gate = Sequenced(parts, parts, FEED, GRACE)  # type: ignore[arg-type]
    events = [*await gate.recover(), *await gate.on_block(head(NOW))]
    assert [event.intent for event in events] == [b"recovered", b"followed"]
    for n in (1, 2):
        await gate.submit(intent(n), head(NOW))
    assert len(parts.asked) == 1
    parts.answer = said(0, NOW - GRACE)
    await gate.submit(intent(3), head(NOW + 1))
    assert (len(parts.asked), parts.taken) == (2, 1)


def test_the_selector_is_that_of_its_name() -> None:
    from eth_utils.crypto import keccak

    assert bytes(keccak(text="latestRoundData()"))[:4] == LATEST


@pytest.mark.parametrize(("answer", "taken"), [(said(0, NOW - GRACE), 1), (said(1, NOW - GRACE), 0), (b"", 0)])
async def test_nor_does_anything_leave_at_a_glance(answer: bytes, taken: int) -> None:
    parts = Parts(answer)
    sequenced = Sequenced(parts, parts, FEED, GRACE)  # type: ignore[arg-type]
    assert sequenced.ready
    assert len(await sequenced.hurry([intent()], head(NOW))) == taken
    assert parts.taken == taken
    assert not await sequenced.hurry([], head(NOW + 1)) and len(parts.asked) == 1
