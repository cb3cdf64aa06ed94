"""What is added to the loss, line by line, with numbers found by hand."""

from functools import partial
from typing import Any

import pytest

from keeper.margin.rules.result import Result
from tests.unit.margin_files import OFF, assessed, expiry, line, option

STILL: dict[str, Any] = {**OFF, "scenarios": [{"spot": 1}]}  # nothing moves, nothing is lost
PERP = {"perp": {"price": 2100, "confidence": 0.4}}
near = partial(pytest.approx, rel=1e-12)


def charged(parameters: dict[str, Any] | None = None, rules: str = "pmrm2", **said: Any) -> Result:
    return assessed(rules, {**STILL, **(parameters or {})}, **said)


# ─── perps, shorts, collateral ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("price", "charge"), [("spot", (-120, -200)), ("perp", (-126, -210))])
def test_perps_are_charged_on_their_size(price: str, charge: tuple[float, float]) -> None:
    result = charged({"perp": {"mm": 0.03, "extra": 0.02, "price": price}}, perps=[{"size": -2}], feed=PERP)
    assert line(result, "perps") == near(charge)


@pytest.mark.parametrize(
    ("held", "naked"),
    [
        ([option("call", 2000, -3)], 3),
        ([option("call", 2000, 3)], 0),
        ([option("call", 2000, -3), option("put", 2000, 2)], 1),
        ([option("call", 2000, -3), option("put", 2000, 5)], 0),
        ([option("call", 2000, -3), option("put", 2000, -2)], 5),
        ([option("call", 2000, -3), option("call", 2100, 3)], 3),
        ([option("call", 2000, -3, multiplier=0.5)], 1.5),
    ],
)
def test_shorts_are_naked_unless_the_same_strike_covers_them(held: list[dict[str, Any]], naked: float) -> None:
    result = charged({"naked": {"mm": 0.01, "extra": 0.02}}, options=held)
    assert line(result, "naked") == near((-20 * naked, -60 * naked))


@pytest.mark.parametrize(
    ("held", "naked"),
    [
        ([option("call", 2000, -3), option("call", 2100, 2)], 1),
        ([option("call", 2000, -3), option("put", 2000, 3)], 3),
        ([option("call", 2000, 3), option("call", 2000, -3, expiry="f")], 3),
        ([option("call", 2000, -3), option("call", 2000, 3, expiry="f")], 0),
        ([option("call", 2000, -1), option("put", 2000, -2, expiry="f")], 3),
    ],
)
def test_carried_shorts_are_covered_by_what_expires_later(held: list[dict[str, Any]], naked: float) -> None:
    expiries = {"e": expiry(10_000), "f": expiry(20_000)}
    result = charged({"naked": {"mm": 0.01, "extra": 0, "net": "carried"}}, options=held, expiries=expiries)
    assert line(result, "naked")[0] == near(-20 * naked)


def test_every_short_option_may_be_charged() -> None:
    held = [option("call", 2000, -3), option("put", 2000, 3), option("put", 1000, -1)]
    result = charged({"gross": {"mm": 0.01, "extra": 0.0025}}, options=held)
    assert line(result, "short options") == near((-80, -100))


@pytest.mark.parametrize(
    ("how", "haircut", "uncounted"),
    [
        ({"counted": "value", "charged": "value"}, (-80, -120), (0, 0)),
        ({"counted": "value", "charged": "notional"}, (-40, -60), (0, 0)),
        ({"counted": "notional", "charged": "notional"}, (-40, -60), (-200, -200)),
    ],
)
def test_collateral_is_cut_by_value_or_by_price(
    how: dict[str, str], haircut: tuple[float, float], uncounted: tuple[float, float]
) -> None:
    held = [{"asset": "X", "amount": 2, "price": 100}]
    result = charged({"haircut": {"mm": 0.2, "extra": 0.1, **how}}, collateral=held, stable=0.5)
    assert result.mark == 400
    assert line(result, "haircut X") == near(haircut)
    assert line(result, "X counts") == near(uncounted)


def test_an_asset_may_have_its_own_haircut() -> None:
    held = [{"asset": "X", "amount": 2, "price": 100, "haircut": {"mm": 0.5, "extra": 0.1}}]
    assert line(charged(collateral=held), "haircut X") == near((-100, -120))


def test_large_positions_cost_with_the_square_of_their_size() -> None:
    size = {"size": {"factor": 2, "depth": {"ETH": 1_000_000}}}
    held: dict[str, Any] = {"options": [option("call", 1000, 3)], "collateral": [{"amount": 7}]}
    assert line(charged(size, **held), "size") == near((-800, -800))


# ─── doubt ────────────────────────────────────────────────────────────────────────────────────────

