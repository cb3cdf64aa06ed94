"""Derive's published test cases: read as they are, equal to what they say, and mistakes shown in their own file."""

import json
from collections.abc import Callable
from copy import deepcopy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from keeper.margin.rules.bind import Fault, Unreadable
from keeper.margin.rules.derive import UNDERLYING, Case, cases
from keeper.margin.rules.reading import read
from tests.shared_data import folder
from tests.unit.margin_files import YEAR, of

WEI = 10**18

# ─── the published cases ──────────────────────────────────────────────────────────────────────────

PUBLISHED = folder("vectors", "derive")
SETS = [
    ("PMRM_2/portfolio_cases/*.json", 139),
    ("PMRM/testAndVerifyScenarios.json", 21),
    ("StandardManager/test-cases.json", 28),
]


@pytest.mark.skipif(PUBLISHED is None, reason="shared/data/vectors/derive, Derive's published cases, is absent")
@pytest.mark.parametrize(("pattern", "count"), SETS)
def test_every_published_case_is_equal_to_1e_12(pattern: str, count: int) -> None:
    every = [one for file in sorted(Path(str(PUBLISHED)).glob(pattern)) for one in cases(json.loads(file.read_text()))]
    assert len(every) == count
    for one in every:
        result = of(one.tree)
        assert (result.maintenance, result.initial) == pytest.approx(one.published, rel=1e-12, abs=1e-9), one.name


# ─── version 2 ────────────────────────────────────────────────────────────────────────────────────

