"""What became of what we decided to do: from a transaction handed over to its one outcome.

on its way ──included──► mined ──finalized──► forgotten          abandoned: it was never signed
     ▲                     │                                     confirmed, cancelled, replaced: mined,
     └─────broadcast───────┘  (its block is no longer canonical)      and told as an outcome, once
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import Final

from keeper.model import Opportunity, Reason, Receipt, TxEvent, TxState

COOLDOWN: Final = 3  # blocks an opportunity rests after a failed attempt; twice as long after each further one
DOUBLINGS: Final = 8  # so that what always fails leaves nearly all slots to others, and is never given up
MEMORY: Final = 5_000  # blocks after which failures are forgotten
# Not a word about the opportunity itself: it is tried again at the next block.
PASSING: Final = frozenset({Reason.NONCE_GAP, Reason.RPC_DEGRADED, Reason.RISK_TX_LIMIT})


@dataclass(slots=True)
class Attempt:
    """An action that was handed to the transaction manager."""

    opportunity: Opportunity
    decided: int  # block
    mined: int | None = None  # block at which we heard that its nonce was used; None while it may still be mined
    told: bool = False  # as an outcome: a reorg does not make a second one
    early: bool = False  # it relies on what is not mined, or not read: when that fails it, it says nothing about it


@dataclass
class Attempts:
    glanced: dict[bytes, Opportunity] = field(default_factory=dict)  # intent of the last glance -> what it does
    _hurried: dict[bytes, Opportunity] = field(default_factory=dict)  # those that were sent, and are not heard of yet
    _open: dict[bytes, Attempt] = field(default_factory=dict)  # intent ->
    _failed: dict[bytes, tuple[int, ...]] = field(default_factory=dict)  # opportunity -> blocks in which it failed
    _resting: dict[bytes, int] = field(default_factory=dict)  # opportunity -> last block in which it rests

    def begin(self, intent: bytes, opportunity: Opportunity, block: int, *, early: bool = False) -> None:
        self._open[intent] = Attempt(opportunity, block, early=early)

    def hurry(self, intents: Iterable[bytes]) -> None:
        """Of those of the last glance these were sent."""
        self._hurried |= {intent: self.glanced[intent] for intent in intents}

    def undecided(self, decided: Container[bytes], block: int) -> bool:
        """Begin what was sent in a hurry and is not among these; whether there was anything."""
        missed = [intent for intent in self._hurried if intent not in decided]
        for intent in missed:
            self.begin(intent, self._hurried.pop(intent), block, early=True)
        return bool(missed)

    def known(self, intent: bytes, block: int) -> Attempt | None:
        """What an event is about. What was sent in a hurry is known from its first event on, if it was not decided."""
        hurried = self._hurried.pop(intent, None)
        if hurried is not None and intent not in self._open:
            self.begin(intent, hurried, block, early=True)
        return self._open.get(intent)

    @property
    def inflight(self) -> dict[bytes, Attempt]:
        """Those that may still be mined: intent -> attempt."""
        return {intent: attempt for intent, attempt in self._open.items() if attempt.mined is None}

    @property
    def resting(self) -> frozenset[bytes]:
        """Opportunities that have just failed."""
        return frozenset(self._resting)

    def hear(self, event: TxEvent, block: int) -> Attempt | None:
        """Take a step; the attempt when this was the first time that it ended.

        Intents of an earlier process are not known here, and nothing is concluded from their events.
        """
        attempt = self._open.get(event.intent)
        if attempt is None:
            return None
        match event:
            case TxEvent(state=TxState.ABANDONED, why=why):
                del self._open[event.intent]
                if why not in PASSING and not attempt.early:
                    self._fail(attempt.opportunity.id, block)
            case TxEvent(state=TxState.INCLUDED, receipt=receipt):
                attempt.mined = block
                if isinstance(receipt, Receipt) and not receipt.ok:
                    self._fail(attempt.opportunity.id, block)
            case TxEvent(state=TxState.BROADCAST):
                attempt.mined = None
            case TxEvent(state=TxState.CONFIRMED | TxState.CANCELLED | TxState.REPLACED):
                attempt.mined = block if attempt.mined is None else attempt.mined
                first, attempt.told = not attempt.told, True
                return attempt if first else None
            case TxEvent(state=TxState.FINALIZED):
                del self._open[event.intent]
        return None

    def _fail(self, opportunity: bytes, block: int) -> None:
        self._failed[opportunity] = (*self._failed.get(opportunity, ()), block)
        self._resting[opportunity] = _rests(self._failed[opportunity])

    def rollback(self, to: int) -> None:
        """Failures in blocks above ``to`` have not happened."""
        left = {o: tuple(b for b in blocks if b <= to) for o, blocks in self._failed.items()}
        self._failed = {o: blocks for o, blocks in left.items() if blocks}
        self._resting = {o: _rests(self._failed[o]) for o in self._resting if o in self._failed}

    def forget(self, block: int, below: int) -> None:
        """At ``block``: what has rested enough, and what was mined below ``below``."""
        if self._failed:  # else nothing rests
            self._resting = {o: until for o, until in self._resting.items() if until >= block}
            self._failed = {o: blocks for o, blocks in self._failed.items() if blocks[-1] >= block - MEMORY}
        self._open = {i: a for i, a in self._open.items() if a.mined is None or a.mined >= below}


def _rests(failed: tuple[int, ...]) -> int:
    """The last block of the rest that these failures ask for."""
    return failed[-1] + (COOLDOWN << min(len(failed) - 1, DOUBLINGS))
