"""The loop body: events in, effects out. Synchronous, deterministic, without I/O, clock or randomness.

    absorb(BlockBatch | Rollback | Gap)   the books follow the chain
    absorb(Pending)                       what may be mined next
    absorb(TxEvent)                       what became of our transactions
    decide()                              screen, confirm, value, decide, plan

The shell calls them in that order for every block; what it must do comes back as effects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TypeVar

from keeper.core import health, planner, scanner, telling
from keeper.core.attempts import Attempt, Attempts
from keeper.core.book import DEPTH, Book
from keeper.core.desk import Desk, Look, against, coming, decide, tentative
from keeper.core.expected import Expected
from keeper.core.foreseen import Foreseen
from keeper.core.ledger import Ledger
from keeper.core.outcomes import Outcomes
from keeper.core.planner import Limits
from keeper.core.rivals import Rivals
from keeper.core.table import FAULTS, Failed, Side, Table
from keeper.errors import Unreadable
from keeper.model import (
    Action,
    Address,
    BlockBatch,
    BlockRef,
    Call,
    ChainEvent,
    Decision,
    Early,
    Effect,
    Fact,
    Floor,
    Gap,
    HealthReport,
    Interests,
    Moment,
    Opportunity,
    Pending,
    Prepare,
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
from keeper.ports import Adapter, Columns, Strategy, View

T = TypeVar("T")
Plan = tuple[Decision, TxIntent | None]


class Kernel:
    def __init__(
        self,
        desks: Sequence[tuple[Adapter, Sequence[Strategy]]],
        genesis: BlockRef,
        block_time: int,
        wrap: Callable[[tuple[Call, ...], int, tuple[Floor, ...]], Call],
        limits: Limits,
    ) -> None:
        """``genesis`` is the block before the first batch; ``wrap`` makes one call of several, with their terms."""
        self.desks = [Desk(adapter, Book(adapter, genesis), strategies) for adapter, strategies in desks]
        self.ref = genesis
        self.ledger = Ledger()
        self._attempts = Attempts()
        self._rivals = Rivals(block_time)
        self._block_time, self._wrap, self._limits = block_time, wrap, limits
        self._foreseen, self._expected, self._outcomes = Foreseen(), Expected(), Outcomes()

    @property
    def inflight(self) -> Mapping[bytes, Attempt]:
        """What was handed to the transaction manager and may still be mined: intent -> attempt."""
        return self._attempts.inflight

    # ── following ──

    def interests(self) -> list[Interests]:
        """What the source must fetch for the next block."""
        return [desk.interests for desk in self.desks]

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
                return list(self._foreseen.hear(event, [(d.adapter, d.book) for d in self.desks], self.moment()))
            case TxEvent():
                return list(self._transaction(event))
            case Early():
                return []  # its batch comes; until then see ``early``

    def _block(self, batch: BlockBatch) -> Iterator[Effect]:
        seen = list[tuple[str, Fact]]()
        for desk in self.desks:
            before = desk.holdings()
            try:
                facts = desk.book.apply(batch)
            except FAULTS as error:
                list(self._rollback(self.ref))  # as if it had not come
                raise Unreadable(f"{desk.name} cannot read block {batch.ref.number}: {error}") from error
            seen += ((desk.name, fact) for fact in facts)
            for fact in facts:
                yield Record(batch.ref.number, "chain.fact", telling.fact(desk.name, fact))
            self.ledger.change(batch.ref.number, before, desk.holdings(), "event")
        self.ref = batch.ref
        self._rivals.block(batch.ref.number, seen, {desk.adapter.desk for desk in self.desks if desk.adapter.desk})
        self._foreseen.forget(self.ref.number)
        self._attempts.forget(self.ref.number, self.ref.number - DEPTH)
        self._outcomes.hear(self.ref.number, seen, self.ref.number - DEPTH)

    def _rollback(self, to: BlockRef) -> Iterator[Effect]:
        for desk in self.desks:
            desk.rollback(to)
        self.ledger.rollback(to.number)
        self._outcomes.rollback(to.number)
        self._attempts.rollback(to.number)
        self._rivals.rollback(to.number)
        self.ref = to
        yield Record(to.number, "block.rolled_back", {"hash": to.hash})

    def fill(self, desk: Desk, columns: Columns) -> None:
        """The accounts of a protocol, as they were read at the last block."""
        before = desk.holdings()
        desk.fill(columns)
        self.ledger.change(self.ref.number, before, desk.holdings(), "event")

    # ── our transactions ──

    def open(self, coin: int) -> None:
        """The signer's coin (wei) when we begin; everything else the books have from their first block."""
        self.ledger.add(self.ref.number, "signer coin", coin, "opening")

    def _transaction(self, event: TxEvent) -> Iterator[Effect]:
        attempt = self._attempts.known(event.intent, self.ref.number)
        adapter = self._desk(attempt.opportunity.protocol).adapter if attempt else None
        yield Record(self.ref.number, f"tx.{event.state}", telling.step(event, attempt, adapter))
        if event.receipt is not None and event.state in (TxState.CONFIRMED, TxState.CANCELLED):
            self.ledger.add(event.receipt.block.number, "signer coin", -event.receipt.fee, "gas")
        ended = self._attempts.hear(event, self.ref.number)
        if ended is not None and adapter is not None:
            outcome = self._outcomes.of(ended, event, adapter, self.ref.number)
            self._rivals.ended(ended.opportunity, outcome.won, outcome.why)
            yield outcome

    def _desk(self, protocol: str) -> Desk:
        return next(desk for desk in self.desks if desk.name == protocol)

    def warming(self) -> list[Callable[[], str]]:
        """What is worth compiling before a block waits for it."""
        return [work for desk in self.desks if (work := desk.book.columns.warming()) is not None]

    # ── is the book right? ──

    def audit(self) -> list[Reading]:
        """A rolling sample of the accounts of each protocol that can be read again, at the last block."""
        return [reading for desk in self.desks for reading in desk.sample(self.ref.number)]

    def rereads(self, protocol: str) -> Iterator[Reading]:
        """All accounts of one protocol."""
        return self._desk(protocol).rereads()

    def amend(self, reading: Reading, answer: bytes) -> list[Effect]:
        """What the chain says of them is right; nothing where the book says the same."""
        desk = self._desk(reading.protocol)
        before = desk.holdings()
        wrong = desk.amend(reading, answer)
        if not wrong:
            return []
        self.ledger.change(self.ref.number, before, desk.holdings(), "audit")
        accounts = " ".join(f"0x{key.id:x}" for key in wrong)
        return [Record(self.ref.number, "book.diverged", {"protocol": reading.protocol, "accounts": accounts})]

    # ── deciding ──

    def moment(self) -> Moment:
        """When a transaction sent now is expected to execute."""
        return Moment(self.ref.number + 1, self.ref.timestamp + self._block_time, self.ref.next_base_fee)

    def decide(self) -> list[Effect]:
        """All that should be done now; to be called at the head of the chain only."""
        at, effects = self.moment(), list[Effect]()
        awake = [desk for desk in self.desks if not desk.paused or self.ref.number >= desk.resumes]
        looks = self._each(awake, lambda desk: self._look(desk, at), effects)
        effects += (record for look in looks for record in look.desk.unvalued(self.ref.number))
        plans = self._planned(looks, at, self._busy(), effects)
        kept = [look for look in looks if look.desk.name in plans]
        early = self._ahead(kept, at, plans, effects)
        for look in kept:
            if (name := look.desk.name) in early:  # else it failed in between: nothing of it is done
                effects += look.desk.resume(self.ref.number)
                effects += self._speak(look.desk, look.reports, plans[name])
                effects += self._act(early[name], pending=True)
        return effects

    def glimpse(self) -> list[Effect]:
        """What the calls that were seen pending since the last head make possible, behind them in the same block."""
        at, effects = self.moment(), list[Effect]()
        known = [Look(desk, desk.book, list(desk.unhealthy.values()), []) for desk in self.desks if not desk.paused]
        for plans in self._ahead(known, at, {}, effects).values():
            effects += self._act(plans, pending=True)
        return effects

    def expect(self) -> list[Effect]:
        """Whom the next publications of the oracles will condemn, by the rules that those are made by: for ``first``.

        Nothing is sent for it; it costs a look at the whole book, so it comes when all else is done.
        """
        at, effects, awake = self.moment(), list[Effect](), [desk for desk in self.desks if not desk.paused]
        self._expected.renew(soon := replace(at, number=at.number + 1, timestamp=at.timestamp + self._block_time))
        looks = self._each(awake, lambda desk: self._against(desk, *coming(desk, at), at), effects)
        for look in looks:
            keys = frozenset(report.key for report in look.reports)
            if new := keys - look.desk.coming:
                accounts = " ".join(f"0x{key.id:x}" for key in sorted(new))
                effects.append(Record(self.ref.number, "account.expected", {"accounts": accounts}))
            look.desk.coming = keys
        plans = self._planned([look for look in looks if look.wanted], at, self._busy(), effects)
        changed = self._expected.hold(plan for each in plans.values() for plan in each)
        for desk in awake:
            desk.ahead(soon)
        return [*effects, Prepare(self._expected.intents)] if changed else effects

    def _against(self, desk: Desk, view: View, reports: Sequence[HealthReport], at: Moment) -> Look:
        return Look(desk, view, reports, self._wanted(desk, against(desk, view, reports, at)) if reports else [])

    def first(self) -> list[Effect]:
        """What was expected and has come: done before the whole book is looked at. Only what is still so is done."""
        effects = list[Effect]()
        come = self._come(self.desks, effects)
        while self._attempts.undecided({intent.id for _, _, intent in come}, self.ref.number):
            come = self._come(self.desks, effects)  # beside what has left: that takes slots, gas and capital
        for desk, decision, intent in come:
            desk.shown[decision.opportunity.id] = ("skip", Reason.INFLIGHT_DUPLICATE)
            effects += self._act([(decision, intent)], foretold=True)
        return effects

    @contextmanager
    def early(self, batch: BlockBatch) -> Iterator[list[TxIntent]]:
        """What ``first`` will send if the next block has just these logs. Nothing stays; who reads more waits."""
        desks = [desk for desk in self.desks if desk.coming and not desk.interests.reads]
        with tentative(desks, batch) as fits:
            last, self.ref = self.ref, batch.ref
            try:
                come = self._come(desks, []) if fits else []
            finally:
                self.ref = last
            self._attempts.glanced = {intent.id: decision.opportunity for _, decision, intent in come}
            yield [intent for _, _, intent in come]

    def left(self, intents: Iterable[TxIntent]) -> None:
        """These, of the last glance. What is not decided with its block is on its way all the same."""
        self._attempts.hurry(intent.id for intent in intents)

    def _come(self, desks: Iterable[Desk], effects: list[Effect]) -> list[tuple[Desk, Decision, TxIntent]]:
        at = self.moment()
        looks = self._each((d for d in desks if d.coming and not d.paused), partial(self._look_first, at), effects)
        plans = self._planned([look for look in looks if look.wanted], at, self._busy(), effects)
        return [(look.desk, d, i) for look in looks for d, i in plans.get(look.desk.name, ()) if i is not None]

    def _look_first(self, at: Moment, desk: Desk) -> Look:
        now = (desk.adapter.health(desk.book, key, at) for key in sorted(desk.coming))
        return self._against(desk, desk.book, [r for r in now if not r.healthy], at)

    def _busy(self) -> list[Opportunity]:
        return [attempt.opportunity for attempt in self.inflight.values()]

    def _each(self, desks: Iterable[Desk], work: Callable[[Desk], T | None], effects: list[Effect]) -> list[T]:
        """Work that may fail, of each protocol apart. Nothing has happened yet when it does."""
        found = list[T]()
        for desk in desks:
            try:
                done = work(desk)
            except FAULTS as error:
                effects += desk.pause(self.ref.number, f"{type(error).__name__}: {error}")
            else:
                found += () if done is None else (done,)
        return found

    def _look(self, desk: Desk, at: Moment) -> Look:
        reports = health.condemned(desk.adapter, desk.book, at)
        return Look(desk, desk.book, reports, self._wanted(desk, desk.adapter.opportunities(desk.book, reports, at)))

    def _wanted(self, desk: Desk, found: Iterable[Opportunity]) -> list[Decision]:
        busy = {o.id for o in self._busy()}
        ranked = scanner.rank(map(self._rivals.expect, found), busy, self._attempts.resting)
        return [decide(desk.strategies, o) for o in ranked]

    def _planned(
        self, looks: Sequence[Look], at: Moment, busy: Sequence[Opportunity], effects: list[Effect]
    ) -> dict[str, list[Plan]]:
        """One set for all protocols together; one that fails meanwhile has none, and the others are planned without."""
        looks = list(looks)
        while looks:
            try:
                table = Table({look.desk.name: Side(look.desk.adapter, look.view) for look in looks}, at)
                wanted = [decision for look in looks for decision in look.wanted]
                chosen = iter(planner.choose(wanted, table, at, busy, self._limits))
            except Failed as failed:
                effects += self._desk(failed.protocol).pause(self.ref.number, failed.why)
                looks = [look for look in looks if look.desk.name != failed.protocol]
            else:
                sets = {look.desk.name: list(islice(chosen, len(look.wanted))) for look in looks}
                return self._written(sets, at, effects)
        return {}

    def _written(
        self, chosen: Mapping[str, Sequence[Decision]], at: Moment, effects: list[Effect]
    ) -> dict[str, list[Plan]]:
        def plans(desk: Desk) -> tuple[str, list[Plan]]:
            return desk.name, [(decision, self._intent(desk, decision, at)) for decision in chosen[desk.name]]

        return dict(self._each([desk for desk in self.desks if desk.name in chosen], plans, effects))

    def _ahead(
        self, looks: Sequence[Look], at: Moment, plans: Mapping[str, Sequence[Plan]], effects: list[Effect]
    ) -> dict[str, list[Plan]]:
        """What can be done only once the calls that we saw pending are mined; for the same block, behind them.

        Where blocks are not first come, first served, ours may come before them and revert: ``Costs.failure``.
        """
        by = {look.desk.name: look for look in looks}
        busy = self._busy()
        busy += (d.opportunity for each in plans.values() for d, intent in each if intent is not None)
        calls = self._foreseen.calls
        found = self._each((look.desk for look in looks), lambda d: self._look_ahead(by[d.name], at, effects), effects)
        early = self._planned([look for look in found if look.wanted], at, busy, effects)
        done = {look.desk.name: list[Plan]() for look in found}
        for name, each in early.items():
            done[name] = [(d, replace(intent, behind=calls)) for d, intent in each if intent is not None]
        failed = {look.desk.name for look in found if look.wanted} - early.keys()
        return {name: each for name, each in done.items() if name not in failed}

    def _look_ahead(self, look: Look, at: Moment, effects: list[Effect]) -> Look:
        """Anybody can send a call that makes no sense: one that cannot be reckoned with is forgotten, and no more."""
        desk = look.desk
        try:
            view, new = self._foreseen.condemned(desk.adapter, desk.book, look.reports, at)
            return self._against(desk, view, new, at)
        except FAULTS as error:
            effects += self._foreseen.clear(desk.name, error, self.ref.number)
        return replace(look, wanted=[])

    def _act(self, plans: Sequence[Plan], **how: bool) -> Iterator[Effect]:
        """Actions only: what is not done yet will be seen again when all is looked at."""
        for decision, intent in plans:
            if intent is not None:
                said, o = telling.said(decision)[0], decision.opportunity
                yield Record(self.ref.number, f"decision.{said}", {**telling.decided(decision), **how})
                self._attempts.begin(intent.id, o, self.ref.number, early=bool(intent.behind))
                yield Send(intent)

    def _intent(self, desk: Desk, decision: Decision, at: Moment) -> TxIntent | None:
        if isinstance(decision, Wait | Skip):
            return None
        write = partial(planner.intent, decision, at=at, limits=self._limits, name=telling.name)
        return self._expected.written(decision, at, partial(self._call, desk, decision), write)

    def _call(self, desk: Desk, action: Action, at: Moment) -> Call:
        calls, floors = desk.adapter.calls(action), desk.adapter.floors(action)
        return self._wrap(calls, at.timestamp + self._limits.horizon, floors)

    def _speak(self, desk: Desk, reports: Sequence[HealthReport], plans: Sequence[Plan]) -> Iterator[Effect]:
        """The decisions that are new, and what is to be sent. What is no longer on offer is forgotten."""
        yield from desk.crossed(self.ref.number, reports)
        self._rivals.watch(self.ref.number + 1, [d.opportunity for d, _ in plans])
        before, desk.shown = desk.shown, {d.opportunity.id: telling.said(d) for d, _ in plans}
        for decision, intent in plans:
            o = decision.opportunity
            if before.get(o.id) != desk.shown[o.id]:
                yield Record(self.ref.number, f"decision.{desk.shown[o.id][0]}", telling.decided(decision))
            if intent is not None:
                self._attempts.begin(intent.id, o, self.ref.number)
                yield Send(intent)
