"""Calls that were seen before they are mined, and the market as it would be after them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from keeper.core import health
from keeper.core.book import Book
from keeper.core.table import FAULTS
from keeper.model import HealthReport, Moment, Pending, Record
from keeper.ports import Adapter, View

PATIENCE: Final = 3  # blocks after which a call that was not mined is not waited for
MOST: Final = 64  # calls remembered; the oldest go first


@dataclass
class Foreseen:
    _calls: dict[Pending, int] = field(default_factory=dict)  # -> block after which it was last seen

    def hear(self, pending: Pending, markets: Iterable[tuple[Adapter, View]], at: Moment) -> Iterator[Record]:
        """Remember a call that changes a market; any other would only crowd out those that do."""
        block = at.number - 1  # the newest
        if pending in self._calls:
            self._calls[pending] = block
            return
        for adapter, view in markets:
            try:
                changes = adapter.foresee(view, pending, at) is not None
            except FAULTS as error:
                yield _forgotten(adapter.name, error, block)
            else:
                if changes:
                    yield from self.add(pending, block)
                    return

    def add(self, pending: Pending, block: int) -> Iterator[Record]:
        """Told once."""
        if pending not in self._calls:
            yield Record(block, "oracle.pending", {"target": pending.target, "selector": pending.data[:4]})
        self._calls[pending] = block
        while len(self._calls) > MOST:
            del self._calls[next(iter(self._calls))]

    @property
    def calls(self) -> tuple[Pending, ...]:
        """In the order in which they were seen."""
        return tuple(self._calls)

    def clear(self, protocol: str, error: Exception, block: int) -> Iterator[Record]:
        """Wait for none of them, as they have made a protocol fail."""
        yield _forgotten(protocol, error, block)
        self._calls = {}

    def forget(self, block: int) -> None:
        self._calls = {call: seen for call, seen in self._calls.items() if seen > block - PATIENCE}

    def view(self, adapter: Adapter, now: View, at: Moment) -> View | None:
        """After all of them, in the order in which they were seen; None when they change nothing."""
        return after(adapter, now, self._calls, at)

    def condemned(
        self, adapter: Adapter, book: Book, now: Iterable[HealthReport], at: Moment
    ) -> tuple[View, list[HealthReport]]:
        """The market after all of them, and whom it condemns beside those who are ``now``."""
        view, known = self.view(adapter, book, at), {report.key for report in now}
        if view is None:
            return book, []
        return view, [r for r in health.condemned(adapter, book, at, view) if r.key not in known]


def _forgotten(protocol: str, error: Exception, block: int) -> Record:
    return Record(block, "oracle.forgotten", {"protocol": protocol, "why": f"{type(error).__name__}: {error}"})


def after(adapter: Adapter, now: View, calls: Iterable[Pending], at: Moment) -> View | None:
    """The market after these calls, mined at ``at``, in order; None when they change nothing."""
    view = None
    for call in calls:
        changed = adapter.foresee(now if view is None else view, call, at)
        view = view if changed is None else changed
    return view
