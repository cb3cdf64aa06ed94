"""Who is under water: screen in float columns, confirm in exact integers."""

from __future__ import annotations

from keeper.core.book import Book
from keeper.model import HealthReport, Moment
from keeper.ports import Adapter


def condemned(adapter: Adapter, book: Book, at: Moment) -> list[HealthReport]:
    """Accounts that the contract will call unhealthy at ``at``, by ascending key."""
    reports = (adapter.health(book, key, at) for key in book.columns.suspects(book, at))
    return [report for report in reports if not report.healthy]
