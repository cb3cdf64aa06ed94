"""``keeper scan --next`` and ``keeper stress`` as an operator runs them."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from keeper.cli import scan, stress
from keeper.cli.exit import Usage
from tests.worlds.market import Scene, crash

pytestmark = pytest.mark.chain


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with crash(tmp_path_factory.mktemp("ahead"), 20, accounts=20) as found:
        yield found


def args(**more: object) -> Namespace:
    asked = dict.fromkeys(("hours", "sigma", "jumps", "jump", "spread", "weight", "out", "limit"))
    return Namespace(verb="x", **{"json": True, "next": False, **asked, **more})


def test_scan_next_says_who_and_how_soon(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    assert asyncio.run(scan._scan(args(next=True, limit=5), scene.settings())) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["data"]["accounts"]
    assert len(rows) == 5
    assert [row["day"] for row in rows] == sorted((row["day"] for row in rows), reverse=True)
    for row in rows:
        assert row["falls"] is None or -1 < row["falls"] <= 0
        assert row["rises"] is None or row["rises"] >= 0
        assert {point["vols"] for point in row["surface"]} >= {1.0, 1.5}
    assert asyncio.run(scan._scan(args(next=True, limit=5, json=False), scene.settings())) == 0
    said = capsys.readouterr().out
    assert "sigmas away" in said and "time (median)" in said


def test_stress_writes_a_table_numbers_and_a_picture(
    scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asyncio.run(stress._stress(args(out=str(tmp_path), json=False, jump=-0.3), scene.settings())) == 0
    said, told = capsys.readouterr().out, json.loads((tmp_path / "stress.json").read_text())
    assert "underlying 0" in said and "one jump" in said
    assert [cascade["underlying"] for cascade in told["cascades"]] == [0, 1]
    worst = told["cascades"][0]["levels"][0]
    assert worst["accounts"] == sum(map(len, worst["by_generation"])) > 0 > worst["ends"]
    assert told["question"]["jump"] == -0.3
    assert worst["gamma_1pc"] and worst["amplification"] >= 1
    assert "gamma" in said and "amplification" in said
    picture = ElementTree.parse(tmp_path / "stress.svg").getroot()
    assert picture.tag.endswith("svg") and not picture.findall(".//{*}script")
    titles = [text.text or "" for text in picture.findall(".//{*}text") if text.get("font-size") == "15"]
    assert len(titles) == 5 and sum("gamma" in title for title in titles) == 2


def test_a_folder_that_cannot_be_written_is_a_mistake_of_usage(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(Usage, match="cannot write into"):
        stress.write(tmp_path / "taken", "{}", "<svg/>")


def test_a_question_that_makes_no_sense_is_a_mistake_of_usage() -> None:
    for asked, told in (
        ({"jump": -2.0}, "--jump must"),
        ({"hours": -1.0}, "--hours must"),
        ({"weight": 2.0}, "--weight"),
    ):
        with pytest.raises(Usage, match=told):
            stress.question(args(**asked))
