"""The loop body: events in, effects out. Synchronous, deterministic, without I/O, clock or randomness.

    absorb(BlockBatch | Rollback | Gap)   the books follow the chain
    absorb(Pending)                       what may be mined next
    absorb(TxEvent)                       what became of our transactions
    decide()                              screen, confirm, value, decide, plan

The shell calls them in that order for every block; what it must do comes back as effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from keeper.core import health, planner, scanner
from keeper.core.attempts import Attempt, Attempts
from keeper.core.book import DEPTH, Book
from keeper.core.foreseen import Foreseen
from keeper.core.ledger import Ledger
from keeper.core.planner import Limits
from keeper.core.rivals import Rivals
from keeper.errors import AdapterFault, Broken
from keeper.model import (
    Address,
    Bid,
    BlockBatch,
    BlockRef,
    Call,
    ChainEvent,
    Decision,
    Effect,
    Fact,
    Gap,
    HealthReport,
    Interests,
    Liquidate,
    Moment,
    Opportunity,
    Outcome,
    Pending,
    Reading,
    Reason,
    Record,
    Rollback,
    Send,
    Skip,
    TxEvent,
    TxIntent,
    TxState,
    Wait,
)
from keeper.ports import Adapter, Audited, Strategy, View

Plan = tuple[Decision, TxIntent | None]
RETRY: Final = 20  # blocks after which a protocol whose adapter failed is tried again
AUDITED: Final = 32  # accounts that are read again at each head
TO_A_CALL: Final = 500  # accounts, when all are
FAULTS: Final = (AdapterFault, ArithmeticError, LookupError, TypeError, ValueError)


@dataclass
class Desk:
    """One protocol with its book and the strategies that may act on it."""

    adapter: Adapter
    book: Book
    strategies: Sequence[Strategy]
    paused: str = ""  # why, when the adapter has failed
    resumes: int = 0  # block from which a paused one is tried again
    shown: dict[bytes, tuple[str, str]] = field(default_factory=dict)  # what is on offer -> last decision logged
    unhealthy: dict[int, HealthReport] = field(default_factory=dict)

    def holdings(self) -> dict[str, int]:
        return {f"{self.adapter.name} {place}": h.amount for place, h in self.adapter.holdings(self.book).items()}


class Kernel:
    def __init__(
        self,
        desks: Sequence[tuple[Adapter, Sequence[Strategy]]],
        genesis: BlockRef,
        block_time: int,
        wrap: Callable[[tuple[Call, ...], int], Call],
        limits: Limits,
    ) -> None:
        """``genesis`` is the block before the first batch; ``wrap`` makes one call of several, with a deadline."""
        self.desks = [Desk(adapter, Book(adapter, genesis), strategies) for adapter, strategies in desks]
        self.ref = genesis
        self.ledger = Ledger()
        self._attempts = Attempts()
        self._rivals = Rivals(block_time)
        self._foreseen = Foreseen()
        self._block_time, self._wrap, self._limits = block_time, wrap, limits
        self._facts: dict[bytes, tuple[int, list[tuple[Desk, Fact]]]] = {}  # transaction -> block, facts

    @property
    def inflight(self) -> Mapping[bytes, Attempt]:
        """What was handed to the transaction manager and may still be mined: intent -> attempt."""
        return self._attempts.inflight

    # ── following ──

    def interests(self) -> list[Interests]:
        """What the source must fetch for the next block."""
        return [desk.book.interests for desk in self.desks]

    @property
    def awaited(self) -> frozenset[Address]:
        """Contracts whose calls are worth knowing before they are mined."""
        return frozenset(target for desk in self.desks for target in desk.book.interests.pending)

    def absorb(self, event: ChainEvent | TxEvent) -> list[Effect]:
        match event:
            case BlockBatch():
                return list(self._block(event))
            case Rollback(to):
                return list(self._rollback(to))
            case Gap(first, last):
                return [Record(self.ref.number, "block.gap", {"first": first, "last": last})]
            case Pending():
                return list(self._foreseen.add(event, self.ref.number))
            case TxEvent():
                return list(self._transaction(event))

    def _block(self, batch: BlockBatch) -> Iterator[Effect]:
        seen = list[tuple[str, Fact]]()
        for desk in self.desks:
            before = desk.holdings()
            try:
                facts = desk.book.apply(batch)
            except FAULTS as error:
                raise Broken(f"{desk.adapter.name} cannot read block {batch.ref.number}: {error}") from error
            seen += ((desk.adapter.name, fact) for fact in facts)
            for fact in facts:
                self._facts.setdefault(fact.tx_hash, (batch.ref.number, []))[1].append((desk, fact))
                yield Record(batch.ref.number, "chain.fact", _fact(desk, fact))
            self.ledger.change(batch.ref.number, before, desk.holdings(), "event")
        self.ref = batch.ref
        self._rivals.block(batch.ref.number, seen, {desk.adapter.desk for desk in self.desks if desk.adapter.desk})
        self._foreseen.forget(self.ref.number)
        self._attempts.forget(self.ref.number, self.ref.number - DEPTH)
        for tx in [tx for tx, (number, _) in self._facts.items() if number < self.ref.number - DEPTH]:
            del self._facts[tx]

    def _rollback(self, to: BlockRef) -> Iterator[Effect]:
        for desk in self.desks:
            desk.book.rollback(to)
        self.ledger.rollback(to.number)
        self._facts = {tx: seen for tx, seen in self._facts.items() if seen[0] <= to.number}
        self._attempts.rollback(to.number)
        self._rivals.rollback(to.number)
        self.ref = to
        yield Record(to.number, "block.rolled_back", {"hash": to.hash})

    # ── our transactions ──

    def open(self, coin: int) -> None:
        """The signer's coin (wei) when we begin; everything else the books have from their first block."""
        self.ledger.add(self.ref.number, "signer coin", coin, "opening")

    def _transaction(self, event: TxEvent) -> Iterator[Effect]:
        yield Record(self.ref.number, f"tx.{event.state}", self._told(event))
        if event.receipt is not None and event.state in (TxState.CONFIRMED, TxState.CANCELLED):
            self.ledger.add(event.receipt.block.number, "signer coin", -event.receipt.fee, "gas")
        ended = self._attempts.hear(event, self.ref.number)
        if ended is not None:
            yield self._outcome(ended, event)

    def _outcome(self, attempt: Attempt, event: TxEvent) -> Outcome:
        o, receipt = attempt.opportunity, event.receipt
        won = event.state is TxState.CONFIRMED and receipt is not None and receipt.ok
        facts = self._facts.get(receipt.tx_hash, (0, []))[1] if receipt else []
        mine = [fact for desk, fact in facts if desk.adapter.name == o.protocol]
        brought = self._desk(o.protocol).adapter.realised(o, mine)
        why = None if won else self._why_lost(attempt, event)
        self._rivals.ended(o, won, why)
        fee, ended = (receipt.fee, receipt.block.number) if receipt else (0, self.ref.number)
        return Outcome(
            o.id, o.protocol, o.key, o.kind, won, why, brought.gain, brought.hedge, fee, attempt.decided, ended
        )

    def _why_lost(self, attempt: Attempt, event: TxEvent) -> Reason:
        """What others did to the same account since we decided tells why we came too late."""
        if event.state is not TxState.CONFIRMED:
            return event.why or Reason.NOT_INCLUDED
        o = attempt.opportunity
        since = (seen for number, seen in self._facts.values() if number > attempt.decided)
        facts = (fact for seen in since for desk, fact in seen if desk.adapter.name == o.protocol)
        names = {fact.name for fact in facts if fact.key == o.key}
        if "sold" in names or "liquidated" in names:
            return Reason.OUTBID
        return Reason.LOST_RACE if "flagged" in names else Reason.REVERTED_STATE_CHANGED

    def _told(self, event: TxEvent) -> Mapping[str, object]:
        attempt, fields = self._attempts.get(event.intent), dict[str, object](intent=event.intent)
        if attempt is not None:
            fields["purpose"] = _name(attempt.opportunity)
        if event.receipt is not None:
            fields |= {"tx": event.receipt.tx_hash, "ok": event.receipt.ok, "gas_used": event.receipt.gas_used}
        if event.why is not None:
            fields["why"] = event.why
        if event.why is Reason.SIM_REVERTED and attempt is not None:
            adapter = self._desk(attempt.opportunity.protocol).adapter
            fields["revert"] = adapter.explain(bytes.fromhex(event.detail.removeprefix("0x")))
        return fields

    def _desk(self, protocol: str) -> Desk:
        return next(desk for desk in self.desks if desk.adapter.name == protocol)

    def warming(self) -> list[Callable[[], str]]:
        """What is worth compiling before a block waits for it."""
        found = [desk.book.columns.warming() for desk in self.desks]
        return [work for work in found if work is not None]

    # ── is the book right? ──

    def audit(self) -> list[Reading]:
        """A rolling sample of the accounts of each protocol that can be read again, at the last block."""
        found = list[Reading]()
        for desk in self.desks:
            keys = desk.book.columns.rolling(self.ref.number, AUDITED)
            if keys and isinstance(desk.adapter, Audited):
                found.append(desk.adapter.reading(keys))
        return found

    def rereads(self, protocol: str) -> Iterator[Reading]:
        """All accounts of one protocol."""
        desk = self._desk(protocol)
        if isinstance(desk.adapter, Audited):
            keys = [key for kind in desk.book.columns.kinds for key in desk.book.keys(kind)]
            yield from (desk.adapter.reading(keys[at : at + TO_A_CALL]) for at in range(0, len(keys), TO_A_CALL))

    def amend(self, reading: Reading, answer: bytes) -> list[Effect]:
        """What the chain says of them is right; nothing where the book says the same."""
        desk = self._desk(reading.protocol)
        wrong = list(desk.adapter.reread(desk.book, reading, answer)) if isinstance(desk.adapter, Audited) else []
        if not wrong:
            return []
        before = desk.holdings()
        desk.book.amend(wrong)
        self.ledger.change(self.ref.number, before, desk.holdings(), "audit")
        accounts = " ".join(f"0x{change.key.id:x}" for change in wrong)
        return [Record(self.ref.number, "book.diverged", {"protocol": reading.protocol, "accounts": accounts})]

    # ── deciding ──

    def moment(self) -> Moment:
        """When a transaction sent now is expected to execute."""
        return Moment(self.ref.number + 1, self.ref.timestamp + self._block_time, self.ref.next_base_fee)

    def decide(self) -> list[Effect]:
        """All that should be done now; to be called at the head of the chain only."""
        effects = list[Effect]()
        for desk in self.desks:
            if desk.paused and self.ref.number < desk.resumes:
                continue
            try:
                thought = self._think(desk, self.moment())
                early = self._think_ahead(desk, self.moment(), *thought)
            except FAULTS as error:
                effects += self._pause(desk, f"{type(error).__name__}: {error}")
            else:
                effects += self._resume(desk)
                effects += self._speak(desk, *thought)
                effects += self._act(early)
        return effects

    def _pause(self, desk: Desk, why: str) -> Iterator[Effect]:
        """Nothing of what it wanted this time is done; it is tried again after a while."""
        if why != desk.paused:
            yield Record(self.ref.number, "protocol.paused", {"protocol": desk.adapter.name, "why": why})
        desk.paused, desk.resumes = why, self.ref.number + RETRY

    def _resume(self, desk: Desk) -> Iterator[Effect]:
        if desk.paused:
            yield Record(self.ref.number, "protocol.resumed", {"protocol": desk.adapter.name})
        desk.paused = ""

    def _think(self, desk: Desk, at: Moment) -> tuple[list[HealthReport], list[Plan]]:
        """Everything that may fail. Nothing has happened yet when it does."""
        busy = [attempt.opportunity for attempt in self.inflight.values()]
        reports = health.condemned(desk.adapter, desk.book, at)
        return reports, self._plans(desk, desk.book, desk.adapter.opportunities(desk.book, reports, at), at, busy)

    def _plans(
        self, desk: Desk, view: View, found: Iterable[Opportunity], at: Moment, busy: Sequence[Opportunity]
    ) -> list[Plan]:
        ranked = scanner.rank(map(self._rivals.expect, found), {o.id for o in busy}, self._attempts.resting)
        wanted = [_decide(desk.strategies, o) for o in ranked]
        chosen = planner.choose(wanted, desk.adapter, view, at, busy, self._limits)
        return [(decision, self._intent(desk, decision, at)) for decision in chosen]

    def _think_ahead(
        self, desk: Desk, at: Moment, reports: Sequence[HealthReport], plans: Sequence[Plan]
    ) -> list[Plan]:
        """What can be done only once the calls that we saw pending are mined; for the same block, behind them.

        Where blocks are not first come, first served, ours may come before them and revert: ``Costs.failure``.
        """
        view = self._foreseen.view(desk.adapter, desk.book, at)
        if view is None:
            return []
        known = {report.key for report in reports}
        new = [r for r in health.condemned(desk.adapter, desk.book, at, view) if r.key not in known]
        if not new:
            return []
        busy = [attempt.opportunity for attempt in self.inflight.values()]
        busy += (decision.opportunity for decision, intent in plans if intent is not None)
        keys = {report.key for report in new}
        found = (o for o in desk.adapter.opportunities(view, new, at) if o.key in keys)
        later = self._plans(desk, view, found, at, busy)
        return [(decision, replace(intent, at=None)) for decision, intent in later if intent is not None]

    def _act(self, plans: Sequence[Plan]) -> Iterator[Effect]:
        """Actions only: what is not done yet will be seen again when the update is mined."""
        for decision, intent in plans:
            if intent is not None:
                o = decision.opportunity
                yield Record(self.ref.number, f"decision.{_said(decision)[0]}", {**_decided(decision), "pending": True})
                self._attempts.begin(intent.id, o, self.ref.number)
                yield Send(intent)

    def _intent(self, desk: Desk, decision: Decision, at: Moment) -> TxIntent | None:
        if isinstance(decision, Wait | Skip):
            return None
        call = self._wrap(desk.adapter.calls(decision), at.timestamp + self._limits.horizon)
        return planner.intent(decision, call, at, self._limits, _name)

    def _speak(self, desk: Desk, reports: Sequence[HealthReport], plans: Sequence[Plan]) -> Iterator[Effect]:
        """The decisions that are new, and what is to be sent. What is no longer on offer is forgotten."""
        yield from self._health(desk, reports)
        self._rivals.watch(self.ref.number + 1, [d.opportunity for d, _ in plans])
        before, desk.shown = desk.shown, {d.opportunity.id: _said(d) for d, _ in plans}
        for decision, intent in plans:
            o = decision.opportunity
            if before.get(o.id) != desk.shown[o.id]:
                yield Record(self.ref.number, f"decision.{desk.shown[o.id][0]}", _decided(decision))
            if intent is not None:
                self._attempts.begin(intent.id, o, self.ref.number)
                yield Send(intent)

    def _health(self, desk: Desk, reports: Sequence[HealthReport]) -> Iterator[Effect]:
        """The accounts that crossed the line since the last time."""
        now = {report.key.id: report for report in reports}
        for report in (now[k] for k in sorted(now.keys() - desk.unhealthy.keys())):
            numbers = {"equity": report.equity, "requirement": report.requirement, "scenario": report.scenario}
            yield Record(self.ref.number, "account.unhealthy", {"account": f"0x{report.key.id:x}", **numbers})
        for gone in sorted(desk.unhealthy.keys() - now.keys()):
            yield Record(self.ref.number, "account.healthy", {"account": f"0x{gone:x}"})
        desk.unhealthy = now


