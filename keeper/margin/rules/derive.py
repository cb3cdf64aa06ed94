"""Derive's published test cases as portfolio files: ``test/risk-managers/unit-tests`` of derivexyz/v2-core.

Three kinds, told apart by their keys: one case per file with parameters (version 2 of its portfolio margin), and many
cases per file in fixed point (version 1, and the standard rules), whose parameters are those of the tests around them.
A case becomes a tree as ``schema.py`` describes it, with the place that each value came from, so that a mistake is
shown in Derive's file. Keys that hold intermediate results are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from keeper.margin.rules.bind import Fault, Findings, Keys, Unreadable, dotted
from keeper.margin.rules.copying import Copy, number

UNDERLYING: Final = "underlying"  # portfolio margin has one, and its files do not name it
WEI: Final = 10**18

PARAMETERS: Final[Mapping[str, str]] = {
    "vol.up": "VolShock.VOLRANGEUP",
    "vol.down": "VolShock.VOLRANGEDOWN",
    "vol.short_power": "VolShock.SHORTTERMPOWER",
    "vol.long_power": "VolShock.LONGTERMPOWER",
    "vol.least_up": "VolShock.MIN_VOL_EVAL_SHOCKED",
    "skew.linear.base": "SkewShock.LINEAR_SCALE_CAP",
    "skew.linear.per_root": "SkewShock.LINEAR_CBASE",
    "skew.abs.base": "SkewShock.ABS_SCALE_CAP",
    "skew.abs.per_root": "SkewShock.ABS_CBASE",
    "skew.least_k": "SkewShock.MIN_K_STAR",
    "skew.width": "SkewShock.MIN_WIDTH_SCALE",
    "skew.vol": "SkewShock.VOL_PARAM_STATIC",
    "skew.vol_per_root": "SkewShock.VOL_PARAM_SCALE",
    "discount.long.base": "Margin.BASE_STATIC_DISCOUNT",
    "discount.long.rate": "Margin.LONG_RATE_MULTSCALE",
    "discount.long.add": "Margin.LONG_RATE_ADDSCALE",
    "discount.short.base": "Margin.BASE_STATIC_DISCOUNT_NEG",
    "discount.short.rate": "Margin.SHORT_RATE_MULTSCALE",
    "discount.short.add": "Margin.SHORT_RATE_ADDSCALE",
    "basis.up": "BasisContingency.SCENARIO_SPOT_UP",
    "basis.down": "BasisContingency.SCENARIO_SPOT_DOWN",
    "basis.add": "BasisContingency.BASIS_CONT_ADD_FACTOR",
    "basis.mult": "BasisContingency.BASIS_CONT_MULT_FACTOR",
    "factor.mm": "Margin.MM_LOSS_FACTOR",
    "factor.im": "Margin.IM_LOSS_FACTOR",
    "perp.mm": "OtherContingency.MM_PERP_PERCENT",
    "perp.extra": "OtherContingency.IM_PERP_PERCENT",
    "naked.mm": "OtherContingency.MM_OPTION_PERCENT",
    "naked.extra": "OtherContingency.IM_OPTION_PERCENT",
    "peg.threshold": "OtherContingency.PEG_LOSS_THRESHOLD",
    "peg.factor": "OtherContingency.PEG_LOSS_FACTOR",
    **{f"confidence.{one}.threshold": "OtherContingency.CONF_THRESHOLD" for one in ("perp", "option", "collateral")},
    **{f"confidence.{one}.rate": "OtherContingency.CONF_MARGIN" for one in ("perp", "option", "collateral")},
}
DIRECTIONS: Final = {"Up": "up", "Down": "down", "None": "none", "LINEAR": "linear", "ABS": "abs"}
COLLATERAL: Final = {
    "amount": "Amount",
    "price": "Price",
    "confidence": "Confidence",
    "risk_cancelling": "IsRiskCancelling",
    "haircut.mm": "MMHaircut",
    "haircut.extra": "IMHaircut",
}
SVI: Final = ("a", "b", "rho", "m", "sigma", "forward", "tau")  # in the order of SVIparam
STANDARD: Final = {
    "haircut": {"mm": 0.9}
}  # TestStandardManager_Cases.t.sol: a tenth of the value of base assets counts
NEAR: Final = 3600  # seconds; from then on the forward of the standard rules' cases is the settlement price
MARKETS: Final = ("ETH", "BTC")
CALL: Final = {1: "call", 0: "put"}  # true and false too


@dataclass(frozen=True, slots=True)
class Case:
    """``places``: where in Derive's file what stands in ``tree`` came from. ``published``: its two margins."""

    name: str
    tree: Mapping[str, Any]
    places: Mapping[Keys, Keys]
    published: tuple[float, float] | None  # maintenance, initial

    def at(self, fault: Fault) -> Fault:
        """A fault of the tree as one of Derive's file."""
        for length in range(len(fault.keys), -1, -1):
            if (there := self.places.get(fault.keys[:length])) is not None:
                within = dotted(fault.keys[length:]) + " " if fault.keys[length:] else ""
                return Fault(there, within + fault.what, fault.help, fault.value, fault.missing)
        return fault