DOUBT: dict[str, Any] = {"threshold": 0.6, "rate": 0.5}
SURE = {"forward_confidence": 0.9, "rate_confidence": 0.8, "vol_confidence": 0.7}


def doubted(name: str, parameters: dict[str, Any] | None = None, **said: Any) -> Result:
    confidence: dict[str, Any] = {one: {"rate": 0} for one in ("perp", "option", "collateral")}
    return charged({"confidence": {**confidence, name: DOUBT, **(parameters or {})}}, **said)


@pytest.mark.parametrize(
    ("said", "sure"),
    [
        ({}, 0.7),
        ({"vol_confidence": 0.5}, 0.5),
        ({"rate_confidence": 0.55}, 0.55),
        ({"forward_confidence": 0.1}, 0.1),
        ({"vol_confidence": 0.6}, 0.6),
        ({"vol_confidence": 0.6 - 1e-9}, 0.6 - 1e-9),
    ],
)
def test_options_are_charged_when_a_feed_is_doubtful(said: dict[str, float], sure: float) -> None:
    held = [option("call", 2000, 3), option("put", 2000, -1)]
    result = doubted("option", options=held, expiries={"e": expiry(**{**SURE, **said})})
    expected = -(1 - sure) * 0.5 * 4 * 2000 if sure < 0.6 else 0
    assert line(result, "confidence ETH e") == near((0, expected))


def test_doubt_may_be_about_short_options_only() -> None:
    held = [option("call", 2000, 3), option("put", 2000, -1, vol_confidence=0.5)]
    result = doubted("option", {"shorts_only": True}, options=held)
    assert line(result, "confidence ETH e") == near((0, -500))


def test_doubt_may_count_for_maintenance_too() -> None:
    result = doubted("option", {"maintenance": True}, options=[option("call", 2000, 1, vol_confidence=0.5)])
    assert line(result, "confidence ETH e") == near((-500, -500))


def test_doubt_about_a_perp_is_doubt_about_options_when_perps_are_held() -> None:
    held: dict[str, Any] = {"options": [option("call", 2000, 1)], "feed": PERP}
    assert line(doubted("option", **held), "confidence ETH e") == (0, 0)
    with_perp = doubted("option", perps=[{"size": 1}], **held)
    assert line(with_perp, "confidence ETH e") == near((0, -600))


@pytest.mark.parametrize(("spot", "charge"), [(1, -0.6 * 0.5 * 4000), (0.1, -0.9 * 0.5 * 4000)])
def test_perps_are_charged_by_the_less_sure_of_spot_and_perp(spot: float, charge: float) -> None:
    result = doubted("perp", perps=[{"size": -2}], feed={**PERP, "confidence": spot})
    assert line(result, "confidence ETH perps") == near((0, charge))


@pytest.mark.parametrize(("own", "spot", "charge"), [(0.5, 1, -50), (1, 0.1, -90), (1, 1, 0)])
def test_collateral_is_charged_by_the_less_sure_of_its_own_and_spot(own: float, spot: float, charge: float) -> None:
    held = [{"asset": "X", "amount": 2, "price": 100, "confidence": own}]
    result = doubted("collateral", collateral=held, feed={"confidence": spot})
    assert line(result, "confidence ETH X") == near((0, charge))


# ─── factors and the peg ──────────────────────────────────────────────────────────────────────────

LOSS: dict[str, Any] = {"scenarios": [{"spot": 1.1}], "naked": {"mm": 0.01, "extra": 0}}
SHORT: dict[str, Any] = {"options": [option("call", 2000, -1)]}


def test_the_factors_multiply_the_loss_alone() -> None:
    result = charged({**LOSS, "factor": {"mm": 0.8, "im": 1.5}}, **SHORT, cash=1000)
    assert (result.maintenance, result.initial) == near((1000 - 160 - 20, 1000 - 300 - 20))


def test_the_factors_may_multiply_charges_but_not_doubt() -> None:
    confidence = {"confidence": {"option": {"threshold": 1, "rate": 0.5}}}
    rules = {**LOSS, **confidence, "factor": {"mm": 1, "im": 1.5}, "scaled": True}
    result = charged(rules, options=[option("call", 2000, -1, vol_confidence=0.9)], cash=1000)
    assert (result.maintenance, result.initial) == near((1000 - 220, 1000 - 330 - 100))


@pytest.mark.parametrize(("stable", "factor"), [(1, 1), (0.99, 1), (0.94, 1.1)])
def test_a_lost_peg_raises_the_initial_factor(stable: float, factor: float) -> None:
    result = charged({**LOSS, "peg": {"threshold": 0.99, "factor": 2}}, **SHORT, stable=stable)
    assert result.factor == near((1, factor))
    assert line(result, "loss ETH") == near((-200, -200 * factor))


