"""Who is under water: screen in float columns, confirm in exact integers."""

from __future__ import annotations

from keeper.core.book import Book
from keeper.model import HealthReport, Moment
from keeper.ports import Adapter, View


def condemned(adapter: Adapter, book: Book, at: Moment, view: View | None = None) -> list[HealthReport]:
    """Accounts that the contract will call unhealthy at ``at``, by ascending key; in another market with ``view``."""
    seen: View = book if view is None else view
    reports = (adapter.health(seen, key, at) for key in book.columns.suspects(seen, at))
    return [report for report in reports if not report.healthy]
