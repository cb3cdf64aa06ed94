"""What a scenario does, with numbers found by hand: at volatility 0 options are worth their intrinsic value."""

from math import exp, log, sqrt
from typing import Any

import pytest

from keeper.margin.rules.presets import PRESETS
from keeper.margin.rules.result import Result
from keeper.margin.rules.revalue import slope, worth
from tests.unit.margin_files import OFF, YEAR, assessed, expiry, line, of, option, profits, tree

DAY = 86_400


def under(scenarios: list[dict[str, Any]], parameters: dict[str, Any] | None = None, **said: Any) -> Result:
    return assessed("pmrm2", {**OFF, "scenarios": scenarios, **(parameters or {})}, **said)


def loss(scenario: dict[str, Any], parameters: dict[str, Any] | None = None, **said: Any) -> float:
    return under([scenario], parameters, **said).scans[0].pnl[0][1]


# ─── spot ─────────────────────────────────────────────────────────────────────────────────────────


def test_options_are_revalued_at_the_moved_forward() -> None:
    held = [option("call", 1900, -2), option("put", 1900, 1)]
    assert loss({"spot": 1.1}, options=held) == pytest.approx(-400, rel=1e-14)
    assert loss({"spot": 0.9}, options=held) == pytest.approx(2 * 100 + 100, rel=1e-14)


def test_only_the_variable_part_of_a_forward_moves() -> None:
    half = {"e": expiry(900)}
    assert loss({"spot": 1.1}, options=[option("call", 1900, -2)], expiries=half) == pytest.approx(-200, rel=1e-14)


def test_what_is_settled_does_not_move() -> None:
    settled = {"e": {"seconds": 0, "settlement": 2000}}
    assert loss({"spot": 1.1}, options=[option("call", 1900, -2)], expiries=settled) == 0


def test_a_perp_moves_at_its_own_price() -> None:
    perp = {"perp": {"price": 2100}}
    assert loss({"spot": 1.1}, perps=[{"size": -2}], feed=perp) == pytest.approx(-420, rel=1e-14)


def test_futures_and_spot_move_in_proportion() -> None:
    futures = [{"expiry": "e", "size": -2, "multiplier": 0.5, "pnl": 7}]
    assert loss({"spot": 1.1}, futures=futures) == pytest.approx(-200, rel=1e-14)
    assert loss({"spot": 0.9}, spot=[{"size": 3}]) == pytest.approx(-600, rel=1e-14)


def test_collateral_moves_when_it_cancels_risk() -> None:
    held = [{"amount": 3, "price": 1000, "risk_cancelling": True}, {"amount": 9, "price": 1000}]
    assert loss({"spot": 0.9}, collateral=held, stable=0.5) == pytest.approx(-600, rel=1e-14)


def test_the_weight_counts_for_everything() -> None:
    held: dict[str, Any] = {"options": [option("call", 1900, -2)], "perps": [{"size": -2}]}
    feed = {"perp": {"price": 2000}}
    assert loss({"spot": 1.1, "weight": 0.25}, feed=feed, **held) == pytest.approx(-200, rel=1e-14)


# ─── volatility ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("days", "g"), [(30, 1), (7.5, 4**0.3), (0.5, 30**0.3), (0, 30**0.3), (60, 0.5**0.13)])
def test_short_expiries_are_shocked_more(days: float, g: float) -> None:
    assert slope(PRESETS["pmrm2"].vol, days * DAY) == pytest.approx(g, rel=1e-14)


@pytest.mark.parametrize(
    ("scenario", "parameters", "sigma"),
    [
        ({"vol": "none"}, {}, 0.6),
        ({"vol": "up"}, {"vol": {"up": 0.5}}, 0.9),
        ({"vol": "up"}, {"vol": {"up": 0.5, "least_up": 1.2}}, 1.2),
        ({"vol": "down"}, {"vol": {"down": 0.3}}, 0.42),
        ({"vol": "down"}, {"vol": {"down": 1.3}}, 0),
        ({"vol": "term", "by": -0.5}, {}, 0.3),
        ({"vol": "relative", "by": 0.25}, {}, 0.75),
        ({"vol": "relative", "by": -2}, {}, 0),
        ({"vol": "absolute", "by": 0.1}, {}, 0.7),
        ({"vol": "absolute", "by": -1}, {}, 0),
        ({"vol": "ranges", "by": 2}, {"ranges": {"*": {"vol": 0.1}}}, 0.8),
    ],
)
def test_volatility_is_shocked(scenario: dict[str, Any], parameters: dict[str, Any], sigma: float) -> None:
    held = {"options": [option("call", 2000, 1)], "expiries": {"e": expiry(30 * DAY, vol=0.6)}}
    assert loss(scenario, parameters, **held) == pytest.approx(call(2000, sigma, 30) - call(2000, 0.6, 30), abs=1e-10)