def test_a_lost_peg_may_be_charged_on_shorts_and_perps() -> None:
    peg = {"peg": {"threshold": 0.99, "factor": 2, "on": "positions"}}
    held: dict[str, Any] = {"options": [option("call", 2000, -1), option("put", 900, 5)], "perps": [{"size": -2}]}
    result = charged(peg, **held, feed=PERP, stable=0.94)
    assert line(result, "depeg ETH") == near((0, -3 * 2000 * 0.1))
    assert result.factor == (1, 1)


# ─── minimum charges ──────────────────────────────────────────────────────────────────────────────

MANY = [option("call", 2000, -2, multiplier=100), option("put", 1000, 3)]


@pytest.mark.parametrize(("minimum", "least"), [({"contract": 10}, 50), ({"short": 10}, 20), ({}, 0)])
def test_options_have_a_minimum_per_contract(minimum: dict[str, float], least: float) -> None:
    assert charged({"minimum": minimum}, options=MANY).requirement == near((least, least))


def test_a_loss_above_the_minimum_is_all_that_counts() -> None:
    result = charged({**LOSS, "minimum": {"contract": 10}, "naked": OFF["naked"]}, **SHORT)
    assert result.requirement == near((200, 200))


# ─── the standard rules ───────────────────────────────────────────────────────────────────────────


def standard(held: list[dict[str, Any]], forward: float = 2000, **said: Any) -> tuple[float, float]:
    """(maintenance, initial) margin of options alone, at their intrinsic value of the forward."""
    result = assessed("srm", options=held, expiries={"e": expiry(forward=forward)}, **said)
    return result.maintenance, result.initial


@pytest.mark.parametrize(
    ("held", "forward", "margin"),
    [
        ([option("call", 1900, 1)], 2000, (0, 0)),  # long: neither needs nor gives
        ([option("call", 1900, -1)], 2000, (-100 - 150, -100 - 300)),
        ([option("call", 2100, -1)], 2000, (-150, -0.10 * 2000)),
        ([option("call", 2020, -1)], 2000, (-150, -0.14 * 2000)),
        ([option("put", 2100, -1)], 2000, (-100 - 150, -100 - 300)),
        ([option("put", 2100, -1)], 100, (-2100, -2100)),  # a put cannot lose more than its strike ...
        ([option("put", 4100, -1)], 100, (-4100, -4100)),
        ([option("put", 4100, -1)], 2000, (-2100 - 157.5, -2100 - 300)),  # ... nor need less than 7.5 % of its mark
        ([option("put", 1960, -1)], 2000, (-150, -0.13 * 2000)),
        ([option("call", 1900, -1), option("call", 2000, 1)], 2000, (-100, -100)),  # greatest loss
        ([option("call", 1900, -1), option("call", 2500, 1)], 2000, (-250, -400)),  # isolated is better
        ([option("put", 1900, -1), option("put", 1850, 1)], 2000, (-50, -50)),
        ([option("put", 10, -1)], 2000, (-10, -10)),
        ([option("call", 2000, -1), option("put", 2000, 1)], 2000, (-150, -300)),
        ([option("call", 10, -1), option("call", 20, 1)], 2000, (-10, -10)),
        # marks are of the forward, but what is out of the money is so against spot, which is 2,000
        ([option("call", 4000, -2), option("call", 3990, 1)], 5000, (-2000 - 300, -2000 - 400)),
    ],
)
def test_an_expiry_takes_the_better_of_isolated_and_greatest_loss(
    held: list[dict[str, Any]], forward: float, margin: tuple[float, float]
) -> None:
    assert standard(held, forward) == near(margin)


def test_calls_in_excess_lose_more_than_the_forward() -> None:
    held = [option("call", 100, -2), option("call", 50, 1)]
    # isolated: 2 x (-1900 - 150) and 2 x (-1900 - 300); greatest loss: 0 at 0, 0 at 50, 0 at 100
    assert standard(held) == near((-1.1 * 2000, -1.2 * 2000))


def test_the_rule_that_decides_is_named() -> None:
    spread = [option("call", 1900, -1), option("call", 2200, 1)]
    names = [one.what for one in assessed("srm", options=spread).requirements]
    assert names == ["options ETH e: isolated, initially greatest loss"]


def test_standard_perps_are_charged_at_their_own_price() -> None:
    result = assessed("srm", perps=[{"size": -2, "pnl": 7}], feed={"perp": {"price": 2100}})
    assert (result.maintenance, result.initial) == near((7 - 210, 7 - 273))


def test_standard_collateral_counts_by_its_price() -> None:
    result = assessed("srm", collateral=[{"amount": 2}], stable=0.5)
    assert (result.mark, result.maintenance, result.initial) == near((8000, 3200, 3200))


