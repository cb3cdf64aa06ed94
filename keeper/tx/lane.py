"""One key on one chain: what it has, what it has open, and what stands before each signature and each send."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Protocol

import structlog

from keeper.errors import Fenced
from keeper.model import BlockRef, Hash, Reason, Receipt, TxEvent
from keeper.ports import Executor, Fence, StateReader
from keeper.tx.asking import Questions
from keeper.tx.budget import Budget
from keeper.tx.heads import Heads
from keeper.tx.journal import Journal
from keeper.tx.machine import Event, Refused, step
from keeper.tx.relay import Relay
from keeper.tx.rows import Attempt, AttemptKind, Flight
from keeper.tx.settings import Settings
from keeper.tx.signer import Signer
from keeper.tx.switch import Level, Switch

log = structlog.get_logger()
SOON: Final = 0.05  # seconds until a step is in the journal, if nothing else is written before

Rewards = Callable[[BlockRef], Awaitable[Sequence[int]]]  # tips (wei per gas) paid up to a block, one per block


class Node(StateReader, Executor, Protocol):
    """What the manager needs of a node."""

    async def receipts(self, hashes: Sequence[Hash]) -> Sequence[Receipt | None]:
        """As ``receipt``, of many at once, in their order."""
        ...


class Alone:
    """The fence of a keeper on one host: the lock on its journal is all it needs."""

    epoch = 0

    def check(self) -> None: ...

    async def commit(self, line: bytes) -> None: ...

    async def lines(self) -> Sequence[bytes]:
        return ()

    async def forget(self, term: int | None, gone: Callable[[bytes], bool]) -> int:
        return 0


@dataclass
class Lane:
    node: Node
    journal: Journal
    signer: Signer
    settings: Settings
    rewards: Rewards
    fault: Callable[[str], None]
    fence: Fence
    switch: Switch
    budget: Budget
    relay: Relay | None = None
    wall: Callable[[], float] = time.time
    term: int | None = None  # the epoch for which we have recovered; None: not yet
    heads: Heads = field(default_factory=Heads)
    flights: dict[int, Flight] = field(default_factory=dict)  # by nonce, ascending

    asked: Questions | None = None  # at the last head
    _settling: asyncio.TimerHandle | None = None

    @property
    def shared(self) -> bool:
        """Whether other hosts may use this key."""
        return not isinstance(self.fence, Alone)

    def unmined(self) -> Iterator[Flight]:
        return (flight for flight in self.flights.values() if flight.receipt is None)

    def placed(self, flight: Flight) -> bool:
        """Whether its receipt is in a block that is known to be canonical: it need not be asked for again."""
        return flight.receipt is not None and self.heads.holds(flight.receipt.block)

    def unplaced(self) -> list[Hash]:
        """Attempts whose receipts are to be asked for."""
        return [a.hash for flight in self.flights.values() if not self.placed(flight) for a in flight.attempts]

    def ask(self, head: BlockRef, *, anew: bool = False) -> Questions:
        """What was asked at this head, or is asked now."""
        asked = self.asked
        if anew or asked is None or asked.head != head or not asked.sound:
            asked = self.asked = Questions(self.node, self.signer.address, self.rewards, head, self.unplaced())
        return asked

    # ─── what stands before a signature and a send ────────────────────────────────────────────────

    def leads(self) -> bool:
        """Whether the key is ours to use now."""
        try:
            self.fence.check()
        except Fenced:
            return False
        return True

    def level(self) -> Level:
        """The switch's, or HALT while another host, or nobody, may use the key."""
        return self.switch.level if self.leads() and not self.journal.halted() else Level.HALT

    def check_term(self) -> None:
        """Raises Fenced unless our term runs, and is the one for which we have read what others have signed."""
        self.fence.check()
        if self.fence.epoch != self.term:
            raise Fenced(f"epoch {self.fence.epoch} has begun, and we know what was signed until {self.term}")

    def may_sign(self, flight: Flight, kind: AttemptKind) -> None:
        """Raises Fenced, Refused or Stop unless such bytes may be made now."""
        self.check_term()
        act = Level.PAUSE if flight.attempts else Level.RUN
        self._below(Level.DRAIN if kind is AttemptKind.NOOP else act)
        self.journal.check()

    def may_send(self, attempt: Attempt) -> None:
        """The same for bytes that are in the journal."""
        self.check_term()
        self._below(Level.DRAIN if attempt.kind is AttemptKind.NOOP else Level.PAUSE)

    def _below(self, highest: Level) -> None:
        level, reason = self.switch.read()
        if level > highest:
            raise Refused(Reason.PAUSED, f"{level.name.lower()} {reason}".strip())

    # ─── steps ────────────────────────────────────────────────────────────────────────────────────

    def step(self, flight: Flight, event: Event, why: Reason | None = None, *, settled: bool = False) -> list[TxEvent]:
        """Take a step, soon durable, and at once where limits count it; news only if the state changed."""
        before, flight.state, flight.settled = flight.state, step(flight.state, event), settled
        self.fault("before_record")
        harmless = event is Event.SENT or (flight.receipt is not None and flight.receipt.ok)
        record = self.journal.note if harmless else self.journal.advance
        record(flight, event, self.heads.top, settled=settled)
        if harmless and self._settling is None:
            self._settling = asyncio.get_running_loop().call_later(SOON, self._settle)
        self.fault("after_record")
        self.budget.note(self.signer.address, flight)
        if settled:
            del self.flights[flight.nonce]
        say(event, flight)
        return [] if flight.state is before else [news(flight, why)]

    def _settle(self) -> None:
        self._settling = None
        self.journal.settle()


def news(flight: Flight, why: Reason | None = None) -> TxEvent:
    shown = flight.mined or flight.last
    return TxEvent(flight.intent.id, flight.state, flight.receipt, why, digits(shown.hash))


def say(event: Event, flight: Flight) -> None:
    """When the loop next waits: no send waits for a line about it."""
    shown = flight.mined or flight.last
    line = partial(
        log.info,
        f"tx.{event}",
        intent=digits(flight.intent.id),
        hash=digits(shown.hash),
        nonce=flight.nonce,
        kind=shown.kind,
        max_fee=shown.fees.max_fee,
        tip=shown.fees.tip,
        answer=flight.answer,
    )
    asyncio.get_running_loop().call_soon(line)


def digits(data: bytes) -> str:
    return "0x" + data.hex()
