"""Every mutant can still be made: its text stands in its file, once. That it dies, ``tests.faults.mutants`` shows."""

from __future__ import annotations

import pytest

from tests.faults.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.what)
def test_the_text_is_found_once(mutant: Mutant) -> None:
    file = ROOT / (mutant.file if mutant.file.startswith("keeper/") else f"keeper/tx/{mutant.file}")
    assert file.read_text().count(mutant.old) == 1, f"{file}: write the mutant {mutant.what!r} anew"
    assert mutant.new != mutant.old