def cases(tree: Any) -> tuple[Case, ...]:
    """Every case of one of Derive's files; none when it is no such file. Raises Unreadable."""
    if not isinstance(tree, dict):
        return ()
    if "Scenario" in tree:
        return (_case("", tree, ()),)
    every = {name: one for name, one in tree.items() if isinstance(one, dict) and "Scenario" in one}
    if len(every) < len(tree):
        return ()
    found = Findings()
    made = [found.keep(partial(_case, name, one, (name,))) for name, one in every.items()]
    if found.faults:
        raise Unreadable(found.faults)
    return tuple(one for one in made if one)


def _case(name: str, said: Mapping[str, Any], at: Keys) -> Case:
    copy = Copy(said, at)
    scenario = said["Scenario"] if isinstance(said["Scenario"], dict) else {}
    kind = _standard if "OptionUnderlying" in scenario else _version_1 if "OptionExpiries" in scenario else _version_2
    published = RESULTS[kind]
    kind(copy)
    if copy.faults:
        raise Unreadable(copy.faults)
    return Case(name, copy.tree, copy.places, _published(said.get("Result"), *published))


def _published(result: Any, mm: str, im: str, unit: int) -> tuple[float, float] | None:
    found = [result.get(key) for key in (mm, im)] if isinstance(result, dict) else []
    numbers = [one / unit for one in map(number, found) if isinstance(one, int | float)]
    return (numbers[0], numbers[1]) if len(numbers) == 2 else None


# ─── version 2: one case, with its parameters ─────────────────────────────────────────────────────


def _version_2(copy: Copy) -> None:
    copy.tree["rules"] = "pmrm2"
    _parameters(copy)
    market: Keys = ("feeds", "underlyings", UNDERLYING)
    _market_2(copy, market)
    copy.move(("portfolio", "cash"), "Scenario", "Cash")
    for index in range(len(copy.elements("Scenario", "OptionFeeds"))):
        _feed_2(copy, market, index)
    for index in range(len(copy.elements("Scenario", "Options"))):
        _option_2(copy, index)
    for index in range(len(copy.elements("Scenario", "Collaterals"))):
        _collateral_2(copy, index)


def _parameters(copy: Copy) -> None:
    for ours, theirs in PARAMETERS.items():
        copy.move(("parameters", *ours.split(".")), "Parameters", *theirs.split("."))
    copy.move(("parameters", "vol", "shortest"), "Parameters", "VolShock", "DTE_FLOOR", make=_days)
    for index in range(len(copy.elements("Parameters", "Scenarios"))):
        _scenario(copy, ("parameters", "scenarios", index), ("Parameters", "Scenarios", index))


def _scenario(copy: Copy, ours: Keys, theirs: Keys) -> None:
    copy.put(ours, {}, *theirs)
    copy.move((*ours, "spot"), *theirs, "SpotShock")
    copy.word((*ours, "vol"), DIRECTIONS, *theirs, "VolShockDirection")
    copy.move((*ours, "weight"), *theirs, "DampeningFactor")


def _days(days: float) -> float:
    return days * 86_400


def _market_2(copy: Copy, market: Keys) -> None:
    copy.put(market, {}, "Scenario")
    copy.move(("feeds", "stable"), "Scenario", "StablePrice")
    copy.move((*market, "spot"), "Scenario", "SpotPrice")
    copy.move((*market, "confidence"), "Scenario", "SpotConfidence")
    if number(copy.get("Scenario", "NumPerps")):
        copy.move((*market, "perp", "price"), "Scenario", "PerpPrice")
        copy.move((*market, "perp", "confidence"), "Scenario", "PerpConfidence")
        copy.put(("portfolio", "perps", 0), {}, "Scenario", "NumPerps")
        copy.move(("portfolio", "perps", 0, "size"), "Scenario", "NumPerps")
        copy.move(("portfolio", "perps", 0, "pnl"), "Scenario", "UnrealisedPerpPNL")
        copy.move(("portfolio", "perps", 0, "funding"), "Scenario", "UnrealisedFunding")