@pytest.mark.parametrize(("cut", "charge"), [(0.9, -0.9 * 0.4 * 2000), (1, 0)])
def test_standard_collateral_that_counts_for_nothing_is_not_doubted(cut: float, charge: float) -> None:
    held = {"collateral": [{"asset": "X", "amount": 1}], "feed": {"confidence": 0.1}}
    result = assessed("srm", {"haircut": {"mm": cut}}, **held)
    assert line(result, "confidence ETH X") == near((0, charge))


# ─── SPAN's spreads ───────────────────────────────────────────────────────────────────────────────

CALENDAR = [{"expiry": "e", "size": 3}, {"expiry": "f", "size": -2}]


def spanned(parameters: dict[str, Any], **said: Any) -> Result:
    return assessed("span", {"ranges": {"*": {"up": 0.1, "down": 0.1}}, **parameters}, **said)


def test_a_calendar_is_charged_on_the_deltas_that_meet() -> None:
    expiries = {"e": expiry(100), "f": expiry(200)}
    result = spanned({"calendar": {"*": 30}}, futures=CALENDAR, expiries=expiries)
    assert line(result, "calendar") == near((-60, -60))
    assert line(result, "loss ETH") == near((-200, -200))


def test_delivery_is_charged_on_deltas_that_are_near() -> None:
    expiries = {"e": expiry(100), "f": expiry(200)}
    delivery = {"delivery": {"within": 150, "charge": {"ETH": 7}}}
    assert line(spanned(delivery, futures=CALENDAR, expiries=expiries), "delivery")[0] == near(-21)


def test_an_array_is_lost_as_it_says() -> None:
    losses = [0.0] * 15 + [70]
    result = spanned({}, arrays=[{"size": 3, "losses": losses, "value": 5}])
    assert (result.scans[0].loss, result.worst, result.mark) == (210, "spot -2 ranges, weight 0.35", 15)
    assert spanned({}, arrays=[{"size": -3, "losses": losses}]).scans[0].loss == 0


def two(btc: float, eth: float, credit: dict[str, Any]) -> Result:
    from tests.unit.margin_files import of, tree

    written = tree("span", {"ranges": {"*": {"up": 0.1, "down": 0.1}}, "credits": [credit]})
    written["feeds"]["underlyings"]["BTC"] = {"spot": 40_000}
    written["portfolio"]["spot"] = [{"underlying": "BTC", "size": btc}, {"underlying": "ETH", "size": eth}]
    return of(written)


def test_a_spread_between_underlyings_saves_a_share_of_its_risk() -> None:
    result = two(1, -5, {"legs": {"BTC": 1, "ETH": -10}, "rate": 0.4})
    # half a spread: 0.5 bitcoin x 4,000 x 0.4, 5 ether x 200 x 0.4
    assert line(result, "credit BTC") == near((800, 800))
    assert line(result, "credit ETH") == near((400, 400))
    assert result.requirement == near((4000 + 1000 - 1200,) * 2)


@pytest.mark.parametrize(("btc", "eth"), [(1, 5), (-1, -5), (0, 5), (1, 0)])
def test_deltas_on_the_same_side_form_no_spread(btc: float, eth: float) -> None:
    assert line(two(btc, eth, {"legs": {"BTC": 1, "ETH": -10}, "rate": 0.4}), "credit") == (0, 0)


def test_the_other_way_round_is_a_spread_too() -> None:
    result = two(-1, 5, {"legs": {"BTC": 1, "ETH": -10}, "rate": 0.4})
    assert line(result, "credit BTC")[0] == near(800)


def test_the_credit_is_of_price_risk_alone() -> None:
    """A short option loses by volatility too; that part is not saved."""
    from tests.unit.margin_files import of, tree

    ranges = {"*": {"up": 0.1, "down": 0.1, "vol": 0.3}}
    written = tree("span", {"ranges": ranges, "credits": [{"legs": {"BTC": 1, "ETH": -10}, "rate": 1}]})
    written["feeds"]["underlyings"]["BTC"] = {"spot": 40_000}
    written["feeds"]["underlyings"]["ETH"]["expiries"]["e"]["vol"] = 0.5
    written["portfolio"]["spot"] = [{"underlying": "BTC", "size": 1}]
    written["portfolio"]["options"] = [option("call", 2000, -10, underlying="ETH")]
    result = of(written)
    pnl = dict(next(one.pnl for one in result.scans if one.of == "ETH"))
    price = -(pnl["spot +1 ranges, vol ranges +1"] + pnl["spot +1 ranges, vol ranges -1"]) / 2
    time = -(pnl["spot +0 ranges, vol ranges +1"] + pnl["spot +0 ranges, vol ranges -1"]) / 2
    delta = next(-one.delta for one in result.greeks if one.of == "ETH")
    assert line(result, "credit ETH")[0] == pytest.approx((price - time) / delta * min(delta, 10), rel=1e-9)
