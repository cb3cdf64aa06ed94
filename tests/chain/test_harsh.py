"""``keeper demo --harsh``: a gap, thin insurance and nobody who buys, so that the keeper takes every step there is."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from keeper.cli.demo import Demo
from keeper.cli.parser import parse
from keeper.errors import Misconfigured
from keeper.model import Kind

pytestmark = pytest.mark.chain
SALE = {Kind.FLAG, Kind.COMMIT, Kind.REVEAL, Kind.AWARD, Kind.TAKEOVER, Kind.QUOTE}  # public bids are every demo's
UNSOLD = {Kind.CURE, Kind.RESTART, Kind.CLOSE_OUT, Kind.DELEVERAGE, Kind.SOCIALISE}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the demo writes; it raises when the ledger is not the chain, to the wei."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("harsh"))
        args = parse(["demo", "--harsh", "--accounts", "12", "--seed", "21", "--quiet", "--json"])
        assert asyncio.run(Demo(args).run()) == 0
        told: dict[str, Any] = json.loads(Path("reports/demo-21/report.json").read_text())
        assert "legs closed in them" in Path("reports/demo-21/report.md").read_text()
        return told


def test_every_step_of_a_liquidation_is_taken_by_the_keeper(report: dict[str, Any]) -> None:
    assert {str(kind) for kind in SALE | UNSOLD} <= report["steps"].keys(), report["steps"]
    assert report["wrong"] == []


def test_the_market_is_measured_as_the_chain_tells_it(report: dict[str, Any]) -> None:
    m = report["measured"]
    steps = m["steps"]
    assert m["liquidated"] <= m["flagged"] <= steps["flagged"]
    assert steps["deleveraged"] >= steps["queue"] > 0 and steps["socialised"] > 0
    assert m["shared"] > 0 and m["fund"] > 0 and 0 <= m["saved"] < 1
    assert 0 < m["rho"][0] <= m["rho"][1] <= 0.5 and 0 < m["seconds"][0] <= m["seconds"][1]


def test_a_gap_is_a_path_of_its_own() -> None:
    with pytest.raises(Misconfigured, match="path of its own"):
        Demo(parse(["demo", "--harsh", "--path", "candles.csv"]))
