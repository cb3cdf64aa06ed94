"""Intents in, facts out: the only way by which the keeper changes the chain.

Five rules, each with a test that fails without it. The journal is written before a byte leaves. One nonce belongs to
one intent, or to the no-op that cancels it. An answer to a send is a hint; only a canonical receipt and the count of
mined transactions are facts. Every attempt at a nonce is watched until one is final. What is unclear is not signed.

In each turn all questions are asked before anything is written, so a node that fails in between changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from keeper.errors import Broken, Fenced, RiskHalt
from keeper.model import BlockRef, Hash, Reason, Receipt, TxEvent, TxIntent, TxState
from keeper.ports import Fence
from keeper.tx import fees, nonces, rows
from keeper.tx.admission import Admission
from keeper.tx.ahead import Ahead
from keeper.tx.answers import Answer
from keeper.tx.budget import Budget
from keeper.tx.journal import Journal
from keeper.tx.lane import Alone, Lane, Node, Rewards, digits, log, news
from keeper.tx.machine import Event, Refused, step
from keeper.tx.relay import Relay
from keeper.tx.rows import AttemptKind, Flight
from keeper.tx.sender import Sender
from keeper.tx.settings import DAY, Settings
from keeper.tx.signer import Signer
from keeper.tx.switch import Level, Switch

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
HELD_POINTS: Final = ("before_begin", "after_begin")  # of what was signed ahead
PRUNE_EVERY: Final = 6 * 3600  # chain seconds between looks at what is old
HURRY: Final = frozenset({Answer.POOL_LOW, Answer.BASE_LOW})  # bid more at the next block, however young


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
        *,
        fence: Fence | None = None,
        switch: Switch | None = None,
        budget: Budget | None = None,
        relay: Relay | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``budget``: the one that the signer's guard asks; several managers may share it."""
        if (journal.binding.address, journal.binding.chain_id) != (signer.address, signer.chain_id):
            raise Broken(f"the journal {journal.path} and the signer are for different keys or chains")
        budget = budget or Budget(settings.limits)
        self.lane = Lane(
            node, journal, signer, settings, rewards, fault, fence or Alone(), switch or Switch(), budget, relay, wall
        )
        self._admission = Admission(self.lane)
        self._sender = Sender(self.lane)
        self._ahead = Ahead(self.lane, self._admission, self._sender)
        self._hurried: dict[Hash, list[TxEvent]] = {}  # what became of what was sent and is not submitted yet
        self._untold: list[TxEvent] = []  # of a turn that the node cut short
        self._turn = asyncio.Lock()
        self._prune_at = 0  # chain seconds

    # ─── ports.Transactions ───────────────────────────────────────────────────────────────────────

    async def recover(self) -> Sequence[TxEvent]:
        """Where every open intent stands, after looking at the receipts of all its attempts.

        Nothing is sent here: whether to send again or to cancel depends on the time of the chain, which the first
        ``on_block`` brings. Raises RiskHalt when the key was used elsewhere, now or before an earlier exit.
        """
        async with self._turn:
            return await self._recover()

    async def submit(self, intent: TxIntent, head: BlockRef) -> Sequence[TxEvent]:
        """Sign and send, or say why not: the event is then ABANDONED, or what the same id came to before."""
        async with self._turn:
            self._check_ready()
            if (told := self._hurried.pop(intent.id, None)) is not None:
                return told
            self.lane.budget.at(head.timestamp)
            known = self.lane.journal.state_of(intent.id)
            if known is not None:
                return [TxEvent(intent.id, known, why=Reason.INFLIGHT_DUPLICATE)]
            try:
                self._check_term()
                if self._ahead.match(intent, head):
                    return await self._ahead.launch(intent, head)
                return await self._sender.launch(intent, *await self._admission.admit(intent, head), head)
            except Refused as no:
                log.info("tx.refused", intent=digits(intent.id), why=no.why, detail=no.detail[:256])
                return [TxEvent(intent.id, step(TxState.INTENT, Event.REFUSED), why=no.why, detail=no.detail)]

    async def prepare(self, intents: Sequence[TxIntent], head: BlockRef) -> None:
        """Sign what is expected of the next block, and hold it until it is submitted or something else is."""
        async with self._turn:
            if self.lane.term is not None:
                await self._ahead.prepare(intents, head)

    @property
    def ready(self) -> bool:
        return bool(self._ahead)

    async def hurry(self, intents: Sequence[TxIntent], head: BlockRef) -> Sequence[TxIntent]:
        """Whatever stands against it, ``submit`` will say."""
        async with self._turn:
            self.lane.budget.at(head.timestamp)
            left = list[TxIntent]()
            for intent in intents:
                if self._ahead.match(intent, head) and self.lane.journal.state_of(intent.id) is None:
                    with suppress(Refused):
                        self._check_term()
                        self._hurried[intent.id] = await self._ahead.launch(intent, head)
                        left.append(intent)
            return left

    def holds(self, intent: TxIntent, head: BlockRef) -> bool:
        """Whether it is signed."""
        return self._ahead.match(intent, head)

    def hurried(self, intent: TxIntent) -> bool:
        """Whether it was sent, and not submitted yet."""
        return intent.id in self._hurried

    def notice(self, head: BlockRef) -> None:
        """Ask what ``on_block``, and an intent after it, will need to know.

        Not while something is held that may leave at this head: it needs nothing but its logs, and those first.
        """
        if self.lane.term is not None and not self._ahead:
            self.lane.ask(head, anew=True).early()

    async def on_block(self, head: BlockRef) -> Sequence[TxEvent]:
        """Receipts, confirmations, replacements and resends that this block brings, by nonce.

        When the node fails in between, what is known by then is told at the next block.
        """
        async with self._turn:
            self._check_ready()
            events = self._untold
            events += self._unclaimed()
            events += await self._recover() if self._new_term() else []
            lane = self.lane
            lane.budget.at(head.timestamp)
            lane.budget.forget()
            lane.heads.follow(head)
            asked = lane.ask(head)
            mined = await asked.mined()
            self._check_nonces(mined)
            sighted = self._sight(await asked.receipts(lane.unplaced()))
            sighted = [one for one in sighted if not self._rests(*one, head)]
            if any(found is None for _, found in sighted):
                await self._admission.market(head)
            for flight, found in sighted:
                events += self._observe(flight, found) + self._deepen(flight, head)
            for flight, _ in sighted:
                if flight.receipt is None:
                    events += await self._follow(flight, mined, head)
            events += await self._prune(head)
            self._untold = []
            return events

    def _unclaimed(self) -> list[TxEvent]:
        """Of what was sent in a hurry and not submitted then."""
        hurried, self._hurried = self._hurried, {}
        return [event for told in hurried.values() for event in told]

    async def _prune(self, head: BlockRef) -> list[TxEvent]:
        """A little of what is old, as long as there is some, and nothing waits to be mined; then what is kept for other
        hosts. Who has no term now and then learns what the others signed, so that it need not be kept for him."""
        lane, leads = self.lane, self.lane.leads()
        self._prune_at = self._prune_at or head.timestamp + (0 if leads else PRUNE_EVERY)
        if head.timestamp < self._prune_at or (leads and any(lane.unmined())):
            return []
        count = lane.journal.prune(head.timestamp - lane.settings.keep, lane.fault)
        self._prune_at = head.timestamp + (0 if count else PRUNE_EVERY)
        if count:
            return []
        try:
            events = [] if leads else await self._recover()
        except Fenced:  # the store does not answer; another time
            return []
        await lane.fence.forget(lane.term, lane.journal.archived)
        return events

    # ─── recovery, and terms ──────────────────────────────────────────────────────────────────────

    async def _recover(self) -> list[TxEvent]:
        lane, journal = self.lane, self.lane.journal
        self._check_halt()
        epoch = lane.fence.epoch
        taken = journal.take_over([rows.of_line(line) for line in await lane.fence.lines()])
        if taken:
            log.info("tx.taken_over", attempts=taken)
        if (held := journal.take_up()) is not None:
            log.info("tx.taken_up", intent=digits(held.intent.id), nonce=held.nonce)
        mined = await lane.node.nonce(lane.signer.address)
        known = journal.next_nonce()
        self._check_nonces(mined)
        if known is None and mined and not lane.settings.adopt:
            raise RiskHalt(
                f"the journal {journal.path} is new, but this key has sent {mined} transactions",
                help="if its journal was lost: wait until none of them is pending, start once with tx.adopt = true",
            )
        lane.flights = {flight.nonce: flight for flight in journal.flights()}
        hashes = lane.unplaced()
        sighted = self._sight(dict(zip(hashes, await lane.node.receipts(hashes) if hashes else (), strict=True)))
        if known is None:
            journal.adopt(mined)
            log.info("tx.adopted", nonce=mined)
        lane.budget.load(lane.signer.address, journal.since(self._day_ago(), int(lane.wall()) - DAY))
        lane.term = epoch
        events = [event for flight, found in sighted for event in self._observe(flight, found) or [news(flight)]]
        journal.settle()
        return events

    def _day_ago(self) -> int:
        """Chain seconds: a day before the newest thing in the journal, which nothing that counts can be older than."""
        [(latest,)] = self.lane.journal.ask("SELECT coalesce(max(at), 0) FROM plan")
        return int(latest) - DAY

    def _new_term(self) -> bool:
        """Whether the key is ours again, after another host may have used it."""
        return self.lane.leads() and self.lane.fence.epoch != self.lane.term

    def _check_term(self) -> None:
        """Raises Refused between the terms of other hosts, and until the next block has brought us up to date."""
        if self.lane.fence.epoch != self.lane.term or self.lane.level() is not Level.RUN:
            position = self.lane.switch.read()
            raise Refused(Reason.PAUSED, position.reason or position.level.name.lower())

    def _check_nonces(self, mined: int) -> None:
        """Raises RiskHalt when the chain is ahead of the journal; that is no wonder while another host has the key."""
        if self.lane.fence.epoch == 0 or self.lane.level() is not Level.HALT:
            nonces.next_nonce(self.lane.journal.next_nonce(), mined)

    # ─── following ────────────────────────────────────────────────────────────────────────────────

    def _sight(self, told: Mapping[Hash, Receipt | None]) -> list[tuple[Flight, Receipt | None]]:
        """Every flight with the receipt of any of its attempts.

        Left out until a later block: flights whose receipt the node places where our chain has another block, or none.
        """
        sighted = list[tuple[Flight, Receipt | None]]()
        for flight in self.lane.flights.values():
            held = [flight.receipt] if self.lane.placed(flight) else [told[a.hash] for a in flight.attempts]
            receipts = [receipt for receipt in held if receipt is not None]
            if all(self.lane.heads.agree(receipt.block) for receipt in receipts):
                sighted.append((flight, receipts[0] if receipts else None))
        return sighted

    def _rests(self, flight: Flight, found: Receipt | None, head: BlockRef) -> bool:
        """Whether it only waits to be final, and nothing has happened to it."""
        if found is None or found is not flight.receipt or flight.state not in (TxState.CONFIRMED, TxState.CANCELLED):
            return False
        return head.number - found.block.number + 1 < self.lane.settings.finality

    async def _follow(self, flight: Flight, mined: int, head: BlockRef) -> list[TxEvent]:
        """What has no receipt."""
        if flight.nonce < mined:
            return self._suspect(flight, head)
        flight.missing_since = None
        if flight.created == head.number and flight.answer is not None:
            return []  # it left at this very head
        level = self.lane.level()  # a lower nonce may have halted the key in this very turn
        return [] if level is Level.HALT else await self._tend(flight, level, head)

    def _observe(self, flight: Flight, found: Receipt | None) -> list[TxEvent]:
        """What a receipt, or its absence, changes."""
        events = []
        if flight.state is TxState.SIGNED:  # this turn, or an earlier process, was cut short after the commit
            events += self.lane.step(flight, Event.SENT)
        if _place(found) == _place(flight.receipt):
            return events
        if flight.receipt is not None:
            flight.receipt = flight.waits_since = None
            events += self.lane.step(flight, Event.UNMINED, Reason.REORGED)
        if found is not None:
            flight.receipt, flight.missing_since = found, None
            acted = flight.mined is not None and flight.mined.kind is AttemptKind.ACT
            events += self.lane.step(flight, Event.MINED if acted else Event.NOOP_MINED)
        return events

    def _deepen(self, flight: Flight, head: BlockRef) -> list[TxEvent]:
        """Confirmation and finality."""
        if flight.receipt is None:
            return []
        events = []
        depth = head.number - flight.receipt.block.number + 1
        if depth >= self.lane.settings.confirmations and flight.state is TxState.INCLUDED:
            events += self.lane.step(flight, Event.CONFIRMED)
        if depth >= self.lane.settings.confirmations and flight.state is TxState.BROADCAST:
            events += self.lane.step(flight, Event.CANCELLED, _unfit(flight, flight.receipt.block))
        if depth >= self.lane.settings.finality:
            events += self.lane.step(flight, Event.FINAL, settled=True)
        return events

    def _suspect(self, flight: Flight, head: BlockRef) -> list[TxEvent]:
        """The nonce is used and no receipt is ours. A node may lag for a block; a thief does not go away.

        Nothing is concluded while another host may use the key: its attempts we only learn with our next term.
        """
        if flight.missing_since is None:
            flight.missing_since = head.number
        waited = head.number - flight.missing_since
        if waited < self.lane.settings.confirmations or not self.lane.leads():
            return []
        self.lane.journal.halt(f"nonce {flight.nonce} was used by a transaction that is not in the journal")
        return self.lane.step(flight, Event.FOREIGN, Reason.REPLACED, settled=True)

    async def _tend(self, flight: Flight, level: Level, head: BlockRef) -> list[TxEvent]:
        """Keep an unmined nonce moving: cancel what is stale, bid more for the lowest, send the rest again."""
        late = head.timestamp > flight.intent.valid_until
        stale = late or level is Level.DRAIN or flight.answer is Answer.DEFINITE
        if stale and flight.last.kind is AttemptKind.ACT:
            return await self._replace(flight, AttemptKind.NOOP, head)
        if await self._let_down(flight, head):
            return await self._replace(flight, AttemptKind.NOOP, head)
        if flight.waits_since is None:  # after a restart or a reorg the old bytes get their chance first
            flight.waits_since = head.number
        if self._due(flight, head) and not flight.contested:
            kind = flight.last.kind if await self._admission.still_good(flight, head) else AttemptKind.NOOP
            replaced = await self._replace(flight, kind, head)
            if replaced:
                return replaced
        await self._sender.send(flight, head)
        return []

    async def _let_down(self, flight: Flight, head: BlockRef) -> bool:
        """Whether it relied on calls that did not come as they were seen, and would revert now."""
        early = flight.intent.behind and flight.last.kind is AttemptKind.ACT and head.number > flight.created
        return bool(early) and not flight.contested and not await self._admission.still_good(flight, head)

    def _due(self, flight: Flight, head: BlockRef) -> bool:
        """Whether it should bid more: only the lowest, for the others wait for it."""
        age = head.number - (flight.waits_since or 0)
        hurry = flight.answer in HURRY or (flight.answer is Answer.REPLACE_LOW and not flight.escalated)
        return flight is next(self.lane.unmined()) and (age >= self.lane.settings.bump_after or (age > 0 and hurry))

    async def _replace(self, flight: Flight, kind: AttemptKind, head: BlockRef) -> list[TxEvent]:
        """By the rule that all pools know; once by the stricter one, when a pool refuses a bid of the first."""
        policy, intent, market = self.lane.settings.fees, flight.intent, await self._admission.market(head)
        act = policy.bounded(policy.ceiling(intent.budget, intent.gas_limit), market)
        ceiling = act if kind is AttemptKind.ACT else policy.noop_ceiling
        flight.escalated = flight.answer is Answer.REPLACE_LOW and not flight.contested
        raised = fees.escalate if flight.escalated else fees.bump
        bid = raised(flight.last.fees, market, ceiling, head.next_base_fee)
        why = _unfit(flight, head) if kind is AttemptKind.NOOP else None
        return await self._sender.replace(flight, kind, bid, head, why)

    # ─── below ────────────────────────────────────────────────────────────────────────────────────

    def _check_ready(self) -> None:
        if self.lane.term is None:
            raise Broken("transactions were used before they were recovered")
        self._check_halt()

    def _check_halt(self) -> None:
        if self.lane.journal.halted():
            raise RiskHalt(
                f"this key is halted: {self.lane.journal.halted()}",
                help="assume that the key is stolen until you know who sent that transaction",
            )


def _unfit(flight: Flight, at: BlockRef) -> Reason:
    """Why it is cancelled: too late, or refused by the node for good."""
    return Reason.EXPIRED if at.timestamp > flight.intent.valid_until else Reason.NOT_INCLUDED


def _place(receipt: Receipt | None) -> tuple[bytes, bytes] | None:
    return None if receipt is None else (receipt.tx_hash, receipt.block.hash)
