"""Signed before it is due: what the kernel expects of the next block is in the journal when that comes.

    prepare ─► checks ─► sign ─► journal.hold          after the turn, when nothing waits
    submit  ─► checks ─► journal.release ─► send ─► journal.begin

So the bytes are durable before they leave, like all others, and nothing is asked, signed or written between the block
and the send. They are not simulated, because what they rely on is not there yet: the kernel has confirmed the account
on its own book when it submits, and the contract holds the call to its terms. What is not submitted never leaves this
process, and its nonce goes to whatever comes next. A process that dies in between cannot say so: its successor takes
the first one up as an intent that is too late, and cancels it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from keeper.errors import Retry
from keeper.model import BlockRef, Call, Reason, TxEvent, TxIntent
from keeper.tx import fees
from keeper.tx.admission import Admission
from keeper.tx.fees import Fees
from keeper.tx.lane import Lane, digits, log
from keeper.tx.machine import Refused
from keeper.tx.rows import AttemptKind, Flight
from keeper.tx.sender import Sender
from keeper.tx.switch import Level


class Ahead:
    def __init__(self, lane: Lane, admission: Admission, sender: Sender) -> None:
        self._lane, self._admission, self._sender = lane, admission, sender
        self._held: list[Flight] = []  # by nonce; the first is the next that this key will sign
        self._charged = set[int]()  # nonces for which the budget has reserved something

    def __bool__(self) -> bool:
        """Whether anything is held."""
        return bool(self._held)

    async def prepare(self, intents: Sequence[TxIntent], head: BlockRef) -> None:
        """Hold these, and no others; fewer where one may not be signed now."""
        wanted = self._wanted(intents, head) if self._may() else []
        same = [_bytes(flight.intent) for flight in self._held] == list(map(_bytes, wanted))
        if same and self._still_fit(head):
            return self._refund(kept={flight.nonce for flight in self._held})
        before, self._held = self._held, []  # whatever fails from here on: what the caps no longer hold does not leave
        self._refund(kept=set())
        held = list[Flight]()
        try:
            market = await self._admission.market(head) if wanted else Fees(0, 0)
            for intent in wanted:
                with suppress(Refused):
                    held.append(await self._signed(intent, market, head, len(held)))
        except Retry as error:
            log.info("tx.not_ahead", why=str(error))
        if held or before:
            self._lane.journal.hold(held)
        self._held = held

    def match(self, intent: TxIntent, head: BlockRef) -> bool:
        """Whether the very call is held at the nonce that comes next, for a price that is still right."""
        if not self._held:
            return False
        first = self._held[0]
        ceiling = self._lane.settings.fees.ceiling(intent.budget, intent.gas_limit)
        fit = self._still_fit(head) and first.last.fees.max_fee <= ceiling
        return fit and _bytes(first.intent) == _bytes(intent)

    async def launch(self, intent: TxIntent, head: BlockRef) -> list[TxEvent]:
        """Send what ``match`` has found. Raises Refused as long as nothing has left."""
        self._admission.check(intent, head)
        first = self._held.pop(0)
        attempt = replace(first.last, intent=intent.id, created=head.number)
        return await self._sender.launch_held(intent, attempt, head)

    # ── below ──

    def _may(self) -> bool:
        lane = self._lane
        return not lane.shared and lane.settings.ahead > 0 and lane.level() is Level.RUN and lane.budget.roomy()

    def _refund(self, kept: set[int]) -> None:
        """What was signed and never left costs nothing."""
        for nonce in self._charged - kept - self._lane.flights.keys():
            self._lane.budget.release(self._lane.signer.address, nonce)
        self._charged &= kept

    def _wanted(self, intents: Sequence[TxIntent], head: BlockRef) -> list[TxIntent]:
        """Those that could be sent as they are, each subject once."""
        found = dict[str, TxIntent]()
        for intent in intents:
            subject = intent.subject or intent.id.hex()
            if self._lane.journal.state_of(intent.id) is None and subject not in found:
                with suppress(Refused):
                    self._admission.check(intent, head)
                    found[subject] = intent
        return list(found.values())[: self._lane.settings.ahead]

    def _still_fit(self, head: BlockRef) -> bool:
        """Whether their nonces are the next ones, and their bids right."""
        first = self._lane.journal.next_nonce() or 0
        return all(f.nonce == first + n and _pays(f.last.fees, head) for n, f in enumerate(self._held))

    async def _signed(self, intent: TxIntent, market: Fees, head: BlockRef, place: int) -> Flight:
        ceiling = self._lane.settings.fees.ceiling(intent.budget, intent.gas_limit)
        bid = fees.bid(market, head.next_base_fee, ceiling)
        if bid is None:
            raise Refused(Reason.GAS_ABOVE_CAP, digits(intent.id))
        flight = Flight(intent, (self._lane.journal.next_nonce() or 0) + place, head.number)
        flight.at, flight.wall = head.timestamp, int(self._lane.wall())
        self._charged.add(flight.nonce)
        flight.attempts.append(await self._sender.sign(flight, AttemptKind.ACT, bid, head))
        return flight


def _pays(bid: Fees, head: BlockRef) -> bool:
    """Whether it gets in at the next block and pays its whole tip there."""
    return bid.max_fee >= head.next_base_fee + bid.tip


def _bytes(intent: TxIntent) -> tuple[Call, int]:
    """What is signed of it, but for the nonce and the bid."""
    return intent.call, intent.gas_limit
