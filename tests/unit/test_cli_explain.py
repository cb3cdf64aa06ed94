"""``keeper explain`` shows every term that a decision was ranked by, each in its unit."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import pytest

from keeper.cli import explain
from keeper.cli.output import usd
from keeper.core import telling
from keeper.core.rivals import BINS, Odds
from keeper.core.scanner import later
from keeper.model import Costs, Key, Kind, Liquidate, Moment, Needs, Opportunity, Reason, Skip, Wait
from keeper.units import wad

COSTS = Costs(**{one.name: wad(i + 1) for i, one in enumerate(fields(Costs))})


def an_opportunity(protocol: str, **evidence: int) -> Opportunity:
    where = (b"x" * 24, protocol, Key("account", 5), Kind.LIQUIDATE, Moment(1, 1_000, 1))
    return Opportunity(*where, wad(1_000), COSTS, Needs(), None, chance=wad("0.25"), evidence=evidence)


def rows(decision: Any, protocol: str) -> dict[str, str]:
    told = {"decision": telling.said(decision)[0], **telling.decided(decision)}
    text = explain._decision(told, protocol, 1_000)
    return dict(re.findall(r"(?m)^\| (.*?) +\| +(\S.*?) +\|$", text))


def test_every_term_is_there_and_they_add_up() -> None:
    o = an_opportunity("options")
    shown = rows(Skip(o, Reason.BELOW_MIN_PROFIT), "options")
    for name in ("gain", "net", "expected", *(f"cost_{one.name}" for one in fields(Costs))):
        amount = {"gain": o.gain, "net": o.net, "expected": o.expected}.get(name, 0)
        amount = amount or -getattr(COSTS, name.removeprefix("cost_"), 0)
        assert shown[explain.LABELS.get(name, name)] == usd(amount), name
    assert shown[explain.LABELS["chance"]] == "25.00 %"
    assert o.expected == (o.net - 3 * COSTS.failure) // 4


def test_of_one_that_waits_the_time_and_what_is_expected_then_are_shown() -> None:
    class Then:
        def gain(self, at: int) -> int:
            return wad(2_000) if at >= 1_024 else 0

        def reaches(self, gain: int) -> int | None:
            return 1_024

    odds = Odds((0,) * (BINS + 1), wad(1_000), 0, 12, wad(1))
    waits = Wait(replace(an_opportunity("options"), curve=Then(), odds=odds), 1_024, Reason.AUCTION_PRICE_HIGH)
    shown = rows(waits, "options")
    assert shown[explain.LABELS["later"]] == usd(later(waits.opportunity, 1_024)) != "$0.00"
    told = {"decision": "wait", **telling.decided(waits)}
    assert "for 24 s until 1024" in explain._decision(told, "options", 1_000)


@pytest.mark.parametrize("protocol", ["options", "morpho_blue"])
def test_evidence_is_in_dollars_where_the_protocol_reckons_in_them(protocol: str) -> None:
    shown = rows(Liquidate(an_opportunity(protocol, price=3 * 10**27, displaces=wad(7)), wad(12)), protocol)
    assert shown["price"] == ("$3,000,000,000.00" if protocol == "options" else str(3 * 10**27))
    assert shown[explain.LABELS["floor"]] == "$12.00" and shown[explain.LABELS["displaces"]] == "$7.00"
