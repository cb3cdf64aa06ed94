"""Every test that the table of references names is there."""

import ast
import re
from pathlib import Path

import pytest

FAULTS = Path(__file__).parent
NAMED = re.findall(r"\| (?:faults/)?(\w+\.py)::(\w+) \|", (FAULTS / "README.md").read_text())


def names_in(file: str) -> set[str]:
    folder = FAULTS if (FAULTS / file).is_file() else FAULTS.parent / "unit"
    tree = ast.parse((folder / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_table_is_read() -> None:
    rows = [line for line in (FAULTS / "README.md").read_text().splitlines() if "::" in line and line.startswith("|")]
    assert len(NAMED) == len(rows) > 60


@pytest.mark.parametrize(("file", "name"), sorted(set(NAMED)))
def test_what_the_table_names_is_there(file: str, name: str) -> None:
    assert name in names_in(file)
