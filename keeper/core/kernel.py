"""The loop body: events in, effects out. Synchronous, deterministic, without I/O, clock or randomness.

    absorb(BlockBatch | Rollback | Gap)   the books follow the chain
    absorb(TxEvent)                       what became of our transactions
    decide()                              screen, confirm, value, decide, plan

The shell calls them in that order for every block; what it must do comes back as effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from keeper.core import health, planner, scanner
from keeper.core.book import DEPTH, Book
from keeper.core.ledger import Ledger
from keeper.core.planner import Limits
from keeper.errors import AdapterFault, Broken
from keeper.model import (
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
    Moment,
    Opportunity,
    Outcome,
    Reason,
    Receipt,
    Record,
    Rollback,
    Send,
    Skip,
    TxEvent,
    TxState,
    Wait,
)
from keeper.ports import Adapter, Strategy

COOLDOWN = 3  # blocks an opportunity rests after a failed attempt
FAULTS = (AdapterFault, ArithmeticError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Attempt:
    """An action that was handed to the transaction manager."""

    opportunity: Opportunity
    decided: int  # block


@dataclass
class Desk:
    """One protocol with its book and the strategies that may act on it."""

    adapter: Adapter
    book: Book
    strategies: Sequence[Strategy]
    paused: str = ""  # why, when the adapter has failed
    shown: dict[bytes, tuple[str, str]] = field(default_factory=dict)  # opportunity -> last decision logged
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
        self.inflight: dict[bytes, Attempt] = {}  # intent id ->
        self._block_time, self._wrap, self._limits = block_time, wrap, limits
        self._ended: dict[bytes, Attempt] = {}  # included, not final
        self._facts: dict[bytes, tuple[int, list[tuple[Desk, Fact]]]] = {}  # transaction -> block, facts
        self._resting: dict[bytes, int] = {}  # opportunity -> block until which it rests

    # ── following ──

    def interests(self) -> list[Interests]:
        """What the source must fetch for the next block."""
        return [desk.book.interests for desk in self.desks]

    def absorb(self, event: ChainEvent | TxEvent) -> list[Effect]:
        match event:
            case BlockBatch():
                return list(self._block(event))
            case Rollback(to):
                return list(self._rollback(to))
            case Gap(first, last):
                return [Record(self.ref.number, "block.gap", {"first": first, "last": last})]
            case TxEvent():
                return list(self._transaction(event))
        return []

    def _block(self, batch: BlockBatch) -> Iterator[Effect]:
        before = {desk.adapter.name: desk.holdings() for desk in self.desks}
        for desk in self.desks:
            try:
                facts = desk.book.apply(batch)
            except FAULTS as error:
                raise Broken(f"{desk.adapter.name} cannot read block {batch.ref.number}: {error}") from error
            for fact in facts:
                self._facts.setdefault(fact.tx_hash, (batch.ref.number, []))[1].append((desk, fact))
                yield Record(batch.ref.number, "chain.fact", _fact(desk, fact))
            self.ledger.change(batch.ref.number, before[desk.adapter.name], desk.holdings(), "event")
        self.ref = batch.ref
        self._forget(batch.ref.number - DEPTH)

    def _rollback(self, to: BlockRef) -> Iterator[Effect]:
        for desk in self.desks:
            desk.book.rollback(to)
        self.ledger.rollback(to.number)
        self._facts = {tx: seen for tx, seen in self._facts.items() if seen[0] <= to.number}
        self._resting = {o: until for o, until in self._resting.items() if until <= to.number + COOLDOWN}
        self.ref = to
        yield Record(to.number, "block.rolled_back", {"hash": to.hash})

    def _forget(self, below: int) -> None:
        for tx in [tx for tx, (number, _) in self._facts.items() if number < below]:
            del self._facts[tx]
        for o in [o for o, until in self._resting.items() if until < self.ref.number]:
            del self._resting[o]

    # ── our transactions ──

    def _transaction(self, event: TxEvent) -> Iterator[Effect]:
        attempt = self.inflight.get(event.intent) or self._ended.get(event.intent)
        yield Record(self.ref.number, f"tx.{event.state}", self._told(event, attempt))
        match event:
            case TxEvent(state=TxState.ABANDONED):  # never signed
                self._rest(self.inflight.pop(event.intent, None))
            case TxEvent(state=TxState.INCLUDED, receipt=Receipt() as receipt) if event.intent in self.inflight:
                self._ended[event.intent] = self.inflight.pop(event.intent)
                self._rest(None if receipt.ok else attempt)
            case TxEvent(state=TxState.BROADCAST) if event.intent in self._ended:  # its block is no longer canonical
                self.inflight[event.intent] = self._ended.pop(event.intent)
            case TxEvent(state=TxState.CONFIRMED | TxState.CANCELLED | TxState.REPLACED, receipt=receipt):
                if receipt is not None:
                    self.ledger.add(receipt.block.number, "signer coin", -receipt.fee, "gas")
                ended = self._ended.pop(event.intent, None) or self.inflight.pop(event.intent, None)
                if ended is not None:
                    yield self._outcome(ended, event)

    def _rest(self, failed: Attempt | None) -> None:
        if failed is not None:
            self._resting[failed.opportunity.id] = self.ref.number + COOLDOWN

    def _outcome(self, attempt: Attempt, event: TxEvent) -> Outcome:
        o, receipt = attempt.opportunity, event.receipt
        won = event.state is TxState.CONFIRMED and receipt is not None and receipt.ok
        facts = self._facts.get(receipt.tx_hash, (0, []))[1] if receipt else []
        mine = [fact for desk, fact in facts if desk.adapter.name == o.protocol]
        brought = self._desk(o.protocol).adapter.realised(o, mine)
        why = None if won else self._why_lost(attempt, event)
        fee, ended = (receipt.fee, receipt.block.number) if receipt else (0, self.ref.number)
        return Outcome(
            o.id, o.protocol, o.key, o.kind, won, why, brought.gain, brought.hedge, fee, attempt.decided, ended
        )

    def _why_lost(self, attempt: Attempt, event: TxEvent) -> Reason:
        """What others did to the same account since we decided tells why we came too late."""
        if event.state is not TxState.CONFIRMED:
            return event.why or Reason.NOT_INCLUDED
        since = (seen for number, seen in self._facts.values() if number > attempt.decided)
        names = {fact.name for seen in since for _, fact in seen if fact.key == attempt.opportunity.key}
        if "sold" in names or "liquidated" in names:
            return Reason.OUTBID
        return Reason.LOST_RACE if "flagged" in names else Reason.REVERTED_STATE_CHANGED

    def _told(self, event: TxEvent, attempt: Attempt | None) -> Mapping[str, object]:
        fields: dict[str, object] = {"intent": event.intent}
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

    def open(self, coin: int) -> None:
        """The signer's coin (wei) when we begin; everything else the books have from their first block."""
        self.ledger.add(self.ref.number, "signer coin", coin, "opening")

    # ── deciding ──

    def moment(self) -> Moment:
        """When a transaction sent now is expected to execute."""
        return Moment(self.ref.number + 1, self.ref.timestamp + self._block_time, self.ref.next_base_fee)

    def decide(self) -> list[Effect]:
        """All that should be done now; to be called at the head of the chain only."""
        at, effects = self.moment(), list[Effect]()
        for desk in self.desks:
            if desk.paused:
                continue
            try:
                effects += self._decide(desk, at)
            except FAULTS as error:
                desk.paused = f"{type(error).__name__}: {error}"
                why = {"protocol": desk.adapter.name, "why": desk.paused}
                effects.append(Record(self.ref.number, "protocol.paused", why))
        return effects

    def _decide(self, desk: Desk, at: Moment) -> Iterator[Effect]:
        reports = health.condemned(desk.adapter, desk.book, at)
        yield from self._health(desk, reports)
        found = desk.adapter.opportunities(desk.book, reports, at)
        ranked = scanner.rank(found, {a.opportunity.id for a in self.inflight.values()}, self._resting.keys())
        decisions = [decision for o in ranked for decision in (_decide_one(desk.strategies, o),)]
        mine = [a.opportunity for a in self.inflight.values() if a.opportunity.protocol == desk.adapter.name]
        for decision in planner.choose(decisions, desk.adapter, desk.book, at, mine, self._limits):
            yield from self._carry_out(desk, decision, at)

    def _health(self, desk: Desk, reports: Sequence[HealthReport]) -> Iterator[Effect]:
        """Log the accounts that crossed the line since the last block."""
        now = {report.key.id: report for report in reports}
        for report in (now[k] for k in sorted(now.keys() - desk.unhealthy.keys())):
            numbers = {"equity": report.equity, "requirement": report.requirement, "scenario": report.scenario}
            yield Record(self.ref.number, "account.unhealthy", {"account": f"0x{report.key.id:x}", **numbers})
        for gone in sorted(desk.unhealthy.keys() - now.keys()):
            yield Record(self.ref.number, "account.healthy", {"account": f"0x{gone:x}"})
        desk.unhealthy = now

    def _carry_out(self, desk: Desk, decision: Decision, at: Moment) -> Iterator[Effect]:
        o = decision.opportunity
        why = decision.why if isinstance(decision, Wait | Skip) else ""
        shown = type(decision).__name__.lower(), str(why)
        if desk.shown.get(o.id) != shown:
            desk.shown[o.id] = shown
            yield Record(self.ref.number, f"decision.{shown[0]}", _decided(decision))
        if isinstance(decision, Wait | Skip):
            return
        intent = planner.intent(
            decision,
            self._wrap(desk.adapter.calls(decision), at.timestamp + self._limits.horizon),
            at,
            self._limits,
            _name,
        )
        self.inflight[intent.id] = Attempt(o, self.ref.number)
        yield Send(intent)


def _decide_one(strategies: Sequence[Strategy], o: Opportunity) -> Decision:
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


def _decided(decision: Decision) -> Mapping[str, object]:
    o = decision.opportunity
    costs = {name: getattr(o.costs, name) for name in o.costs.__slots__}
    fields = {"opportunity": o.id, "kind": o.kind, "account": f"0x{o.key.id:x}", "gain": o.gain, "net": o.net}
    extra = {"why": decision.why} if isinstance(decision, Wait | Skip) else {}
    until = {"until": decision.until} if isinstance(decision, Wait) else {}
    return {**fields, **{f"cost_{name}": cost for name, cost in costs.items()}, **o.evidence, **extra, **until}
