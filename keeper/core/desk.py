"""One protocol as the kernel works with it, and one look at it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from itertools import islice
from typing import Final

from keeper.core import health
from keeper.core.book import Book
from keeper.core.foreseen import after
from keeper.core.table import FAULTS
from keeper.model import (
    BlockBatch,
    BlockRef,
    Decision,
    HealthReport,
    Interests,
    Key,
    Moment,
    Opportunity,
    Reading,
    Reason,
    Record,
    Skip,
)
from keeper.ports import Adapter, Ahead, Audited, Columns, Stored, Strategy, Timely, View

RETRY: Final = 20  # blocks after which a protocol whose adapter failed is tried again
AUDITED: Final = 32  # accounts that are read again at each head
EXPECTED: Final = 16  # accounts that are looked at first when an update comes
SHOWN: Final = 5  # of accounts that cannot be valued, and of what is missing
TO_A_CALL: Final = 500  # accounts, when all are


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
    blind: frozenset[Key] = frozenset()  # who could not be valued
    missing: bool = False  # its accounts are to be read from the chain, and are not followed until then
    filled: int | None = None  # block at which they were read
    coming: frozenset[Key] = frozenset()  # whom the next publications will condemn, as far as that can be known

    @cached_property
    def foretold(self) -> Ahead | None:
        """The adapter, where it says what comes next; to ask what it can do takes longer than to remember."""
        return self.adapter if isinstance(self.adapter, Ahead) else None

    @property
    def name(self) -> str:
        return self.adapter.name

    def ahead(self, at: Moment) -> None:
        """What can be done now for a look at ``at``. Where it fails, that look will, and says so."""
        if isinstance(self.book.columns, Timely):
            with suppress(*FAULTS):
                self.book.columns.ahead(self.book, at)

    # ── is it well? ──

    def pause(self, block: int, why: str) -> Iterator[Record]:
        """Nothing of what it wanted this time is done; it is tried again after a while."""
        if why != self.paused:
            yield Record(block, "protocol.paused", {"protocol": self.name, "why": why})
        self.paused, self.resumes = why, block + RETRY

    def resume(self, block: int) -> Iterator[Record]:
        if self.paused:
            yield Record(block, "protocol.resumed", {"protocol": self.name})
        self.paused = ""

    def sample(self, block: int) -> Iterator[Reading]:
        """Other accounts each time, and all of them in time."""
        keys = self.book.columns.rolling(block, AUDITED)
        if keys and isinstance(self.adapter, Audited):
            yield self.adapter.reading(keys)

    def rereads(self) -> Iterator[Reading]:
        if isinstance(self.adapter, Audited):
            keys = [key for kind in self.book.columns.kinds for key in self.book.keys(kind)]
            yield from (self.adapter.reading(keys[at : at + TO_A_CALL]) for at in range(0, len(keys), TO_A_CALL))

    # ── accounts that are read, not followed ──

    @property
    def interests(self) -> Interests:
        """What the source must fetch for the next block."""
        if self.missing and isinstance(self.adapter, Stored):
            return self.adapter.outline(self.book)
        return self.book.interests

    def fill(self, columns: Columns) -> None:
        """Take the accounts as they were read at the last block."""
        self.book.take(columns)
        self.missing, self.filled = False, self.book.ref.number

    def rollback(self, to: BlockRef) -> None:
        """Below the block at which accounts were read, they must be read again."""
        self.book.rollback(to)
        if self.filled is not None and to.number < self.filled:
            self.book.take(self.adapter.columns())
            self.missing, self.filled = True, None

    def amend(self, reading: Reading, answer: bytes) -> list[Key]:
        """Take the chain's word for the accounts in which the book is wrong; which those are."""
        wrong = list(self.adapter.reread(self.book, reading, answer)) if isinstance(self.adapter, Audited) else []
        if wrong:
            self.book.amend(wrong)
        return [change.key for change in wrong]

    # ── accounts ──

    def crossed(self, block: int, reports: Sequence[HealthReport]) -> Iterator[Record]:
        """The accounts that crossed the line since the last time."""
        now = {report.key.id: report for report in reports}
        for report in (now[k] for k in sorted(now.keys() - self.unhealthy.keys())):
            numbers = {"equity": report.equity, "requirement": report.requirement, "scenario": report.scenario}
            yield Record(block, "account.unhealthy", {"account": f"0x{report.key.id:x}", **numbers})
        for gone in sorted(self.unhealthy.keys() - now.keys()):
            yield Record(block, "account.healthy", {"account": f"0x{gone:x}"})
        self.unhealthy = now

    def unvalued(self, block: int) -> Iterator[Record]:
        """Accounts that the last look could give no number for, whenever these become others; by what is missing."""
        refusals = self.book.columns.refusals
        if refusals.keys() != self.blind:
            self.blind = frozenset(refusals)
            details = sorted(set(refusals.values()))[:SHOWN]
            accounts = " ".join(f"0x{key.id:x}" for key in sorted(refusals)[:SHOWN])
            told = {"protocol": self.name, "count": len(refusals), "accounts": accounts, "detail": "; ".join(details)}
            yield Record(block, "account.unvalued", told | ({"why": Reason.PRICE_UNKNOWN} if refusals else {}))

    def holdings(self) -> dict[str, int]:
        return {f"{self.name} {place}": h.amount for place, h in self.adapter.holdings(self.book).items()}


