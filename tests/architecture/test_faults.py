"""The fault matrix and the tests that name its rows."""

import ast
from pathlib import Path

import pytest

from tests.faults.mutants import MUTANTS, Mutant
from tests.faults.scorecard import GATES, Row, Scorecard, lines, matrix, table

ROOT = Path(__file__).parents[1]


def marks(file: Path) -> list[tuple[str, str]]:
    """Where a row is named, and which: every ``…mark.fault("R01", …)`` of a file."""
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    faults = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "fault"]
    marks = [
        call
        for call in faults
        if isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value).endswith("mark")
    ]
    return [(f"{file.name}:{call.lineno}", str(ast.literal_eval(arg))) for call in marks for arg in call.args]


def test_every_class_of_the_matrix_has_a_gate() -> None:
    rows = matrix()
    assert len(rows) == 243
    assert {row.section for row in rows.values()} == set(GATES)


def test_every_mark_names_a_row() -> None:
    found = [mark for file in ROOT.rglob("test_*.py") for mark in marks(file)]
    assert found
    assert [(where, row) for where, row in found if row not in matrix()] == []


def test_every_row_is_named() -> None:
    """Whether it holds is for ``make faults`` to say; that nobody looks must not happen."""
    named = {row for file in ROOT.rglob("test_*.py") for _, row in marks(file)}
    assert sorted(set(matrix()) - named) == []


def row(id: str, section: str, money: bool = False) -> Row:
    return Row(id, section, "", money)


def test_a_row_holds_when_all_its_tests_passed() -> None:
    card = Scorecard(proven={"R01", "R02"}, failed={"R02"})
    assert card.holding == {"R01"}


def test_a_class_holds_at_its_gate_and_only_with_all_its_money_rows() -> None:
    section = "Crash, persistence, several keepers"
    rows = [row(f"C{n:02}", section, money=n == 1) for n in range(1, 21)]
    ids = {one.id for one in rows}
    assert [line.passed for line in lines(rows, ids - {"C20"})] == [True]
    assert [line.passed for line in lines(rows, ids - {"C01"})] == [False]
    assert [line.passed for line in lines(rows, ids - {"C19", "C20"})] == [False]


def test_the_table_names_what_is_missing() -> None:
    shown = table(lines([row("G01", "Resources and time"), row("G02", "Resources and time")], {"G02"}))
    assert "| Resources and time | 1 | 2 | 50 | 90 | 0/0 | short |" in shown
    assert "Resources and time: no proof of G01" in shown


@pytest.mark.fault("T01")
def test_a_mark_reaches_the_report_of_its_test(request: pytest.FixtureRequest) -> None:
    """By ``tests/conftest.py``; without it the scorecard sees nothing."""
    assert ("fault", "T01") in request.node.user_properties


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_every_guard_can_still_be_taken_away(mutant: Mutant) -> None:
    """Whether a test notices takes hours: ``python -m tests.faults.mutants``. What it would change is there, once."""
    assert (ROOT.parent / mutant.path).read_text().count(mutant.old) == 1, f"write {mutant.what!r} anew"
    assert mutant.new != mutant.old
    assert all((ROOT.parent / name.partition("::")[0]).is_file() for name in mutant.named)