PARAMETERS: dict[str, Any] = {
    "Scenarios": [
        {"SpotShock": 1.1, "VolShockDirection": "Up", "DampeningFactor": 1},
        {"SpotShock": 1, "VolShockDirection": "LINEAR", "DampeningFactor": 0.5},
    ],
    "VolShock": {
        "VOLRANGEUP": 0.5,
        "VOLRANGEDOWN": 0.3,
        "SHORTTERMPOWER": 0.3,
        "LONGTERMPOWER": 0.13,
        "DTE_FLOOR": 2.0,
        "MIN_VOL_EVAL_SHOCKED": 0.4,
    },
    "SkewShock": {
        "LINEAR_SCALE_CAP": 0.25,
        "LINEAR_CBASE": -0.1,
        "ABS_SCALE_CAP": 0.2,
        "ABS_CBASE": -0.05,
        "MIN_K_STAR": 0.01,
        "MIN_WIDTH_SCALE": 4.0,
        "VOL_PARAM_STATIC": 0.6,
        "VOL_PARAM_SCALE": -0.1,
    },
    "Margin": {
        "MM_LOSS_FACTOR": 0.8,
        "IM_LOSS_FACTOR": 1.0,
        "LONG_RATE_MULTSCALE": 0.25,
        "LONG_RATE_ADDSCALE": 0.12,
        "BASE_STATIC_DISCOUNT": 0.95,
        "SHORT_RATE_MULTSCALE": 0.5,
        "SHORT_RATE_ADDSCALE": 0.08,
        "BASE_STATIC_DISCOUNT_NEG": 1.04,
    },
    "BasisContingency": {
        "SCENARIO_SPOT_UP": 1.045,
        "SCENARIO_SPOT_DOWN": 0.955,
        "BASIS_CONT_ADD_FACTOR": 0.5,
        "BASIS_CONT_MULT_FACTOR": 2.0,
    },
    "OtherContingency": {
        "PEG_LOSS_THRESHOLD": 0.98,
        "PEG_LOSS_FACTOR": 2.0,
        "CONF_THRESHOLD": 0.55,
        "CONF_MARGIN": 1.0,
        "MM_PERP_PERCENT": 0.03,
        "IM_PERP_PERCENT": 0.01,
        "MM_OPTION_PERCENT": 0.003,
        "IM_OPTION_PERCENT": 0.002,
    },
}
FEED = {
    "FeedExpiry": 1200,
    "Forward": 2000.0,
    "ForwardConfidence": 0.9,
    "Rate": 0.15,
    "RateConfidence": 0.8,
    "SVIparam": ["0.0076", "0.0567", "-0.55", "-0.0633", "0.0483", 2000.0, "0.0252"],
    "OptionVolConfidences": 0.5,
}
COLLATERAL = {
    "Name": "WEETH",
    "Amount": 2.0,
    "Price": 2100.0,
    "Confidence": 0.7,
    "IsRiskCancelling": True,
    "MMHaircut": 0.05,
    "IMHaircut": 0.02,
}
VERSION_2: dict[str, Any] = {
    "Scenario": {
        "Cash": 100,
        "Collaterals": [COLLATERAL],
        "SpotPrice": 1990.0,
        "SpotConfidence": 1.0,
        "NumPerps": -3,
        "PerpPrice": 2001.0,
        "PerpConfidence": 0.6,
        "UnrealisedPerpPNL": 7.0,
        "UnrealisedFunding": -1.5,
        "StablePrice": 0.97,
        "Options": [
            {"Expiry": 1200, "Strike": 2100.0, "IsCall": 1, "Amount": -2.0, "MarkVol": "not read"},
            {"Expiry": 1200, "Strike": 1900.0, "IsCall": 0, "Amount": 1.0},
        ],
        "OptionFeeds": [FEED],
    },
    "Parameters": PARAMETERS,
    "Result": {"MM": -12.5, "IM": -20},
}
SAME: dict[str, Any] = {  # by hand
    "rules": "pmrm2",
    "parameters": {
        "scenarios": [{"spot": 1.1, "vol": "up", "weight": 1}, {"spot": 1, "vol": "linear", "weight": 0.5}],
        "vol": {
            "up": 0.5,
            "down": 0.3,
            "short_power": 0.3,
            "long_power": 0.13,
            "shortest": 172_800,
            "least_up": 0.4,
        },
        "skew": {
            "linear": {"base": 0.25, "per_root": -0.1},
            "abs": {"base": 0.2, "per_root": -0.05},
            "least_k": 0.01,
            "width": 4,
            "vol": 0.6,
            "vol_per_root": -0.1,
        },
        "factor": {"mm": 0.8, "im": 1},
        "discount": {
            "long": {"base": 0.95, "rate": 0.25, "add": 0.12},
            "short": {"base": 1.04, "rate": 0.5, "add": 0.08},
        },
        "basis": {"up": 1.045, "down": 0.955, "add": 0.5, "mult": 2},
        "peg": {"threshold": 0.98, "factor": 2},
        "confidence": {one: {"threshold": 0.55, "rate": 1} for one in ("perp", "option", "collateral")},
        "perp": {"mm": 0.03, "extra": 0.01},
        "naked": {"mm": 0.003, "extra": 0.002},
    },
    "feeds": {
        "stable": 0.97,
        "underlyings": {
            UNDERLYING: {
                "spot": 1990,
                "confidence": 1,
                "perp": {"price": 2001, "confidence": 0.6},
                "expiries": {
                    "1200": {
                        "seconds": 1200,
                        "forward": 2000,
                        "forward_confidence": 0.9,
                        "rate": 0.15,
                        "rate_confidence": 0.8,
                        "vol_confidence": 0.5,
                        "svi": {
                            "a": 0.0076,
                            "b": 0.0567,
                            "rho": -0.55,
                            "m": -0.0633,
                            "sigma": 0.0483,
                            "forward": 2000,
                            "tau": 0.0252,
                        },
                    }
                },
            }
        },
    },
    "portfolio": {
        "cash": 100,
        "perps": [{"size": -3, "pnl": 7, "funding": -1.5}],
        "options": [
            {"expiry": "1200", "type": "call", "strike": 2100, "size": -2},
            {"expiry": "1200", "type": "put", "strike": 1900, "size": 1},
        ],
        "collateral": [
            {
                "asset": "WEETH",
                "amount": 2,
                "price": 2100,
                "confidence": 0.7,
                "risk_cancelling": True,
                "haircut": {"mm": 0.05, "extra": 0.02},
            }
        ],
    },
}


def only(written: Any) -> Case:
    (found,) = cases(written)
    return found


def test_a_case_of_version_2_is_the_portfolio_that_one_would_write() -> None:
    found = only(VERSION_2)
    assert (found.tree, found.published) == (SAME, (-12.5, -20))


def test_an_expired_series_settles_at_its_forward() -> None:
    written = deepcopy(VERSION_2)
    feed, options = written["Scenario"]["OptionFeeds"][0], written["Scenario"]["Options"]
    feed["FeedExpiry"] = options[0]["Expiry"] = options[1]["Expiry"] = 0
    result = of(only(written).tree)
    assert {one.what: one.mm for one in result.marks}[f"options {UNDERLYING} 0"] == 0


def test_no_perps_need_no_price() -> None:
    written = deepcopy(VERSION_2)
    written["Scenario"] |= {"NumPerps": 0, "PerpPrice": 0, "PerpConfidence": 0}
    assert of(only(written).tree).maintenance > of(SAME).maintenance


# ─── lists side by side ───────────────────────────────────────────────────────────────────────────


def wei(*values: float) -> list[int]:
    return [int(Decimal(str(one)) * WEI) for one in values]