def _decide(strategies: Sequence[Strategy], o: Opportunity) -> Decision:
    """The first strategy whose business it is; a refusal that the adapter knows of comes before any."""
    if o.refusal is not None:
        return Skip(o, o.refusal)
    answers = (strategy.decide(o) for strategy in strategies)
    return next((answer for answer in answers if answer is not None), Skip(o, Reason.ACCOUNT_IGNORED))


# ─── what is logged ───────────────────────────────────────────────────────────────────────────────


def _name(o: Opportunity) -> str:
    return f"{o.kind} {o.protocol} 0x{o.key.id:x}"


def _fact(desk: Desk, fact: Fact) -> Mapping[str, object]:
    head = {"protocol": desk.adapter.name, "name": fact.name, "key": f"{fact.key.kind} 0x{fact.key.id:x}"}
    return {**head, "who": fact.who, "tx": fact.tx_hash, **fact.amounts}


def _said(decision: Decision) -> tuple[str, str]:
    why = decision.why if isinstance(decision, Wait | Skip) else ""
    return type(decision).__name__.lower(), str(why)


def _decided(decision: Decision) -> Mapping[str, object]:
    o = decision.opportunity
    costs = {f"cost_{name}": getattr(o.costs, name) for name in o.costs.__slots__}
    fields = {"opportunity": o.id, "kind": o.kind, "account": f"0x{o.key.id:x}", "gain": o.gain, "net": o.net}
    fields |= {"chance": o.chance, "expected": o.expected}
    extra: dict[str, object] = {"why": decision.why} if isinstance(decision, Wait | Skip) else {}
    if isinstance(decision, Wait):
        extra["until"] = decision.until
    if isinstance(decision, Bid | Liquidate):
        extra["floor"] = decision.floor
    return {**fields, **costs, **o.evidence, **extra}