def _feed_2(copy: Copy, market: Keys, index: int) -> None:
    theirs = ("Scenario", "OptionFeeds", index)
    ours = (*market, "expiries", _name(copy.get(*theirs, "FeedExpiry")))
    if ours in copy.places:
        return copy.fault((*theirs, "FeedExpiry"), "stands here twice")
    copy.put(ours, {}, *theirs)
    seconds = copy.move((*ours, "seconds"), *theirs, "FeedExpiry")
    copy.move((*ours, "forward"), *theirs, "Forward")
    if isinstance(seconds, int | float) and seconds <= 0:
        copy.move((*ours, "settlement"), *theirs, "Forward")
    copy.move((*ours, "forward_confidence"), *theirs, "ForwardConfidence")
    copy.move((*ours, "rate"), *theirs, "Rate")
    copy.move((*ours, "rate_confidence"), *theirs, "RateConfidence")
    copy.move((*ours, "vol_confidence"), *theirs, "OptionVolConfidences")
    copy.put((*ours, "svi"), {}, *theirs, "SVIparam")
    for position, name in enumerate(SVI):
        copy.move((*ours, "svi", name), *theirs, "SVIparam", position)
    return None


def _option_2(copy: Copy, index: int) -> None:
    ours: Keys = ("portfolio", "options", index)
    theirs = ("Scenario", "Options", index)
    copy.put(ours, {}, *theirs)
    copy.put((*ours, "expiry"), _name(copy.get(*theirs, "Expiry")), *theirs, "Expiry")
    copy.word((*ours, "type"), CALL, *theirs, "IsCall")
    copy.move((*ours, "strike"), *theirs, "Strike")
    copy.move((*ours, "size"), *theirs, "Amount")


def _collateral_2(copy: Copy, index: int) -> None:
    ours: Keys = ("portfolio", "collateral", index)
    theirs = ("Scenario", "Collaterals", index)
    copy.put(ours, {}, *theirs)
    copy.put((*ours, "asset"), copy.get(*theirs, "Name"), *theirs, "Name")
    for name, there in COLLATERAL.items():
        copy.move((*ours, *name.split(".")), *theirs, there)


def _name(seconds: Any) -> str:
    """An expiry is named by the seconds that it has left."""
    said = number(seconds)
    return f"{said:.15g}" if isinstance(said, int | float) else str(said)


# ─── version 1, and the standard rules: lists side by side, in fixed point ────────────────────────


def _version_1(copy: Copy) -> None:
    copy.tree["rules"] = "pmrm1"
    market: Keys = ("feeds", "underlyings", UNDERLYING)
    copy.put(market, {}, "Scenario")
    _fixed(copy, {("feeds", "stable"): "StablePrice", ("portfolio", "cash"): "Cash"})
    _fixed(copy, {(*market, "spot"): "SpotPrice", (*market, "confidence"): "SpotConfidence"})
    _fixed(copy, {(*market, "perp", "price"): "PerpPrice", (*market, "perp", "confidence"): "PerpConfidence"})
    perp: Keys = ("portfolio", "perps", 0)
    copy.put(perp, {}, "Scenario", "Perps")
    _fixed(copy, {(*perp, "size"): "Perps", (*perp, "pnl"): "UnrealisedPerpPNL"})
    _fixed(copy, {(*perp, "funding"): "UnrealisedFunding"})
    copy.put(("portfolio", "collateral", 0), {"asset": "base"}, "Scenario", "Base")
    _fixed(copy, {("portfolio", "collateral", 0, "amount"): "Base"})
    split = bool(copy.elements("Scenario", "ForwardsFixed"))
    forwards = ("ForwardsFixed", "ForwardsVariable") if split else ("Forwards",)
    for row in range(copy.columns("FeedExpiries", *forwards, "ForwardConfidences", "Rates", "RateConfidences")):
        _feed_1(copy, market, row, split)
    for row in range(copy.columns("OptionExpiries", *OPTION_LISTS)):
        _option_1(copy, row)


OPTION_LISTS: Final = ("OptionStrikes", "OptionIsCall", "OptionAmounts", "OptionVols", "OptionVolConfidences")


def _wei(value: float) -> float:
    return value / WEI


def _fixed(copy: Copy, table: Mapping[Keys, str], *rest: int) -> None:
    for ours, theirs in table.items():
        copy.move(ours, "Scenario", theirs, *rest, make=_wei)


def _feed_1(copy: Copy, market: Keys, row: int, split: bool) -> None:
    """The last row of an expiry counts, as it does for Derive's feeds."""
    ours = _expiry(copy, market, row)
    parts = {"fixed": "ForwardsFixed", "variable": "ForwardsVariable"}
    forwards: dict[Keys, str] = {(*ours, "forward", part): name for part, name in parts.items()}
    _fixed(copy, forwards if split else {(*ours, "forward"): "Forwards"}, row)
    _fixed(copy, {(*ours, "forward_confidence"): "ForwardConfidences", (*ours, "rate"): "Rates"}, row)
    _fixed(copy, {(*ours, "rate_confidence"): "RateConfidences"}, row)