LISTS: dict[str, Any] = {
    "OptionExpiries": [YEAR, YEAR],
    "OptionStrikes": wei(1500, 1600),
    "OptionIsCall": [1, 0],
    "OptionAmounts": wei(-1, 2),
    "OptionVols": wei(0.5, 0.6),
    "OptionVolConfidences": wei(1, 0.3),
    "Cash": 25 * WEI,
    "FeedExpiries": [YEAR, YEAR],
    "Forwards": wei(9, 1500),
    "ForwardConfidences": wei(0, 0.9),
}
VERSION_1: dict[str, Any] = {
    "Test1": {
        "Scenario": {
            **LISTS,
            "Perps": 2 * WEI,
            "Base": 3 * WEI,
            "SpotPrice": 1490 * WEI,
            "SpotConfidence": WEI,
            "PerpPrice": 1501 * WEI,
            "PerpConfidence": WEI // 2,
            "ForwardsFixed": wei(0, 100),
            "ForwardsVariable": wei(9, 1400),
            "Rates": wei(0, 0.03),
            "RateConfidences": wei(0, 0.8),
            "StablePrice": WEI,
            "UnrealisedPerpPNL": -5 * WEI,
            "UnrealisedFunding": WEI,
        },
        "Result": {"MaintenanceMarginCalc": -WEI, "InitialMarginCalc": -2 * WEI},
    }
}
STANDARD: dict[str, Any] = {
    "Test1": {
        "Scenario": {
            **LISTS,
            "OptionUnderlying": ["ETH", "ETH"],
            "Perps_ETH": 0,
            "Perps_BTC": -WEI,
            "wETH": 0,
            "wBTC": WEI // 2,
            "LastEntryETH": None,
            "LastEntryBTC": 28_000 * WEI,
            "ETHGlobalFundingIndex": 0,
            "BTCGlobalFundingIndex": 7 * WEI,
            "AccountETHFundingIndex": None,
            "AccountBTCFundingIndex": 4 * WEI,
            "ETHSpotPrice": 1490 * WEI,
            "BTCSpotPrice": 28_100 * WEI,
            "SpotPerpConfidences": [wei(1, 0.9), wei(0.8, 0.7)],
            "PerpPrice": wei(1501, 28_200),
            "SettlementPriceETH": 1234 * WEI,
            "SettlementPriceBTC": 0,
            "USDCValue": WEI,
        },
        "Result": {"realMM": -WEI, "realIM": 3e18},
    },
    "Test2": {"Scenario": {}},
}
OPTIONS = [
    {"expiry": f"{YEAR}", "type": "call", "strike": 1500, "size": -1, "vol": 0.5, "vol_confidence": 1},
    {"expiry": f"{YEAR}", "type": "put", "strike": 1600, "size": 2, "vol": 0.6, "vol_confidence": 0.3},
]


def test_a_case_of_version_1_is_in_18_decimals_and_the_last_row_of_an_expiry_counts() -> None:
    found = only(VERSION_1)
    market = found.tree["feeds"]["underlyings"][UNDERLYING]
    assert (found.name, found.tree["rules"], found.published) == ("Test1", "pmrm1", (-1, -2))
    assert found.tree["portfolio"] == {
        "cash": 25,
        "perps": [{"size": 2, "pnl": -5, "funding": 1}],
        "collateral": [{"asset": "base", "amount": 3}],
        "options": OPTIONS,
    }
    assert market["perp"] == {"price": 1501, "confidence": 0.5}
    assert market["expiries"] == {
        f"{YEAR}": {
            "seconds": YEAR,
            "forward": {"fixed": 100, "variable": 1400},
            "forward_confidence": 0.9,
            "rate": 0.03,
            "rate_confidence": 0.8,
        }
    }


def test_a_case_of_the_standard_rules_has_two_markets() -> None:
    written = {"Test1": STANDARD["Test1"]}
    found = only(written)
    assert (found.tree["parameters"], found.published) == ({"haircut": {"mm": 0.9}}, (-1, 3))
    assert found.tree["portfolio"] == {
        "cash": 25,
        "collateral": [
            {"underlying": "ETH", "asset": "wETH", "amount": 0},
            {"underlying": "BTC", "asset": "wBTC", "amount": 0.5},
        ],
        "perps": [{"underlying": "BTC", "size": -1, "entry": 28_000, "funding": 3}],
        "options": [{**one, "underlying": "ETH"} for one in OPTIONS],
    }
    assert found.tree["feeds"]["underlyings"]["BTC"] == {
        "spot": 28_100,
        "confidence": 0.8,
        "perp": {"price": 28_200, "confidence": 0.7},
    }


def test_the_forward_of_a_standard_case_in_its_last_hour_is_the_settlement_price() -> None:
    written = deepcopy({"Test1": STANDARD["Test1"]})
    written["Test1"]["Scenario"] |= {"FeedExpiries": [3599, YEAR], "OptionExpiries": [3599, YEAR]}
    expiries = only(written).tree["feeds"]["underlyings"]["ETH"]["expiries"]
    assert {name: one["forward"] for name, one in expiries.items()} == {"3599": 1234, f"{YEAR}": 1500}