def call(strike: float, sigma: float, days: float = 365) -> float:
    return float(worth(True, 2000, strike, sigma * sqrt(days / 365))[0])


# ─── skew ─────────────────────────────────────────────────────────────────────────────────────────

SKEW = {"least_k": 0.1, "width": 0, "vol": 0, "vol_per_root": 0}


def skewed(kind: str, strike: float, cap: float = 0.15, per_root: float = 0, **skew: Any) -> float:
    """What a call over one year at 50 % loses in a skew scenario."""
    parameters = {"skew": {**SKEW, kind: {"base": cap, "per_root": per_root}, **skew}}
    return loss({"vol": kind}, parameters, options=[option("call", strike, 1)], expiries={"e": expiry(vol=0.5)})


def turned(strike: float, multiplier: float) -> Any:
    """What it loses when its volatility is multiplied, by whichever sign."""
    return pytest.approx(-abs(call(strike, 0.5 * multiplier) - call(strike, 0.5)), rel=1e-11, abs=1e-11)


@pytest.mark.parametrize(
    ("kind", "k", "cap", "multiplier"),
    [
        ("linear", 0.05, 0.15, 1.075),
        ("linear", 0.5, 0.15, 1.15),
        ("linear", -0.05, 0.15, 0.925),
        ("linear", -0.5, 0.15, 0.85),
        ("linear", 0, 0.15, 1),
        ("abs", -0.05, 0.15, 1.075),
        ("abs", -0.5, 0.15, 1.15),
        ("linear", 0.3, -0.15, 0.55),  # a cap below 0 bounds nothing to the right ...
        ("linear", 0.05, -0.15, 0.85),  # ... but is reached at once
        ("linear", -0.05, -0.15, 1.15),
        ("abs", -0.2, -0.15, 0.7),
        ("linear", 1, -0.15, 0),
    ],
)
def test_the_smile_turns_up_to_a_cap(kind: str, k: float, cap: float, multiplier: float) -> None:
    assert skewed(kind, 2000 * exp(k), cap) == turned(2000 * exp(k), multiplier)


def test_the_cap_and_its_reach_grow_with_the_root_of_time() -> None:
    strike = 2000 * exp(0.3)
    found = skewed("linear", strike, 0.1, 0.2, width=2, vol=0.1, vol_per_root=0.2)  # cap 0.3, k* 0.6
    assert found == turned(strike, 1.15)


def test_without_reach_the_cap_is_there_at_once() -> None:
    assert skewed("linear", 2020, least_k=0) == turned(2020, 1.15)
    assert skewed("linear", 2000, least_k=0) == turned(2000, 1)


def test_a_skew_is_a_loss_whichever_way_it_turns_and_leaves_spot_to_the_rest() -> None:
    parameters = {"skew": {**SKEW, "linear": {"base": 0.15, "per_root": 0}}}
    held = {"options": [option("call", 2000 * exp(0.5), 1)], "expiries": {"e": expiry(vol=0.5)}}
    long = loss({"vol": "linear"}, parameters, **held)
    assert long < 0
    both = loss({"vol": "linear", "spot": 0.9}, parameters, **held, spot=[{"size": 1}])
    assert both == pytest.approx(long - 200, rel=1e-14)


def test_every_expiry_loses_by_itself_in_a_skew() -> None:
    parameters = {"skew": {**SKEW, "linear": {"base": 0.15, "per_root": 0}}}
    expiries = {"e": expiry(vol=0.5), "f": expiry(vol=0.5)}
    against = [option("call", 3000, 1), option("call", 3000, -1, expiry="f")]
    alone = loss({"vol": "linear"}, parameters, options=against[:1], expiries=expiries)
    assert loss({"vol": "linear"}, parameters, options=against, expiries=expiries) == pytest.approx(2 * alone)


@pytest.mark.parametrize("strike", [0, 1e-18, 1e12])
def test_a_skew_bears_any_strike(strike: float) -> None:
    parameters = {"skew": {**SKEW, "linear": {"base": 0.15, "per_root": 0}}}
    held = {"options": [option("put", strike, -1)], "expiries": {"e": expiry(forward=0, vol=0.5)}}
    assert loss({"vol": "linear"}, parameters, **held) == 0