def _expiry(copy: Copy, market: Keys, row: int) -> Keys:
    name = _name(copy.get("Scenario", "FeedExpiries", row))
    ours = (*market, "expiries", name)
    copy.tree["feeds"]["underlyings"][market[-1]].get("expiries", {}).pop(name, None)
    copy.put(ours, {}, "Scenario", "FeedExpiries", row)
    copy.move((*ours, "seconds"), "Scenario", "FeedExpiries", row)
    return ours


def _option_1(copy: Copy, row: int) -> None:
    ours: Keys = ("portfolio", "options", row)
    copy.put(ours, {}, "Scenario", "OptionStrikes", row)
    name = _name(copy.get("Scenario", "OptionExpiries", row))
    copy.put((*ours, "expiry"), name, "Scenario", "OptionExpiries", row)
    copy.word((*ours, "type"), CALL, "Scenario", "OptionIsCall", row)
    _fixed(copy, {(*ours, "strike"): "OptionStrikes", (*ours, "size"): "OptionAmounts"}, row)
    _fixed(copy, {(*ours, "vol"): "OptionVols", (*ours, "vol_confidence"): "OptionVolConfidences"}, row)


def _standard(copy: Copy) -> None:
    copy.tree |= {"rules": "srm", "parameters": STANDARD}
    _fixed(copy, {("feeds", "stable"): "USDCValue", ("portfolio", "cash"): "Cash"})
    for position, name in enumerate(MARKETS):
        _market_3(copy, name, position)
    options, feeds = ("OptionUnderlying", "OptionExpiries", *OPTION_LISTS), ("Forwards", "ForwardConfidences")
    for row in range(copy.columns("FeedExpiries", "OptionUnderlying", *feeds)):
        _feed_3(copy, row)
    for row in range(copy.columns(*options)):
        _option_1(copy, row)
        copy.move(("portfolio", "options", row, "underlying"), "Scenario", "OptionUnderlying", row)


def _market_3(copy: Copy, name: str, position: int) -> None:
    market: Keys = ("feeds", "underlyings", name)
    copy.put(market, {}, "Scenario", f"{name}SpotPrice")
    _fixed(copy, {(*market, "spot"): f"{name}SpotPrice"})
    _fixed(copy, {(*market, "perp", "price"): "PerpPrice"}, position)
    _fixed(copy, {(*market, "confidence"): "SpotPerpConfidences"}, position, 0)
    _fixed(copy, {(*market, "perp", "confidence"): "SpotPerpConfidences"}, position, 1)
    held = copy.tree["portfolio"].setdefault("collateral", [])
    base: Keys = ("portfolio", "collateral", len(held))
    copy.put(base, {"underlying": name, "asset": f"w{name}"}, "Scenario", f"w{name}")
    _fixed(copy, {(*base, "amount"): f"w{name}"})
    if size := copy.get("Scenario", f"Perps_{name}"):
        _perp_3(copy, name, size)


def _perp_3(copy: Copy, name: str, size: Any) -> None:
    held = copy.tree["portfolio"].setdefault("perps", [])
    perp: Keys = ("portfolio", "perps", len(held))
    copy.put(perp, {"underlying": name}, "Scenario", f"Perps_{name}")
    _fixed(copy, {(*perp, "size"): f"Perps_{name}", (*perp, "entry"): f"LastEntry{name}"})
    size = number(size)
    indices = [number(copy.get("Scenario", key)) for key in (f"{name}GlobalFundingIndex", f"Account{name}FundingIndex")]
    if all(isinstance(one, int | float) for one in (size, *indices)):
        funding = -size / WEI * (indices[0] - indices[1]) / WEI
        copy.put((*perp, "funding"), funding, "Scenario", f"{name}GlobalFundingIndex")


def _feed_3(copy: Copy, row: int) -> None:
    name = copy.get("Scenario", "OptionUnderlying", row)
    if name not in MARKETS:
        return copy.fault(("Scenario", "OptionUnderlying", row), f"must be one of {', '.join(MARKETS)}")
    ours = _expiry(copy, ("feeds", "underlyings", name), row)
    seconds = number(copy.get("Scenario", "FeedExpiries", row))
    if isinstance(seconds, int | float) and seconds < NEAR:
        _fixed(copy, {(*ours, "forward"): f"SettlementPrice{name}"})
    else:
        _fixed(copy, {(*ours, "forward"): "Forwards"}, row)
    return _fixed(copy, {(*ours, "forward_confidence"): "ForwardConfidences"}, row)


RESULTS: Final[Mapping[Callable[[Copy], None], tuple[str, str, int]]] = {
    _version_2: ("MM", "IM", 1),
    _version_1: ("MaintenanceMarginCalc", "InitialMarginCalc", WEI),
    _standard: ("realMM", "realIM", WEI),
}
