"""Intents in, facts out: the only way by which the keeper changes the chain.

Five rules, each with a test that fails without it. The journal is written before a byte leaves. One nonce belongs to
one intent, or to the no-op that cancels it. An answer to a send is a hint; only a canonical receipt and the count of
mined transactions are facts. Every attempt at a nonce is watched until one is final. What is unclear is not signed.

In each turn all questions are asked before anything is written, so a node that fails in between changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final, Protocol

import structlog

from keeper.errors import Broken, Replan, Retry, RiskHalt
from keeper.model import BlockRef, Call, Reason, Receipt, TxEvent, TxIntent, TxState
from keeper.ports import Executor, Simulation, StateReader
from keeper.tx import fees, nonces
from keeper.tx.answers import Answer, classify
from keeper.tx.fees import Fees
from keeper.tx.heads import Heads
from keeper.tx.journal import Journal
from keeper.tx.machine import Event, step
from keeper.tx.rows import Attempt, AttemptKind, Flight
from keeper.tx.settings import Settings
from keeper.tx.signer import Signer

log = structlog.get_logger()

Rewards = Callable[[BlockRef], Awaitable[Sequence[int]]]  # tips (wei per gas) paid up to a block, one per block

# Where a test may kill the process: each side of every step that another step relies on.
FAULT_POINTS: Final = (
    "before_sign",
    "before_commit",
    "after_commit",
    "before_send",
    "after_send",
    "before_record",
    "after_record",
)
HURRY: Final = frozenset({Answer.POOL_LOW, Answer.BASE_LOW})  # bid more at the next block, however young
HOLD: Final = {  # no new intent while an open one has this answer
    Answer.FUNDS: Reason.INVENTORY_SHORT,
    Answer.LIMIT: Reason.RISK_TX_LIMIT,
}


class Node(StateReader, Executor, Protocol):
    """What the manager needs of a node."""


class Refused(Replan):
    """An intent that gets no nonce."""

    def __init__(self, why: Reason, detail: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.detail = detail


async def no_rewards(head: BlockRef) -> Sequence[int]:
    return ()


class Manager:
    """Implements ``ports.Transactions`` for one key on one chain. All methods take turns."""

    def __init__(
        self,
        node: Node,
        journal: Journal,
        signer: Signer,
        settings: Settings,
        rewards: Rewards = no_rewards,
        fault: Callable[[str], None] = lambda point: None,
    ) -> None:
        if (journal.binding.address, journal.binding.chain_id) != (signer.address, signer.chain_id):
            raise Broken(f"the journal {journal.path} and the signer are for different keys or chains")
        self._node = node
        self._journal = journal
        self._signer = signer
        self._settings = settings
        self._rewards = rewards
        self._fault = fault
        self._turn = asyncio.Lock()
        self._heads = Heads()
        self._flights: dict[int, Flight] = {}  # by nonce, ascending
        self._quoted: tuple[BlockRef, Fees] | None = None
        self._recovered = False

    # ─── ports.Transactions ───────────────────────────────────────────────────────────────────────

    async def recover(self) -> Sequence[TxEvent]:
        """Where every open intent stands, after looking at the receipts of all its attempts.

        Nothing is sent here: whether to send again or to cancel depends on the time of the chain, which the first
        ``on_block`` brings. Raises RiskHalt when the key was used elsewhere, now or before an earlier exit.
        """
        async with self._turn:
            self._check_halt()
            mined = await self._node.nonce(self._signer.address)
            held = self._journal.next_nonce()
            nonces.next_nonce(held, mined)
            self._flights = {flight.nonce: flight for flight in self._journal.flights()}
            sighted = await self._sight()
            if held is None:
                self._journal.adopt(mined)
                log.info("tx.adopted", nonce=mined)
            self._recovered = True
            return [event for flight, found in sighted for event in self._observe(flight, found) or [_news(flight)]]

    async def submit(self, intent: TxIntent, head: BlockRef) -> Sequence[TxEvent]:
        """Sign and send, or say why not: the event is then ABANDONED, or what the same id came to before."""
        async with self._turn:
            self._check_ready()
            known = self._journal.state_of(intent.id)
            if known is not None:
                return [TxEvent(intent.id, known, why=Reason.INFLIGHT_DUPLICATE)]
            try:
                nonce, bid = await self._prepare(intent, head)
            except Refused as no:
                log.info("tx.refused", intent=_hex(intent.id), why=no.why, detail=no.detail[:256])
                return [TxEvent(intent.id, step(TxState.INTENT, Event.REFUSED), why=no.why, detail=no.detail)]
            return await self._launch(intent, nonce, bid, head)

    async def on_block(self, head: BlockRef) -> Sequence[TxEvent]:
        """Receipts, confirmations, replacements and resends that this block brings, by nonce."""
        async with self._turn:
            self._check_ready()
            self._heads.follow(head)
            mined = await self._node.nonce(self._signer.address)  # before the receipts: they may only be newer
            nonces.next_nonce(self._journal.next_nonce(), mined)
            sighted = await self._sight()
            if any(found is None for _, found in sighted):
                await self._market(head)
            return [event for seen in sighted for event in await self._follow(*seen, mined, head)]

    # ─── before the nonce ─────────────────────────────────────────────────────────────────────────

    async def _prepare(self, intent: TxIntent, head: BlockRef) -> tuple[int, Fees]:
        """Nonce and first bid of an intent that may go; raises Refused."""
        self._check_room(intent, head)
        address = self._signer.address
        market, simulated, balance, mined = await asyncio.gather(
            self._market(head), self._simulate(intent, head), self._node.balance(address), self._node.nonce(address)
        )
        ceiling = self._settings.fees.ceiling(intent.budget, intent.gas_limit)
        bid = fees.bid(market, head.next_base_fee, ceiling)
        if bid is None:
            raise Refused(Reason.GAS_ABOVE_CAP, f"at most {ceiling} wei per gas")
        if simulated is not None and not simulated.ok:
            raise Refused(Reason.SIM_REVERTED, _hex(simulated.data))
        worst = intent.gas_limit * bid.max_fee + intent.call.value
        if balance < worst + sum(flight.worst_cost for flight in self._unmined()):
            raise Refused(Reason.INVENTORY_SHORT, f"balance {balance} wei")
        return self._next_nonce(mined), bid

    def _check_room(self, intent: TxIntent, head: BlockRef) -> None:
        unmined = list(self._unmined())
        if head.timestamp > intent.valid_until:
            raise Refused(Reason.EXPIRED)
        if len(unmined) >= self._settings.max_in_flight:
            raise Refused(Reason.RISK_TX_LIMIT, f"{len(unmined)} in flight")
        for flight in unmined:
            unsent = flight.answer is None  # by this process; the next block sends it again, or cancels it
            if unsent or flight.contested or flight.missing_since is not None:
                raise Refused(Reason.NONCE_GAP, f"nonce {flight.nonce} is unclear")
            if flight.answer in HOLD:
                raise Refused(HOLD[flight.answer], f"nonce {flight.nonce}: {flight.answer}")

    async def _simulate(self, intent: TxIntent, head: BlockRef) -> Simulation | None:
        if not self._settings.simulate:
            return None
        state = None if intent.at is None else head.hash
        return await self._node.call(intent.call, self._signer.address, state, at=intent.at)

    def _next_nonce(self, mined: int) -> int:
        held = self._journal.next_nonce()
        nonce = nonces.next_nonce(held, mined)
        if nonces.behind(nonce, mined, self._flights):
            raise Refused(Reason.RPC_DEGRADED, f"the node has {mined} of {nonce} transactions")
        return nonce

    async def _market(self, head: BlockRef) -> Fees:
        """Today's bid, asked for once per block."""
        if self._quoted is None or self._quoted[0] != head:
            self._quoted = head, fees.market(head, await self._rewards(head), self._settings.fees)
        return self._quoted[1]

    # ─── signing and sending ──────────────────────────────────────────────────────────────────────

    async def _launch(self, intent: TxIntent, nonce: int, bid: Fees, head: BlockRef) -> list[TxEvent]:
        """The critical section: sign, commit, send, record."""
        flight = Flight(intent, nonce, head.number, step(TxState.INTENT, Event.SIMULATED), waits_since=head.number)
        flight.attempts.append(self._sign(flight, AttemptKind.ACT, bid, head))
        flight.state = step(flight.state, Event.COMMITTED)
        self._fault("before_commit")
        self._journal.begin(flight)
        self._fault("after_commit")
        self._flights[nonce] = flight
        _say(Event.COMMITTED, flight)
        signed = _news(flight)
        await self._send(flight)
        return [signed, *self._step(flight, Event.SENT)]

    async def _replace(self, flight: Flight, kind: AttemptKind, head: BlockRef) -> list[TxEvent]:
        """A dearer attempt at the same nonce; nothing when the ceiling is reached."""
        policy, intent = self._settings.fees, flight.intent
        ceiling = policy.noop_ceiling if kind is AttemptKind.NOOP else policy.ceiling(intent.budget, intent.gas_limit)
        bid = fees.bump(flight.last.fees, await self._market(head), ceiling)
        if bid is None:
            log.warning("tx.stuck", intent=_hex(intent.id), nonce=flight.nonce, max_fee=flight.last.fees.max_fee)
            return []
        attempt = self._sign(flight, kind, bid, head)
        self._fault("before_commit")
        self._journal.replace(flight, attempt)
        self._fault("after_commit")
        flight.attempts.append(attempt)
        flight.waits_since = head.number
        flight.state = step(flight.state, Event.REPLACED)
        _say(Event.REPLACED, flight)
        await self._send(flight)
        return [_news(flight, _unfit(flight, head) if kind is AttemptKind.NOOP else None)]

    def _sign(self, flight: Flight, kind: AttemptKind, bid: Fees, head: BlockRef) -> Attempt:
        act = kind is AttemptKind.ACT
        call = flight.intent.call if act else Call(self._signer.address, b"")
        gas = flight.intent.gas_limit if act else fees.NOOP_GAS
        self._fault("before_sign")
        self._journal.check()
        raw, hash = self._signer.sign(flight.nonce, call, gas, bid.max_fee, bid.tip, self._signer.chain_id)
        return Attempt(hash, flight.intent.id, flight.nonce, kind, raw, gas, bid, head.number)

    async def _send(self, flight: Flight) -> None:
        """Send the last attempt. Whatever comes back, from now on it may be out there."""
        self._fault("before_send")
        try:
            flight.answer = classify(await self._node.send(flight.last.raw))
        except Retry:
            flight.answer = Answer.MAYBE
        self._fault("after_send")
        level = log.error if flight.contested or flight.answer is Answer.DEFINITE else log.debug
        level("tx.answer", intent=_hex(flight.intent.id), hash=_hex(flight.last.hash), answer=flight.answer)

    # ─── following ────────────────────────────────────────────────────────────────────────────────

    async def _sight(self) -> list[tuple[Flight, Receipt | None]]:
        """Every flight with the receipt of any of its attempts.

        Left out until a later block: flights whose receipt the node places where our chain has another block, or none.
        """
        flights = list(self._flights.values())
        found = await asyncio.gather(*(self._receipts(flight) for flight in flights))
        return [
            (flight, receipts[0] if receipts else None)
            for flight, receipts in zip(flights, found, strict=True)
            if all(self._heads.agree(receipt.block) for receipt in receipts)
        ]

    async def _receipts(self, flight: Flight) -> list[Receipt]:
        if flight.receipt is not None and self._heads.holds(flight.receipt.block):
            return [flight.receipt]
        found = await asyncio.gather(*(self._node.receipt(attempt.hash) for attempt in flight.attempts))
        return [receipt for receipt in found if receipt is not None]

    async def _follow(self, flight: Flight, found: Receipt | None, mined: int, head: BlockRef) -> list[TxEvent]:
        events = self._observe(flight, found) + self._deepen(flight, head)
        if flight.receipt is not None:
            return events
        if flight.nonce < mined:
            return events + self._suspect(flight, head)
        flight.missing_since = None
        if self._journal.halted():  # by a lower nonce, in this very turn
            return events
        return events + await self._tend(flight, head)

    def _observe(self, flight: Flight, found: Receipt | None) -> list[TxEvent]:
        """What a receipt, or its absence, changes."""
        events = []
        if flight.state is TxState.SIGNED:  # this turn, or an earlier process, was cut short after the commit
            events += self._step(flight, Event.SENT)
        if _place(found) == _place(flight.receipt):
            return events
        if flight.receipt is not None:
            flight.receipt = flight.waits_since = None
            events += self._step(flight, Event.UNMINED, Reason.REORGED)
        if found is not None:
            flight.receipt, flight.missing_since = found, None
            acted = flight.mined is not None and flight.mined.kind is AttemptKind.ACT
            events += self._step(flight, Event.MINED if acted else Event.NOOP_MINED)
        return events

    def _deepen(self, flight: Flight, head: BlockRef) -> list[TxEvent]:
        """Confirmation and finality."""
        if flight.receipt is None:
            return []
        events = []
        depth = head.number - flight.receipt.block.number + 1
        if depth >= self._settings.confirmations and flight.state is TxState.INCLUDED:
            events += self._step(flight, Event.CONFIRMED)
        if depth >= self._settings.confirmations and flight.state is TxState.BROADCAST:
            events += self._step(flight, Event.CANCELLED, _unfit(flight, flight.receipt.block))
        if depth >= self._settings.finality:
            events += self._step(flight, Event.FINAL, settled=True)
        return events

    def _suspect(self, flight: Flight, head: BlockRef) -> list[TxEvent]:
        """The nonce is used and no receipt is ours. A node may lag for a block; a thief does not go away."""
        if flight.missing_since is None:
            flight.missing_since = head.number
        if head.number - flight.missing_since < self._settings.confirmations:
            return []
        self._journal.halt(f"nonce {flight.nonce} was used by a transaction that is not in the journal")
        return self._step(flight, Event.FOREIGN, Reason.REPLACED, settled=True)

    async def _tend(self, flight: Flight, head: BlockRef) -> list[TxEvent]:
        """Keep an unmined nonce moving: cancel what is stale, bid more for the lowest, send the rest again."""
        stale = head.timestamp > flight.intent.valid_until or flight.answer is Answer.DEFINITE
        if stale and flight.last.kind is AttemptKind.ACT:
            return await self._replace(flight, AttemptKind.NOOP, head)
        if flight.waits_since is None:  # after a restart or a reorg the old bytes get their chance first
            flight.waits_since = head.number
        age = head.number - flight.waits_since
        due = age >= self._settings.bump_after or (age > 0 and flight.answer in HURRY)
        lowest = flight is next(self._unmined())
        if due and lowest and not flight.contested:
            replaced = await self._replace(flight, flight.last.kind, head)
            if replaced:
                return replaced
        await self._send(flight)
        return []

    # ─── below ────────────────────────────────────────────────────────────────────────────────────

    def _step(self, flight: Flight, event: Event, why: Reason | None = None, *, settled: bool = False) -> list[TxEvent]:
        """Take a step, durably; news only if the state changed."""
        before, flight.state = flight.state, step(flight.state, event)
        self._fault("before_record")
        self._journal.advance(flight, event, self._heads.top, settled=settled)
        self._fault("after_record")
        if settled:
            del self._flights[flight.nonce]
        _say(event, flight)
        return [] if flight.state is before else [_news(flight, why)]

    def _unmined(self) -> Iterator[Flight]:
        return (flight for flight in self._flights.values() if flight.receipt is None)

    def _check_ready(self) -> None:
        if not self._recovered:
            raise Broken("transactions were used before they were recovered")
        self._check_halt()

    def _check_halt(self) -> None:
        if self._journal.halted():
            raise RiskHalt(
                f"this key is halted: {self._journal.halted()}",
                help="assume that the key is stolen until you know who sent that transaction",
            )


def _news(flight: Flight, why: Reason | None = None) -> TxEvent:
    shown = flight.mined or flight.last
    return TxEvent(flight.intent.id, flight.state, flight.receipt, why, _hex(shown.hash))


def _say(event: Event, flight: Flight) -> None:
    shown = flight.mined or flight.last
    log.info(
        f"tx.{event}",
        intent=_hex(flight.intent.id),
        hash=_hex(shown.hash),
        nonce=flight.nonce,
        kind=shown.kind,
        max_fee=shown.fees.max_fee,
        tip=shown.fees.tip,
        answer=flight.answer,
    )


def _unfit(flight: Flight, at: BlockRef) -> Reason:
    """Why it is cancelled: too late, or refused by the node for good."""
    return Reason.EXPIRED if at.timestamp > flight.intent.valid_until else Reason.NOT_INCLUDED


def _place(receipt: Receipt | None) -> tuple[bytes, bytes] | None:
    return None if receipt is None else (receipt.tx_hash, receipt.block.hash)


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