# ─── static discounts ─────────────────────────────────────────────────────────────────────────────

DISCOUNT = {"long": {"base": 0.9, "rate": 2, "add": 0.1}, "short": {"base": 1.05, "rate": 0.5, "add": 0.01}}


def test_a_long_value_is_discounted_and_a_short_one_raised() -> None:
    expiries = {"e": expiry(rate=0.2)}
    value, kept = 200 * exp(-0.2), 0.9 * exp(-0.5)
    long = loss({"spot": 1.05}, {"discount": DISCOUNT}, options=[option("call", 1900, 1)], expiries=expiries)
    assert long == pytest.approx(value * kept - 100 * exp(-0.2), rel=1e-14)
    short = loss({"spot": 1.05}, {"discount": DISCOUNT}, options=[option("call", 1900, -1)], expiries=expiries)
    assert short == pytest.approx(-value * 1.05 * exp(0.11) + 100 * exp(-0.2), rel=1e-14)


def test_a_short_value_is_raised_to_its_undiscounted_one_at_most() -> None:
    steep = {**DISCOUNT, "short": {"base": 2}}
    short = loss({"spot": 1}, {"discount": steep}, options=[option("call", 1900, -1)], expiries={"e": expiry(rate=0.2)})
    assert short == pytest.approx(-100 + 100 * exp(-0.2), rel=1e-14)


def test_the_discount_is_of_the_expiry_and_not_of_its_legs() -> None:
    held, even = [option("call", 1900, 1), option("call", 2000, -1)], {"base": 0.9, "rate": 0, "add": 0}
    assert loss({"spot": 1}, {"discount": {"long": even}}, options=held) == pytest.approx(-10, rel=1e-14)


# ─── together ─────────────────────────────────────────────────────────────────────────────────────


def test_the_basis_contingency_moves_every_expiry_its_worse_way() -> None:
    parameters = {"basis": {"up": 1.05, "down": 0.95, "add": 0.5, "mult": 2}}
    expiries = {"e": expiry(), "f": expiry(YEAR / 2)}
    held = [option("call", 2000, -1), option("call", 2000, 1, expiry="f"), option("put", 2100, 1, expiry="f")]
    result = under([{"spot": 1}], parameters, options=held, expiries=expiries)
    assert profits(result)["basis"] == pytest.approx(-100 * 2.5, rel=1e-13)
    assert result.scans[0].worst == "basis"
    assert result.scans[0].loss == pytest.approx(250, rel=1e-13)


def test_the_worst_scenario_sets_the_loss() -> None:
    result = under([{"spot": 1.1}, {"spot": 1.2, "name": "boom"}, {"spot": 0.9}], options=[option("call", 1900, -2)])
    assert (result.worst, result.scans[0].loss, result.requirement) == ("boom", 800, (800, 800))


def test_a_gain_in_every_scenario_is_no_loss() -> None:
    result = under([{"spot": 1.1}], options=[option("call", 1900, 2)])
    assert (result.worst, result.scans[0].loss, result.requirement) == ("none", 0, (0, 0))


def test_what_an_earlier_expiry_gains_does_not_pay_for_a_later_one_when_carried() -> None:
    expiries = {"e": expiry(100), "f": expiry(200)}
    gain_first = [option("call", 1900, 1), option("call", 1900, -1, expiry="f")]
    gain_last = [option("call", 1900, -1), option("call", 1900, 1, expiry="f")]
    carry = {"fold": "carry", "window": 0}
    assert loss({"spot": 1.1}, {"window": 0}, options=gain_first, expiries=expiries) == 0
    assert loss({"spot": 1.1}, carry, options=gain_first, expiries=expiries) == pytest.approx(-200, rel=1e-13)
    assert loss({"spot": 1.1}, carry, options=gain_last, expiries=expiries) == pytest.approx(0, abs=1e-9)


def test_collateral_comes_after_all_expiries_when_carried() -> None:
    held: dict[str, Any] = {"options": [option("call", 1900, 1)], "collateral": [{"amount": 1}]}
    assert loss({"spot": 1.1}, {"fold": "carry"}, **held) == pytest.approx(200, rel=1e-13)


