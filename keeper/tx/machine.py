"""The life of one intent, as a table. What is not in the table cannot happen.

INTENT, PREPARED and ABANDONED live in memory only: an intent enters the journal together with its nonce, so a
process that dies before that has done nothing. From SIGNED on every step is durable. CANCELLED and CONFIRMED can
still be undone by a reorg; they are watched until they are FINAL.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

from keeper.errors import Broken, Replan
from keeper.model import Reason, TxState


class Event(StrEnum):
    """What can happen to an intent. The values are log events: ``tx.sent`` and so on."""

    SIMULATED = "simulated"  # and allowed: all checks before the nonce have passed
    REFUSED = "refused"  # by a check, before any nonce was taken
    COMMITTED = "signed"  # and durable: nonce, bytes and hash
    SENT = "sent"  # whatever the answer: it may be out there
    REPLACED = "replaced"  # another attempt at the same nonce: dearer, or a no-op
    MINED = "included"  # an attempt that acts has a canonical receipt
    NOOP_MINED = "noop_included"  # the no-op has one
    UNMINED = "dropped"  # the receipt is gone, or in another block
    CONFIRMED = "confirmed"  # the acting attempt is deep enough
    CANCELLED = "cancelled"  # the no-op is deep enough
    FOREIGN = "foreign"  # the nonce is used, and by none of our attempts
    FINAL = "final"  # too deep to be undone


S = TxState
TABLE: Final[Mapping[tuple[TxState, Event], TxState]] = {
    (S.INTENT, Event.SIMULATED): S.PREPARED,
    (S.INTENT, Event.REFUSED): S.ABANDONED,
    (S.PREPARED, Event.REFUSED): S.ABANDONED,
    (S.PREPARED, Event.COMMITTED): S.SIGNED,
    (S.SIGNED, Event.SENT): S.BROADCAST,
    (S.BROADCAST, Event.REPLACED): S.BROADCAST,
    (S.BROADCAST, Event.MINED): S.INCLUDED,
    (S.BROADCAST, Event.NOOP_MINED): S.BROADCAST,
    (S.BROADCAST, Event.UNMINED): S.BROADCAST,
    (S.BROADCAST, Event.CANCELLED): S.CANCELLED,
    (S.BROADCAST, Event.FOREIGN): S.REPLACED,
    (S.INCLUDED, Event.CONFIRMED): S.CONFIRMED,
    (S.INCLUDED, Event.UNMINED): S.BROADCAST,
    (S.CONFIRMED, Event.UNMINED): S.BROADCAST,
    (S.CONFIRMED, Event.FINAL): S.FINALIZED,
    (S.CANCELLED, Event.UNMINED): S.BROADCAST,
    (S.CANCELLED, Event.FINAL): S.CANCELLED,
}


class Illegal(Broken):
    """A step that is not in the table."""


class Refused(Replan):
    """What is not signed now, and why. Before its first signature an intent ends with this; later it waits."""

    def __init__(self, why: Reason, detail: str = "") -> None:
        super().__init__(f"{why}: {detail}" if detail else why)
        self.why = why
        self.detail = detail


def step(state: TxState, event: Event) -> TxState:
    """The next state; raises Illegal for every pair that is not in the table."""
    if (state, event) not in TABLE:
        raise Illegal(f"an intent that is {state} cannot be {event}")
    return TABLE[state, event]


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    edges = [f"    {state} --> {then}: {event}" for (state, event), then in TABLE.items()]
    sources = {state for state, event in TABLE if TABLE[state, event] is not state}
    ends = [
        f"    {state} --> [*]"
        for state in dict.fromkeys(TABLE.values())
        if state not in sources or state is S.CANCELLED
    ]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {S.INTENT}", *edges, *ends])
