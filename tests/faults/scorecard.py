"""Which rows of the fault matrix have tests, and whether those hold: a pytest plugin and the table it prints.

    python -m tests.faults [pytest arguments]

A row holds when at least one test names it, and every test that names it passed. A skipped test proves nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import pytest

MATRIX: Final = Path(__file__).with_name("matrix.md")
_HEADING: Final = re.compile(r"## (.+)")
_ROW: Final = re.compile(r"\| ([A-Z]\d\d) \| (.+?) \| ([^|]*) \| .+ \|")

# Share of its rows, in percent, that a class must hold. Money rows of these two must all hold.
GATES: Final = {
    "RPC endpoints": 95,
    "Streams, blocks, reorgs": 95,
    "Transactions and the mempool": 95,
    "Crash, persistence, several keepers": 95,
    "Data from contracts, tokens, oracles": 90,
    "Resources and time": 90,
    "Security": 90,
}
MONEY: Final = ("Transactions and the mempool", "Crash, persistence, several keepers")


class Row(NamedTuple):
    id: str
    section: str
    fault: str
    money: bool


def matrix() -> dict[str, Row]:
    """Every row by its id, in the order of the file."""
    rows, section = dict[str, Row](), ""
    for line in MATRIX.read_text().splitlines():
        if heading := _HEADING.match(line):
            section = heading[1]
        elif found := _ROW.match(line):
            id, fault, kind = found.groups()
            rows[id] = Row(id, section, fault, "$" in kind)
    return rows


@dataclass
class Scorecard:
    """The plugin. ``proven`` and ``failed`` hold ids of rows, which ``tests/conftest.py`` puts into the reports."""

    proven: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        rows = {row for name, rows in report.user_properties if name == "fault" for row in str(rows).split()}
        if report.failed:
            self.failed.update(rows)
        elif report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self.proven.update(rows)

    @property
    def holding(self) -> set[str]:
        return self.proven - self.failed


class Line(NamedTuple):
    """One class of the table."""

    section: str
    rows: int
    held: int
    money: int
    money_held: int
    missing: tuple[str, ...]

    @property
    def passed(self) -> bool:
        sound = self.money == self.money_held or self.section not in MONEY
        return sound and 100 * self.held >= GATES[self.section] * self.rows


def lines(rows: Iterable[Row], holding: set[str]) -> list[Line]:
    """By section, in the order of the rows."""
    sections = dict[str, list[Row]]()
    for row in rows:
        sections.setdefault(row.section, []).append(row)
    return [_line(section, members, holding) for section, members in sections.items()]


def _line(section: str, rows: list[Row], holding: set[str]) -> Line:
    money = [row for row in rows if row.money]
    held = [row for row in rows if row.id in holding]
    missing = tuple(row.id for row in rows if row.id not in holding)
    return Line(section, len(rows), len(held), len(money), sum(row.id in holding for row in money), missing)


def table(card: Iterable[Line]) -> str:
    """For people: a Markdown table, and what is missing below it."""
    card = list(card)
    told = ["| class | rows held | of | % | gate | money rows | |", "| --- | ---: | ---: | ---: | ---: | ---: | --- |"]
    for line in card:
        share, money = f"{100 * line.held / line.rows:.0f}", f"{line.money_held}/{line.money}"
        verdict = "ok" if line.passed else "short"
        told.append(
            f"| {line.section} | {line.held} | {line.rows} | {share} | {GATES[line.section]} | {money} | {verdict} |"
        )
    held, rows = sum(line.held for line in card), sum(line.rows for line in card)
    told += [f"| all | {held} | {rows} | {100 * held / rows:.0f} | | | |", ""]
    told += [f"{line.section}: no proof of {', '.join(line.missing)}" for line in card if line.missing]
    return "\n".join(told)
