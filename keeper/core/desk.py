"""One protocol as the kernel works with it, and one look at it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from keeper.core.book import Book
from keeper.model import Decision, HealthReport, Moment, Opportunity, Reason, Skip
from keeper.ports import Adapter, Ahead, Strategy, View


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

    @property
    def name(self) -> str:
        return self.adapter.name

    def holdings(self) -> dict[str, int]:
        return {f"{self.name} {place}": h.amount for place, h in self.adapter.holdings(self.book).items()}


@dataclass(frozen=True)
class Look:
    """Who is under water in a view, and what the strategies want to do about it."""

    desk: Desk
    view: View
    reports: Sequence[HealthReport]
    wanted: Sequence[Decision]


def against(adapter: Adapter, view: View, reports: Sequence[HealthReport], at: Moment) -> Iterable[Opportunity]:
    """What can be done to these accounts because they are unhealthy."""
    if isinstance(adapter, Ahead):
        return adapter.against(view, reports, at)
    keys = {report.key for report in reports}
    return (o for o in adapter.opportunities(view, reports, at) if o.key in keys)


def decide(strategies: Sequence[Strategy], o: Opportunity) -> Decision:
    """The first strategy whose business it is; a refusal that the adapter knows of comes before any."""
    if o.refusal is not None:
        return Skip(o, o.refusal)
    answers = (strategy.decide(o) for strategy in strategies)
    return next((answer for answer in answers if answer is not None), Skip(o, Reason.ACCOUNT_IGNORED))