@dataclass(frozen=True)
class Look:
    """Who is under water in a view, and what the strategies want to do about it."""

    desk: Desk
    view: View
    reports: Sequence[HealthReport]
    wanted: Sequence[Decision]


@contextmanager
def tentative(desks: Sequence[Desk], batch: BlockBatch) -> Iterator[bool]:
    """The books with a block of which nothing stays; False where it does not follow, or cannot be read.

    Logs may be missing or false, so it has a name of its own: what is remembered of the block by its hash is of all of
    it as it is.
    """
    seen = b"".join(log.index.to_bytes(8) + log.data for log in batch.logs)
    glance = replace(batch, ref=replace(batch.ref, hash=sha256(batch.ref.hash + seen).digest()))
    done = list[tuple[Desk, BlockRef, str, int]]()
    try:
        for desk in desks:
            if desk.book.ref.hash == batch.ref.parent:
                with suppress(*FAULTS):
                    before = desk.book.ref
                    desk.book.apply(glance)
                    done.append((desk, before, desk.paused, desk.resumes))
        yield len(done) == len(desks)
    finally:
        for desk, before, desk.paused, desk.resumes in done:
            desk.book.rollback(before)


def coming(desk: Desk, at: Moment) -> tuple[View, list[HealthReport]]:
    """The market after the publications that are due, and a few whom they will condemn and who are well now."""
    adapter, ahead = desk.adapter, desk.foretold
    view = after(adapter, desk.book, ahead.expected(desk.book, at), at) if ahead is not None else None
    if view is None:
        return desk.book, []
    reports = (r for r in health.condemned(adapter, desk.book, at, view) if r.key.id not in desk.unhealthy)
    return view, list(islice(reports, EXPECTED))


def against(desk: Desk, view: View, reports: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
    """What can be done to these accounts because they are unhealthy."""
    if desk.foretold is not None:
        return desk.foretold.against(view, reports, at)
    keys = {report.key for report in reports}
    return (o for o in desk.adapter.opportunities(view, reports, at) if o.key in keys)


def decide(strategies: Sequence[Strategy], o: Opportunity) -> Decision:
    """The first strategy whose business it is; a refusal that the adapter knows of comes before any."""
    if o.refusal is not None:
        return Skip(o, o.refusal)
    for strategy in strategies:
        if (answer := strategy.decide(o)) is not None:
            return answer
    return Skip(o, Reason.ACCOUNT_IGNORED)