@pytest.mark.parametrize("written", [SAME, [], 3, {}, {"a": 1}, {"Test1": VERSION_1["Test1"], "note": "x"}])
def test_other_files_are_no_cases(written: Any) -> None:
    assert cases(written) == ()


# ─── mistakes ─────────────────────────────────────────────────────────────────────────────────────

Change = Callable[[dict[str, Any]], Any]
S = "Scenario"
WRONG: list[tuple[dict[str, Any], Change, tuple[str | int, ...], str]] = [
    (VERSION_2, lambda t: t[S].pop("SpotPrice"), (S,), 'needs "SpotPrice"'),
    (VERSION_2, lambda t: t.pop("Parameters"), (), 'needs "Parameters"'),
    (VERSION_2, lambda t: t["Parameters"]["Margin"].pop("MM_LOSS_FACTOR"), ("Parameters", "Margin"), "needs "),
    (VERSION_2, lambda t: t[S].update(SpotPrice=0), (S, "SpotPrice"), "must be above 0"),
    (VERSION_2, lambda t: t[S].update(SpotPrice="nan"), (S, "SpotPrice"), "must be finite"),
    (VERSION_2, lambda t: t[S].update(SpotPrice="many"), (S, "SpotPrice"), "needs a number, without quotes"),
    (VERSION_2, lambda t: t[S].update(Options=3), (S, "Options"), "needs a list in brackets"),
    (VERSION_2, lambda t: t[S]["Options"][1].update(IsCall=2), (S, "Options", 1, "IsCall"), "must be one of 1, 0"),
    (VERSION_2, lambda t: t[S]["Options"][1].update(IsCall=[]), (S, "Options", 1, "IsCall"), "must be one of 1, 0"),
    (VERSION_2, lambda t: t[S]["Options"][1].update(Expiry=9), (S, "Options", 1, "Expiry"), '"9" is no expiry of '),
    (VERSION_2, lambda t: t[S]["Options"][1].update(Strike=-1), (S, "Options", 1, "Strike"), "must not be negative"),
    (VERSION_2, lambda t: t[S]["OptionFeeds"].append(FEED), (S, "OptionFeeds", 1, "FeedExpiry"), "stands here twice"),
    (
        VERSION_2,
        lambda t: t[S]["OptionFeeds"][0]["SVIparam"].pop(),
        (S, "OptionFeeds", 0, "SVIparam"),
        'needs "6"',
    ),
    (
        VERSION_2,
        lambda t: t[S]["OptionFeeds"][0].update(SVIparam=["-1", 0, 0, 0, 0, 2000, 1]),
        (S, "OptionFeeds", 0, "SVIparam"),
        "has a negative variance",
    ),
    (
        VERSION_2,
        lambda t: t["Parameters"]["Scenarios"][0].update(VolShockDirection="up"),
        ("Parameters", "Scenarios", 0, "VolShockDirection"),
        "must be one of Up, Down, None, LINEAR, ABS",
    ),
    (
        VERSION_1,
        lambda t: t["Test1"][S]["OptionVols"].append(1),
        ("Test1", S, "OptionVols"),
        "has 3 values for the 2 of OptionExpiries",
    ),
    (
        VERSION_1,
        lambda t: t["Test1"][S].update(OptionVols=wei(0.5, -1)),
        ("Test1", S, "OptionVols", 1),
        "must not be negative",
    ),
    (VERSION_1, lambda t: t["Test1"][S].update(Base=-1), ("Test1", S, "Base"), "must not be negative"),
    (STANDARD, lambda t: t, ("Test2", S), 'needs "OptionFeeds"'),
    (
        {"Test1": STANDARD["Test1"]},
        lambda t: t["Test1"][S].update(OptionUnderlying=["ETH", "ETC"]),
        ("Test1", S, "OptionUnderlying", 1),
        "must be one of ETH, BTC",
    ),
    (
        {"Test1": STANDARD["Test1"]},
        lambda t: t["Test1"][S].update(LastEntryBTC=None),
        ("Test1", S, "LastEntryBTC"),
        "must not be null",
    ),
]


def faults(written: Any) -> list[Fault]:
    found: list[Fault] = []
    try:
        for one in cases(written):
            try:
                read(one.tree)
            except Unreadable as error:
                found += [one.at(fault) for fault in error.faults]
    except Unreadable as error:
        found += error.faults
    return found


@pytest.mark.parametrize("number", range(len(WRONG)))
def test_a_mistake_is_shown_in_derives_file(number: int) -> None:
    written, change, keys, what = WRONG[number]
    written = deepcopy(written)
    change(written)
    assert [one for one in faults(written) if one.keys == keys and what in one.what], faults(written)
