"""The critical section: sign, commit, send, record. Nothing leaves before it is durable.

may_sign ─► guard on the bytes, sign ─► commit for our successors ─► commit to the journal ─► may_send ─► send
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final

from keeper.errors import Fenced, Retry
from keeper.model import BlockRef, Call, Reason, Route, TxEvent, TxIntent, TxState
from keeper.ports import Sent
from keeper.tx import fees
from keeper.tx.answers import Answer, classify
from keeper.tx.fees import Fees
from keeper.tx.lane import Lane, digits, log, news, say
from keeper.tx.machine import Event, Refused, step
from keeper.tx.relay import Fate, Relay
from keeper.tx.rows import Attempt, AttemptKind, Flight, line_of

WITHDRAWN: Final = -1  # in place of a block: the relay was asked to forget it
TAKEN: Final = (Answer.ACCEPTED, Answer.HAVE_IT)


class Sender:
    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    async def launch(self, intent: TxIntent, nonce: int, bid: Fees, head: BlockRef) -> list[TxEvent]:
        """Raises Refused as long as nothing is signed; from then on it will happen once, or be cancelled."""
        lane = self._lane
        created = step(TxState.INTENT, Event.SIMULATED)
        flight = Flight(intent, nonce, head.number, created, waits_since=head.number)
        flight.at, flight.wall = head.timestamp, int(lane.wall())
        first = await self.sign(flight, AttemptKind.ACT, bid, head)
        flight.attempts.append(first)
        flight.state = step(flight.state, Event.COMMITTED)
        lane.fault("before_commit")
        await self._share(flight, first)
        lane.journal.begin(flight, decided_on=head.hash.hex(), settings=lane.settings.fingerprint)
        lane.fault("after_commit")
        lane.flights[nonce] = flight
        say(Event.COMMITTED, flight)
        signed = news(flight)
        return [signed, *(lane.step(flight, Event.SENT) if await self.send(flight, head) else ())]

    async def launch_held(self, intent: TxIntent, attempt: Attempt, head: BlockRef) -> list[TxEvent]:
        """The same of bytes that are in the journal already: they leave first, and begin with the answer."""
        lane = self._lane
        flight = Flight(intent, attempt.nonce, head.number, waits_since=head.number, attempts=[attempt])
        flight.at, flight.wall = head.timestamp, int(lane.wall())
        lane.journal.release()
        lane.flights[flight.nonce] = flight
        try:
            sent = await self.send(flight, head)
        finally:  # whatever happened: they may be out there
            lane.fault("before_begin")
            lane.journal.begin(flight, held=True, decided_on=head.hash.hex(), settings=lane.settings.fingerprint)
            lane.fault("after_begin")
        say(Event.COMMITTED, flight)
        signed = news(flight)
        return [signed, *(lane.step(flight, Event.SENT) if sent else ())]

    async def replace(
        self, flight: Flight, kind: AttemptKind, bid: Fees | None, head: BlockRef, why: Reason | None
    ) -> list[TxEvent]:
        """A dearer attempt at the same nonce; nothing when there is no such bid, or it may not be signed now."""
        lane = self._lane
        try:
            if bid is None:
                raise Refused(Reason.GAS_ABOVE_CAP, "no bid left below the ceiling")
            attempt = await self.sign(flight, kind, bid, head)
        except (Refused, Retry) as no:
            if flight.stuck != str(no):  # said when it changes, and not at every block
                log.warning("tx.stuck", intent=digits(flight.intent.id), nonce=flight.nonce, why=str(no))
            flight.stuck = str(no)
            return []
        lane.fault("before_commit")
        await self._share(flight, attempt)
        lane.journal.replace(flight, attempt)
        lane.fault("after_commit")
        flight.attempts.append(attempt)
        flight.waits_since = head.number
        flight.state = step(flight.state, Event.REPLACED)
        say(Event.REPLACED, flight)
        await self.send(flight, head)
        return [news(flight, why)]

    async def sign(self, flight: Flight, kind: AttemptKind, bid: Fees, head: BlockRef) -> Attempt:
        lane, act = self._lane, kind is AttemptKind.ACT
        call = flight.intent.call if act else Call(lane.signer.address, b"")
        gas = flight.intent.gas_limit if act else fees.NOOP_GAS
        lane.fault("before_sign")
        lane.may_sign(flight, kind)
        made = lane.signer.sign(flight.nonce, call, gas, bid.max_fee, bid.tip, lane.signer.chain_id)
        raw, hash = made if isinstance(made, tuple) else await made
        lane.check_term()  # a signer elsewhere takes its time
        return Attempt(hash, flight.intent.id, flight.nonce, kind, raw, gas, bid, head.number, lane.fence.epoch)

    async def _share(self, flight: Flight, attempt: Attempt) -> None:
        """With whoever may have this key next."""
        if self._lane.shared:
            await self._lane.fence.commit(line_of(flight, attempt))

    # ─── sending ──────────────────────────────────────────────────────────────────────────────────

    async def send(self, flight: Flight, head: BlockRef) -> bool:
        """Send the last attempt, if it may leave now. Whatever comes back, from then on it may be out there."""
        self._lane.fault("before_send")
        try:
            self._lane.may_send(flight.last)
        except (Refused, Fenced) as no:  # it is in the journal: whoever may send it next, will, or cancel it
            log.warning("tx.held", intent=digits(flight.intent.id), nonce=flight.nonce, why=str(no))
            return False
        flight.answer = await self._sent(flight, head)
        self._lane.fault("after_send")
        level = log.error if flight.contested or flight.answer is Answer.DEFINITE else log.debug
        level("tx.answer", intent=digits(flight.intent.id), hash=digits(flight.last.hash), answer=flight.answer)
        return True

    async def _sent(self, flight: Flight, head: BlockRef) -> Answer:
        """By relay as long as its route wants that; a no-op, and what a relay would not take, as the route allows."""
        route, relay = flight.intent.route or self._lane.settings.route, self._lane.relay
        if relay is None or route is Route.PUBLIC:
            return await self._answered(self._lane.node.send(flight.last.raw))
        if self._privately(flight, route, head):
            answer = await self._relayed(relay, flight, route, head)
            if answer in TAKEN or route is Route.PRIVATE:
                return answer
            log.warning("tx.relay_refused", intent=digits(flight.intent.id), answer=answer)
        await self._withdrawn(relay, flight)
        return await self._answered(self._lane.node.send(flight.last.raw))

    async def _relayed(self, relay: Relay, flight: Flight, route: Route, head: BlockRef) -> Answer:
        """Give it to the relay, unless that says that it has it. Whatever it says, only a receipt ends this."""
        hash, settings = flight.last.hash, self._lane.settings
        if relay.tells and head.number < flight.relayed.get(hash, 0):
            fate = await relay.fate(hash)
            if fate in (Fate.PENDING, Fate.INCLUDED):
                return Answer.HAVE_IT
            log.warning("tx.relay_lost", intent=digits(flight.intent.id), hash=digits(hash), fate=fate)
            if fate is not Fate.UNKNOWN and route is Route.FALLBACK:
                return Answer.DEFINITE  # it had its chance there
        last = head.number + settings.private_blocks
        flight.relayed[hash] = last
        return await self._answered(relay.send(flight.last.raw, head.number + 1, last))

    async def _withdrawn(self, relay: Relay, flight: Flight) -> None:
        """Ask the relay, once, to forget what it may hold of this nonce. It need not: one nonce, one effect."""
        acts = [attempt.hash for attempt in flight.attempts if attempt.kind is AttemptKind.ACT]
        held = [hash for hash in acts if flight.relayed.get(hash) != WITHDRAWN]
        for hash, answer in zip(held, await asyncio.gather(*map(relay.cancel, held)), strict=True):
            flight.relayed[hash] = WITHDRAWN
            log.info("tx.relay_cancel", intent=digits(flight.intent.id), hash=digits(hash), accepted=answer.accepted)

    def _privately(self, flight: Flight, route: Route, head: BlockRef) -> bool:
        if flight.last.kind is AttemptKind.NOOP:
            return False
        if route is Route.PRIVATE:
            return True
        withdrawn = WITHDRAWN in flight.relayed.values()  # what is public stays public
        return not withdrawn and head.number - flight.created < self._lane.settings.private_blocks

    async def _answered(self, sending: Awaitable[Sent]) -> Answer:
        try:
            return classify(await sending)
        except Retry:
            return Answer.MAYBE
