"""The README of the contracts names tests: each of them is there, and every attack and case has one."""

import re

import pytest

from tests.architecture.test_arrows import ROOT

README = (ROOT / "keeper/protocols/options/contracts/README.md").read_text()
NAMES = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^(?:async )?def (test_\w+)", file.read_text(), re.MULTILINE)
}
# A name, or its beginning with "…"; "`…_end`" goes on with the letters and digits of the one before it.
QUOTED = re.findall(r"`(test_\w+?)(…?)`", README)
FILES = re.findall(r"`((?:tests/)[\w/]+\.py)`", README)


@pytest.mark.parametrize("name", sorted({name + more for name, more in QUOTED}))
def test_a_test_that_the_readme_names_is_there(name: str) -> None:
    if name.endswith("…"):
        assert [one for one in NAMES if one.startswith(name[:-1])], name
    else:
        assert name in NAMES


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`…_(\w+)`", README))))
def test_the_end_of_a_name_belongs_to_a_test(name: str) -> None:
    assert [one for one in NAMES if one.endswith(name)], name


@pytest.mark.parametrize("file", sorted(set(FILES)))
def test_a_file_that_the_readme_names_is_there(file: str) -> None:
    assert (ROOT / file).is_file()


def test_every_attack_has_a_test_of_its_own() -> None:
    table = README[README.index("## Attacks") : README.index("## Cases of section 5: auction")]
    told = set(re.findall(r"`test_(\d\d)_", table))
    assert told == {f"{n:02}" for n in range(1, 21)}


def test_every_case_has_a_row() -> None:
    counts = {"O": 12, "A": 14, "S": 6, "R": 6, "G": 3, "F": 11, "M": 8, "P": 5, "K": 10}
    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("| ")]
    told = {case for row in rows for case in re.findall(r"\b[OASRGFMPK]\d+\b", row)}
    assert {f"{letter}{n}" for letter, count in counts.items() for n in range(1, count + 1)} - told == set()
