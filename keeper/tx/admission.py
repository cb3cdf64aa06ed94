"""Before the nonce: may this intent go, and what does it bid? Every no has a reason, and has cost nothing."""

from __future__ import annotations

from typing import Final

from keeper.model import BlockRef, Moment, Reason, Route, TxIntent
from keeper.ports import Simulation
from keeper.tx import fees, nonces
from keeper.tx.answers import Answer
from keeper.tx.fees import Fees
from keeper.tx.lane import Lane, digits, log
from keeper.tx.machine import Refused
from keeper.tx.rows import AttemptKind, Flight
from keeper.tx.switch import Level
from keeper.tx.trial import trial

HOLD: Final = {  # no new intent while an open one has this answer
    Answer.FUNDS: Reason.INVENTORY_SHORT,
    Answer.LIMIT: Reason.RISK_TX_LIMIT,
}


class Admission:
    def __init__(self, lane: Lane) -> None:
        self._lane = lane
        self._quoted: tuple[BlockRef, Fees] | None = None
        self._rich = False  # whether that was said

    async def admit(self, intent: TxIntent, head: BlockRef) -> tuple[int, Fees]:
        """Nonce and first bid of an intent that may go; raises Refused."""
        self.check(intent, head)
        asked = self._lane.ask(head).early()
        simulated = await self._simulate(intent, head)
        market, balance, mined = await self.market(head), await asked.balance(), await asked.mined()
        ceiling = self._lane.settings.fees.ceiling(intent.budget, intent.gas_limit)
        bid = fees.bid(market, head.next_base_fee, ceiling)
        if bid is None:
            raise Refused(Reason.GAS_ABOVE_CAP, f"at most {ceiling} wei per gas")
        if simulated is not None and not simulated.ok:
            raise Refused(Reason.SIM_REVERTED, digits(simulated.data))
        worst = intent.gas_limit * bid.max_fee + intent.call.value
        self._look_at(balance)
        worst += self._lane.settings.gas_reserve + sum(flight.worst_cost for flight in self._lane.unmined())
        if balance < worst and (now := await self._lane.node.balance(self._lane.signer.address)) < worst:
            raise Refused(Reason.INVENTORY_SHORT, f"balance {now} wei")
        return self._next_nonce(mined), bid

    def check(self, intent: TxIntent, head: BlockRef) -> None:
        """What is known without asking anybody; raises Refused."""
        self._check_losses(intent, head)
        self._check_room(intent, head)

    def _look_at(self, balance: int) -> None:
        """Say once when a hot key holds more than it should."""
        most = self._lane.settings.max_balance
        rich = most is not None and balance > most
        if rich and not self._rich:
            log.warning("tx.rich", address=digits(self._lane.signer.address), balance_wei=balance, most_wei=most)
        self._rich = rich

    async def market(self, head: BlockRef) -> Fees:
        """Today's bid, asked for once per block."""
        if self._quoted is None or self._quoted[0] != head:
            self._quoted = head, fees.market(head, await self._lane.ask(head).tips(), self._lane.settings.fees)
        return self._quoted[1]

    async def still_good(self, flight: Flight, head: BlockRef) -> bool:
        """Whether an act is worth a dearer bid: not when it would revert in the next block."""
        if flight.last.kind is AttemptKind.NOOP or not self._lane.settings.simulate:
            return True
        ahead = 1 if flight.intent.at is None else flight.intent.at.timestamp - flight.at
        at = Moment(head.number + 1, head.timestamp + max(1, ahead), head.next_base_fee)
        return (await trial(self._lane.node, flight.intent, self._lane.signer.address, at, head)).ok

    def _check_losses(self, intent: TxIntent, head: BlockRef) -> None:
        """The breaker, and the retry budget of a subject. Both are read from the journal: a restart resets neither."""
        limits, journal = self._lane.settings.limits, self._lane.journal
        if limits.reverts is not None or limits.lost is not None:
            count, lost = journal.losses(limits.reverts or 100)
            if count >= (limits.reverts or count + 1) or lost >= (limits.lost or lost + 1):
                raise self._tripped(f"{count} reverts in a row cost {lost} wei")
        if intent.subject and limits.retries is not None:
            failures = journal.failures(intent.subject, head.timestamp - limits.quarantine)
            if failures >= limits.retries:
                raise Refused(Reason.COOLDOWN, f"{intent.subject} failed {failures} times in {limits.quarantine} s")

    def _tripped(self, what: str) -> Refused:
        """The breaker turns the switch to pause; when a person turns it back, losses are counted anew."""
        log.error("tx.breaker", detail=what, help="find out why; then keeper switch run")
        if self._lane.switch.movable:
            self._lane.switch.set(Level.PAUSE, f"loss breaker: {what}")
            self._lane.journal.forgive()
        return Refused(Reason.LOSS_LIMIT, what)

    def _check_room(self, intent: TxIntent, head: BlockRef) -> None:
        settings, unmined = self._lane.settings, list(self._lane.unmined())
        slots = settings.max_in_flight - (0 if intent.urgent else settings.urgent_slots)
        if head.timestamp > intent.valid_until:
            raise Refused(Reason.EXPIRED)
        if len(unmined) >= slots:
            raise Refused(Reason.RISK_TX_LIMIT, f"{len(unmined)} in flight")
        if (intent.route or settings.route) is Route.PRIVATE and self._lane.relay is None:
            raise Refused(Reason.NO_ROUTE, "it must travel by a relay, and none is configured")
        for flight in unmined:
            _check_one(flight, intent)

    async def _simulate(self, intent: TxIntent, head: BlockRef) -> Simulation | None:
        if not self._lane.settings.simulate:
            return None
        return await trial(self._lane.node, intent, self._lane.signer.address, intent.at, head)

    def _next_nonce(self, mined: int) -> int:
        nonce = nonces.next_nonce(self._lane.journal.next_nonce(), mined)
        if nonces.behind(nonce, mined, self._lane.flights):
            raise Refused(Reason.RPC_DEGRADED, f"the node has {mined} of {nonce} transactions")
        return nonce


def _check_one(flight: Flight, intent: TxIntent) -> None:
    """One open nonce may hold back everything above it, or the same subject."""
    if intent.subject and flight.intent.subject == intent.subject:
        raise Refused(Reason.INFLIGHT_DUPLICATE, f"nonce {flight.nonce} acts on {intent.subject}")
    unsent = flight.answer is None  # by this process; the next block sends it again, or cancels it
    if unsent or flight.contested or flight.missing_since is not None:
        raise Refused(Reason.NONCE_GAP, f"nonce {flight.nonce} is unclear")
    if flight.answer in HOLD:
        raise Refused(HOLD[flight.answer], f"nonce {flight.nonce}: {flight.answer}")
