"""``keeper margin``: the examples, the answer as data and for people, and files that are wrong."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from keeper.cli.app import main
from keeper.cli.verbs import RULES
from keeper.margin.rules.parameters import Rules, Scenario, Size, Standard
from keeper.margin.rules.presets import PRESETS
from keeper.margin.rules.schema import Collateral, Expiry, Feed, File, Holdings, Option
from tests.unit.margin_files import expiry, option, tree
from tests.unit.test_margin_rules_derive import STANDARD, VERSION_1, VERSION_2

README = Path(__file__).parents[2] / "config" / "margin" / "README.md"
EXAMPLES = sorted((Path(__file__).parents[2] / "config" / "margin").glob("*.json"))
GOOD = tree("pmrm2", options=[option("call", 2000, -1)], cash=5_000, expiries={"e": expiry(vol=0.5)})


def written(folder: Path, content: Any) -> str:
    file = folder / "portfolio.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def said(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, Any]:
    code = main(["margin", *argv, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_every_rule_set_can_be_asked_for() -> None:
    assert set(RULES) == set(PRESETS)


def test_there_is_an_example_of_every_rule_set() -> None:
    assert {file.stem for file in EXAMPLES} == set(PRESETS)


@pytest.mark.parametrize("record", [Rules, Scenario, Standard, Size, File, Feed, Expiry, Holdings, Option, Collateral])
def test_every_key_is_explained(record: type[Any]) -> None:
    text = README.read_text()
    keys = [one.name for one in fields(record) if not one.metadata.get("given")]
    assert [key for key in keys if f"`{key}" not in text and f'"{key}"' not in text and f".{key}`" not in text] == []


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_the_lines_of_an_example_add_up(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, envelope = said(capsys, str(file))
    data = envelope["data"]
    assert (code, data["rules"], envelope["warnings"]) == (0, file.stem, [])
    for margin in ("maintenance", "initial"):
        lines = [one[margin] for one in (*data["marks"], *data["requirements"])]
        assert sum(lines) == pytest.approx(data[margin]["margin"], rel=1e-12, abs=1e-9)
        assert data["mark"] - data[margin]["requirement"] == pytest.approx(data[margin]["margin"], rel=1e-12, abs=1e-9)
    assert data["liquidatable"] == (data["maintenance"]["margin"] < 0)


@pytest.mark.parametrize("file", EXAMPLES, ids=[file.stem for file in EXAMPLES])
def test_people_see_every_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, envelope = said(capsys, str(file))
    assert main(["margin", str(file)]) == 0
    shown = capsys.readouterr().out
    for line in (*envelope["data"]["marks"], *envelope["data"]["requirements"]):
        assert line["what"] in shown


def test_other_rules_can_be_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, written(tmp_path, GOOD), "--rules", "srm")[1]["data"]["rules"] == "srm"


def test_numbers_keep_all_their_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cash = 1234567.0123456789
    _, envelope = said(capsys, written(tmp_path, {**GOOD, "portfolio": {"cash": cash}}))
    assert envelope["data"]["maintenance"]["margin"] == cash


# ─── Derive's files ───────────────────────────────────────────────────────────────────────────────


def test_one_of_derives_files_is_read_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, envelope = said(capsys, written(tmp_path, VERSION_2))
    assert (code, envelope["data"]["rules"]) == (0, "pmrm2")
    assert envelope["data"]["published"] == {"maintenance": -12.5, "initial": -20}


def test_a_file_of_many_cases_gives_them_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, {"A": VERSION_1["Test1"], "B": STANDARD["Test1"]})
    found = said(capsys, file)[1]["data"]["cases"]
    assert {name: one["rules"] for name, one in found.items()} == {"A": "pmrm1", "B": "srm"}
    assert said(capsys, file, "--case", "B")[1]["data"] == found["B"]
    assert main(["margin", file]) == 0
    assert capsys.readouterr().out.count("\n") == 4  # two rows and their heading


def test_a_case_that_the_file_has_not_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, envelope = said(capsys, written(tmp_path, VERSION_1), "--case", "Test2")
    assert (code, envelope["error"]["problems"][0]["message"]) == (3, 'the file has no case "Test2"')


def test_under_other_rules_a_case_has_their_parameters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = said(capsys, written(tmp_path, VERSION_2), "--rules", "pmrm1")[1]["data"]
    assert (data["factor"], data["published"]) == ({"maintenance": 1.0, "initial": 1.32}, None)


# ─── files that are wrong ─────────────────────────────────────────────────────────────────────────


def changed(old: str, new: str) -> str:
    text = json.dumps(GOOD, indent=1)
    assert old in text
    return text.replace(old, new, 1)


WRONG: list[tuple[str, str, str, str]] = [  # text, line, message, help
    (changed('"spot": 2000', '"spot": NaN'), '"spot": NaN', "not valid JSON: NaN is no JSON value", ""),
    (changed('"spot": 2000', '"spot": 0'), '"spot": 0', "feeds.underlyings.ETH.spot must be above 0", ""),
    (changed('"spot": 2000', '"spot": 1e30'), '"spot": 1e30', "feeds.underlyings.ETH.spot must lie between", ""),
    (changed('"spot": 2000', '"spot": 1e999'), '"spot": 1e999', "feeds.underlyings.ETH.spot must be finite", ""),
    (changed('"spot": 2000', '"spot": "2000"'), '"spot": "2000"', "needs a number, without quotes", ""),
    (changed('"spot": 2000', '"spot": 1, "spot": 2'), '"spot": 1, "spot": 2', 'JSON: "spot" stands here twice', ""),
    (changed('"vol": 0.5', '"vol": -0.5'), '"vol": -0.5', ".expiries.e.vol must not be negative", ""),
    (changed('"vol": 0.5', '"vol": true'), '"vol": true', ".expiries.e.vol needs a number", ""),
    (changed('"vol": 0.5', '"vols": 0.5'), '"vols": 0.5', "is no key that is known here", 'did you mean "vol"?'),
    (changed('"vol": 0.5', '"note": ""'), "   {", "portfolio.options[0] needs a volatility", '"vol" or "price"'),
    (changed(": 31536000", ": -9"), '"e": {', 'expiries.e has expired and needs "settlement"', "settle"),
    (changed('"expiry": "e"', '"expiry": "f"'), '"expiry": "f"', '"f" is no expiry of ETH', "known: e"),
    (changed('"size": -1', '"size": 1e30'), '"size": 1e30', "portfolio.options[0].size must lie between", ""),
    (changed('"size": -1', '"size": -1, "underlying": "ETX"'), "ETX", '"ETX" has no feed', "known: ETH"),
    (changed('"cash": 5000', '"cash": 5000,'), "}", "not valid JSON: a key in quotes was expected", ""),
    (changed('"pmrm2"', '"pmrm"'), '"pmrm"', "rules is no rule set", 'did you mean "pmrm'),
    ("", "", "not valid JSON: a value was expected", ""),
    ("[]", "[]", "the file needs an object in braces", ""),
    ("{}", "{}", 'the file needs "rules"', "one of"),
]


@pytest.mark.parametrize(("text", "line", "message", "help"), WRONG)
def test_a_mistake_is_shown_with_its_line_and_its_mending(
    text: str, line: str, message: str, help: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = written(tmp_path, text)
    code, envelope = said(capsys, file)
    problem = envelope["error"]["problems"][0]
    number = int(problem["at"].removeprefix(f"{file}:").split(":")[0])
    assert code == 3
    assert message in problem["message"]
    assert help in problem["help"]
    assert line in (text.splitlines() or [""])[number - 1]


def test_all_mistakes_are_shown_at_once_from_the_top_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (
        changed('"vol": 0.5', '"vol": -1').replace('"strike": 2000', '"strike": -1').replace('"size": -1', '"sise": 1')
    )
    problems = said(capsys, written(tmp_path, text))[1]["error"]["problems"]
    assert len(problems) == 4
    assert [one["message"].split()[0] for one in problems] == [
        "feeds.underlyings.ETH.expiries.e.vol",
        "portfolio.options[0]",
        "portfolio.options[0].strike",
        "portfolio.options[0].sise",
    ]


def test_a_file_that_is_not_there_is_said_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, envelope = said(capsys, str(tmp_path / "none.json"))
    assert (code, "no portfolio file" in envelope["error"]["problems"][0]["message"]) == (3, True)
    assert said(capsys, str(tmp_path))[0] == 3
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe{}")
    assert said(capsys, str(tmp_path / "binary.json"))[0] == 3
