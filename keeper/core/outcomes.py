"""What became of what we did: the events of each transaction, and what they say of an attempt that has ended."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from keeper.core.attempts import Attempt
from keeper.model import Fact, Outcome, Reason, TxEvent, TxState
from keeper.ports import Adapter

Told = tuple[str, Fact]  # protocol, and what it said


@dataclass
class Outcomes:
    _facts: dict[bytes, tuple[int, list[Told]]] = field(default_factory=dict)  # transaction -> block, facts

    def hear(self, block: int, told: Iterable[Told], below: int) -> None:
        """Of a block; what was told below ``below`` is forgotten."""
        for protocol, fact in told:
            self._facts.setdefault(fact.tx_hash, (block, []))[1].append((protocol, fact))
        self._facts = {tx: seen for tx, seen in self._facts.items() if seen[0] >= below}

    def rollback(self, to: int) -> None:
        self._facts = {tx: seen for tx, seen in self._facts.items() if seen[0] <= to}

    def of(self, attempt: Attempt, event: TxEvent, adapter: Adapter, block: int) -> Outcome:
        """Of an attempt that has ended with this event, heard at a block."""
        o, receipt = attempt.opportunity, event.receipt
        won = event.state is TxState.CONFIRMED and receipt is not None and receipt.ok
        facts = self._facts.get(receipt.tx_hash, (0, []))[1] if receipt else []
        brought = adapter.realised(o, [fact for protocol, fact in facts if protocol == o.protocol])
        why = None if won else self._why_lost(attempt, event)
        fee, ended = (receipt.fee, receipt.block.number) if receipt else (0, block)
        return Outcome(
            o.id, o.protocol, o.key, o.kind, won, why, brought.gain, brought.hedge, fee, attempt.decided, ended
        )

    def _why_lost(self, attempt: Attempt, event: TxEvent) -> Reason:
        """What others did to the same account since we decided tells why we came too late."""
        if event.state is not TxState.CONFIRMED:
            return event.why or Reason.NOT_INCLUDED
        o = attempt.opportunity
        since = (told for block, told in self._facts.values() if block > attempt.decided)
        names = {fact.name for told in since for protocol, fact in told if (protocol, fact.key) == (o.protocol, o.key)}
        if "sold" in names or "liquidated" in names:
            return Reason.OUTBID
        return Reason.LOST_RACE if "flagged" in names else Reason.REVERTED_STATE_CHANGED