def test_the_greeks_are_those_of_the_whole_book() -> None:
    expiries = {"e": expiry(vol=0.5, rate=0.1, forward={"fixed": 1000, "variable": 1000})}
    held: dict[str, Any] = {"options": [option("call", 2200, -2)], "perps": [{"size": 1}], "spot": [{"size": 3}]}
    greeks = under([{"spot": 1}], expiries=expiries, feed={"perp": {"price": 1000}}, **held).greeks[0]
    w, d = 0.5, exp(-0.1)
    d1 = log(2000 / 2200) / w + w / 2
    density = exp(-d1 * d1 / 2) / sqrt(2 * 3.141592653589793)
    assert greeks.delta == pytest.approx(-2 * d * worth(True, 2000, 2200, w)[1] * 0.5 + 0.5 + 3, rel=1e-12)
    assert greeks.gamma == pytest.approx(-2 * d * density / (2000 * w) * 0.25, rel=1e-12)
    assert greeks.vega == pytest.approx(-2 * d * 2000 * density, rel=1e-12)


def test_one_scenario_can_be_named() -> None:
    rules = PRESETS["pmrm2"]
    assert [one.title for one in rules.named("spot +18 %, vol up").scenarios] == ["spot +18 %, vol up"]


def test_every_scenario_of_every_rule_set_has_its_own_name() -> None:
    titles = [[one.title for one in rules.scenarios] for rules in PRESETS.values()]
    assert all(len(set(each)) == len(each) for each in titles)


def test_a_trusted_caller_is_checked_on_the_basis_scenarios_alone() -> None:
    basis = {"basis": {"up": 1.05, "down": 0.95, "add": 0, "mult": 0}, "factor": {"mm": 0.5, "im": 1}}
    result = under([{"spot": 2}], basis, options=[option("call", 2000, -1)], cash=300)
    assert (result.maintenance, result.trusted) == pytest.approx((300 - 1000, 300 - 50), rel=1e-13)


def test_rules_without_a_basis_have_nobody_to_trust() -> None:
    assert under([{"spot": 2}]).trusted is None


def test_markets_are_apart_unless_they_are_grouped() -> None:
    written = tree("tims", {"ranges": {"*": {"up": 0.1, "down": 0.1}}}, spot=[{"underlying": "ETH", "size": 1}])
    written["feeds"]["underlyings"]["BTC"] = {"spot": 40_000}
    written["portfolio"]["spot"].append({"underlying": "BTC", "size": -0.04})
    assert of(written).requirement == pytest.approx((200 + 160, 200 + 160), rel=1e-12)
    written["parameters"]["groups"] = [{"members": ["ETH", "BTC"], "offset": 0.5}]
    grouped = of(written)
    assert grouped.requirement == pytest.approx((200 - 80, 200 - 80), rel=1e-12)
    assert grouped.scans[0].of == "ETH + BTC"
    assert line(grouped, "loss ETH + BTC")[0] == pytest.approx(-120, rel=1e-12)


# ─── components ───────────────────────────────────────────────────────────────────────────────────


def test_a_loss_is_made_of_delta_gamma_vega_and_the_rest() -> None:
    expiries = {"e": expiry(vol=0.5, rate=0.1)}
    held: dict[str, Any] = {"options": [option("call", 2200, -2)], "spot": [{"size": 1}]}
    one = under([{"spot": 1.3, "vol": "absolute", "by": 0.2, "weight": 0.5}], expiries=expiries, **held)
    greeks, parts = one.greeks[0], one.scans[0].parts
    assert parts is not None
    assert parts.delta == pytest.approx(-greeks.delta * 600 * 0.5, rel=1e-12)
    assert parts.gamma == pytest.approx(-greeks.gamma * 600**2 / 2 * 0.5, rel=1e-12)
    assert parts.vega == pytest.approx(-greeks.vega * 0.2 * 0.5, rel=1e-12)
    assert sum(parts) == pytest.approx(one.scans[0].loss, rel=1e-12)


def test_a_linear_loss_is_all_delta_and_no_loss_has_no_parts() -> None:
    parts = under([{"spot": 0.9}], spot=[{"size": 3}]).scans[0].parts
    assert parts == pytest.approx((600, 0, 0, 0), abs=1e-9)
    assert under([{"spot": 1.1}], spot=[{"size": 3}]).scans[0].parts is None


def test_what_the_basis_contingency_takes_has_no_parts() -> None:
    basis = {"basis": {"up": 1.05, "down": 0.95, "add": 1, "mult": 0}}
    assert under([{"spot": 1}], basis, options=[option("call", 2000, -1)]).scans[0].parts is None
