"""Portfolio files as trees, small enough that their margin can be found by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keeper.margin.rules.engine import assess
from keeper.margin.rules.reading import read
from keeper.margin.rules.result import Result

YEAR = 31_536_000
OFF: Mapping[str, Any] = {  # every charge and factor of a rule set away, for tests of one of them
    "factor": {"mm": 1, "im": 1},
    "perp": {"mm": 0, "extra": 0},
    "naked": {"mm": 0, "extra": 0},
    "gross": {"mm": 0, "extra": 0},
    "haircut": {"mm": 0, "extra": 0},
    "discount": None,
    "basis": None,
    "size": None,
    "peg": None,
    "confidence": {name: {"rate": 0} for name in ("perp", "option", "collateral")},
}


def expiry(seconds: float = YEAR, **said: Any) -> dict[str, Any]:
    """A forward of 2,000 and no volatility, so that options are worth their intrinsic value."""
    return {"seconds": seconds, "forward": 2000, "vol": 0, **said}


def option(kind: str, strike: float, size: float, **said: Any) -> dict[str, Any]:
    return {"expiry": "e", "type": kind, "strike": strike, "size": size, **said}


def tree(rules: str, parameters: Mapping[str, Any] | None = None, **said: Any) -> dict[str, Any]:
    """``feed``, ``expiries``, ``stable`` say what differs in the feeds; everything else is portfolio."""
    feed = {"spot": 2000, "expiries": said.pop("expiries", {"e": expiry()}), **said.pop("feed", {})}
    feeds = {"stable": said.pop("stable", 1), "underlyings": {"ETH": feed}}
    return {"rules": rules, "parameters": dict(parameters or {}), "feeds": feeds, "portfolio": said}


def assessed(rules: str, parameters: Mapping[str, Any] | None = None, **said: Any) -> Result:
    return of(tree(rules, parameters, **said))


def of(written: Any) -> Result:
    rules, book = read(written)
    return assess(book, rules)


def line(result: Result, start: str) -> tuple[float, float]:
    """(maintenance, initial) of the requirement whose name starts so; zeros when there is none."""
    found = [(one.mm, one.im) for one in result.requirements if one.what.startswith(start)]
    return found[0] if found else (0.0, 0.0)


def profits(result: Result) -> dict[str, float]:
    return dict(result.scans[0].pnl)
