"""From a file's tree to a book: defaults, netting, and every mistake at its place."""

from collections.abc import Callable
from typing import Any

import pytest

from keeper.margin.rules.bind import Fault, Unreadable
from keeper.margin.rules.book import Book, Term
from keeper.margin.rules.presets import PRESETS
from keeper.margin.rules.reading import read
from tests.unit.margin_files import YEAR, expiry, option, tree

Change = Callable[[dict[str, Any]], Any]


def faults(written: Any) -> list[Fault]:
    with pytest.raises(Unreadable) as error:
        read(written)
    return error.value.faults


def term(**said: Any) -> Term:
    return book(expiries={"e": {"seconds": YEAR, "vol": 0.5, **said}}).markets[0].terms[0]


def book(rules: str = "pmrm2", **said: Any) -> Book:
    return read(tree(rules, options=said.pop("options", [option("call", 2000, 1)]), **said))[1]


# ─── mistakes ─────────────────────────────────────────────────────────────────────────────────────

ETH = ("feeds", "underlyings", "ETH")
E = (*ETH, "expiries", "e")
OPTION = ("portfolio", "options", 0)
COLLATERAL = ("portfolio", "collateral", 0)
ARRAY = ("portfolio", "arrays", 0)


def eth(t: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = t["feeds"]["underlyings"]["ETH"]
    return found


def e(t: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = eth(t)["expiries"]["e"]
    return found


def o(t: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = t["portfolio"]["options"][0]
    return found


def svi(t: dict[str, Any], **said: float) -> None:
    e(t).pop("vol")
    e(t)["svi"] = {"a": 0.0, "b": 0.1, "rho": 0.0, "m": 0.0, "sigma": 0.0, **said}


def perp(t: dict[str, Any], **said: float) -> None:
    eth(t)["perp"] = {"price": 2000.0}
    t["portfolio"]["perps"] = [{"size": 1.0, **said}]


def coll(t: dict[str, Any], **said: Any) -> None:
    t["portfolio"]["collateral"] = [{"amount": 1.0, **said}]


def srm(t: dict[str, Any], **said: Any) -> None:
    t["rules"] = "srm"
    t["portfolio"].update(said)


WRONG: list[tuple[Change, tuple[str | int, ...], str]] = [
    (lambda t: t.pop("rules"), (), 'needs "rules"'),
    (lambda t: t.update(rules="pmrm3"), ("rules",), "is no rule set"),
    (lambda t: t.update(rules=2.0), ("rules",), "is no rule set"),
    (lambda t: t.pop("feeds"), (), 'needs "feeds"'),
    (lambda t: t.update(portfolio=[]), ("portfolio",), "needs an object in braces"),
    (lambda t: t.update(schema=2.0), ("schema",), "must lie between 1 and 1"),
    (lambda t: t.update(note=3), ("note",), "needs text, or a list of texts"),
    (lambda t: t["parameters"].update(name="mine"), ("parameters", "name"), "is no key that is known here"),
    (lambda t: t["parameters"].update(facter={}), ("parameters", "facter"), "is no key that is known here"),
    (lambda t: t["parameters"].update(vol={"up": -1.0}), ("parameters", "vol", "up"), "must not be negative"),
    (lambda t: t["parameters"].update(fold="add"), ("parameters", "fold"), "must be one of sum, carry"),
    (
        lambda t: t["parameters"].update(scenarios=[{"spot": 1.1, "ranges": 1.0}]),
        ("parameters", "scenarios", 0),
        'has "spot" and "ranges": give one of them',
    ),
    (lambda t: t["feeds"].update(stable=0.0), ("feeds", "stable"), "must be above 0"),
    (lambda t: eth(t).update(spot=float("inf")), (*ETH, "spot"), "must be finite"),
    (lambda t: eth(t).update(spot=float("nan")), (*ETH, "spot"), "must be finite"),
    (lambda t: eth(t).update(spot=10**400), (*ETH, "spot"), "is too large"),
    (lambda t: eth(t).update(spot=True), (*ETH, "spot"), "needs a number"),
    (lambda t: eth(t).update(confidence=1.1), (*ETH, "confidence"), "must lie between 0 and 1"),
    (lambda t: e(t).update(forward=-1.0), (*E, "forward"), "must not be negative"),
    (lambda t: e(t).update(forward=1e-20), (*E, "forward"), "must be 0 or at least 1e-18"),
    (lambda t: e(t).update(forward={"fixed": 1.0}), (*E, "forward"), 'needs "variable"'),
    (lambda t: e(t).update(at=5.0), E, 'needs "seconds" or "at", and not both'),
    (lambda t: e(t).pop("seconds"), E, 'needs "seconds" or "at", and not both'),
    (lambda t: e(t).update(at=e(t).pop("seconds")), ("feeds",), 'needs "now"'),
    (lambda t: e(t).update(seconds=-1.0), E, 'has expired and needs "settlement"'),
    (lambda t: e(t).pop("vol"), OPTION, "needs a volatility"),
    (lambda t: e(t).update(smile={"atm": 0.5}), (*E, "smile"), 'stands beside "vol": give one of them'),
    (lambda t: svi(t, a=-1.0), (*E, "svi"), "has a negative variance: a + b sigma is below 0"),
    (lambda t: svi(t, a=-0.005, sigma=0.1, rho=-0.9, m=-0.2065), (*E, "svi"), "has a negative variance at strike 2000"),
    (lambda t: svi(t, forward=0.0), (*E, "svi"), "needs a forward above 0"),
    (lambda t: o(t).update(strike=-5.0), (*OPTION, "strike"), "must not be negative"),
    (lambda t: o(t).update(size="1"), (*OPTION, "size"), "needs a number, without quotes"),
    (lambda t: o(t).update(type="cal"), (*OPTION, "type"), "must be one of call, put"),
    (lambda t: o(t).update(vol=-0.5), (*OPTION, "vol"), "must not be negative"),
    (lambda t: o(t).update(vol=0.5, price=3.0), (*OPTION, "price"), 'stands beside "vol": give one of them'),
    (lambda t: o(t).update(price=2000.0), (*OPTION, "price"), "is outside (0, 2000), so no volatility gives it"),
    (lambda t: o(t).update(expiry="f"), (*OPTION, "expiry"), '"f" is no expiry of ETH'),
    (lambda t: o(t).update(underlying="ETC"), (*OPTION, "underlying"), '"ETC" has no feed'),
    (lambda t: o(t).pop("strike"), OPTION, 'needs "strike"'),
    (lambda t: t["feeds"]["underlyings"].update(BTC={"spot": 9.0}), OPTION, 'needs "underlying"'),
    (lambda t: t["portfolio"].update(perps=[{"size": 1.0}]), ("portfolio", "perps", 0), "needs a price"),
    (
        lambda t: perp(t, pnl=1.0, entry=1.0),
        ("portfolio", "perps", 0, "entry"),
        'stands beside "pnl": give one of them',
    ),
    (lambda t: coll(t, amount=-1.0), (*COLLATERAL, "amount"), "must not be negative"),
    (lambda t: coll(t, underlying=""), COLLATERAL, 'needs "price"'),
    (lambda t: coll(t, underlying="", price=1.0, risk_cancelling=True), COLLATERAL, 'needs "underlying"'),
    (
        lambda t: t["portfolio"].update(arrays=[{"size": 1.0, "losses": [1.0]}]),
        (*ARRAY, "losses"),
        "has 1 values for 33 scenarios",
    ),
    (
        lambda t: srm(t, futures=[{"expiry": "e", "size": 1.0}]),
        ("portfolio", "futures", 0),
        "has no margin under srm: it knows no futures",
    ),
    (lambda t: t.update(rules="reference"), ("parameters", "size", "depth"), 'needs a depth for "ETH"'),
    (lambda t: t["parameters"].update(scenarios=[{"ranges": 1.0}]), ("parameters", "ranges"), 'needs ranges for "ETH"'),
    (
        lambda t: t["parameters"].update(groups=[{"members": ["ETH", "ETH"]}]),
        ("parameters", "groups"),
        'names "ETH" more than once',
    ),
]


@pytest.mark.parametrize(("change", "number"), [(one[0], number) for number, one in enumerate(WRONG)])
def test_a_mistake_is_named_at_its_place(change: Change, number: int) -> None:
    written = tree("pmrm2", options=[option("call", 2000, 1)])
    change(written)
    _, keys, what = WRONG[number]
    assert [(one.keys, one.what) for one in faults(written)] == [(keys, what)]


def test_all_mistakes_are_reported_at_once() -> None:
    written = tree("pmrm2", {"facter": {}}, options=[option("cal", -5, 1)], feed={"spot": 0})
    assert len(faults(written)) == 4


def test_a_misspelt_name_is_met_with_the_right_one() -> None:
    written = tree("pmrm2", {"vol": {"shortst": 1}})
    assert faults(written)[0].help.startswith('did you mean "shortest"? known: down,')


@pytest.mark.parametrize("written", [None, [], "text", 3.0])
def test_a_file_that_is_no_object_is_refused(written: Any) -> None:
    assert faults(written) == [Fault((), "needs an object in braces")]


# ─── parameters ───────────────────────────────────────────────────────────────────────────────────


def test_parameters_change_only_what_they_mention() -> None:
    rules = read(tree("pmrm2", {"vol": {"up": 0.7}, "confidence": {"perp": {"rate": 3}}}))[0]
    preset = PRESETS["pmrm2"]
    assert (rules.vol.up, rules.vol.down, rules.skew) == (0.7, preset.vol.down, preset.skew)
    assert (rules.confidence.perp.rate, rules.confidence.perp.of) == (3, preset.confidence.perp.of)
    assert rules.confidence.option == preset.confidence.option


def test_a_table_by_underlying_is_merged_and_a_list_replaced() -> None:
    rules = read(tree("tims", {"ranges": {"ETH": {"up": 0.3}}, "scenarios": [{"ranges": 1}]}))[0]
    assert (set(rules.ranges), rules.ranges["ETH"].down, len(rules.scenarios)) == ({"*", "ETH"}, 0, 1)


def test_null_takes_a_part_away() -> None:
    assert read(tree("pmrm2", {"basis": None}))[0].basis is None


def test_no_parameters_are_the_preset() -> None:
    assert all(read(tree(name))[0] == preset for name, preset in PRESETS.items())


def test_the_rules_that_are_asked_for_win() -> None:
    assert read(tree("pmrm2"), "srm")[0].name == "srm"


def test_bounds_the_wrong_way_round_are_noted() -> None:
    parameters = {"discount": {"long": {"base": 1.1}, "short": {"base": 0.9}}, "factor": {"im": 0.5}}
    assert len(read(tree("pmrm2", parameters))[1].notes) == 3


# ─── forwards and time ────────────────────────────────────────────────────────────────────────────


def test_a_forward_is_split_by_the_settlement_window() -> None:
    made = term(seconds=600, forward=3000)
    assert (made.fixed, made.variable) == pytest.approx((2000, 1000), rel=1e-15)


def test_before_the_window_all_of_the_forward_moves() -> None:
    assert (term(seconds=1800, forward=3000).fixed, term(seconds=1800, forward=3000).variable) == (0, 3000)


def test_a_forward_in_two_parts_is_taken_as_it_is() -> None:
    made = term(seconds=600, forward={"fixed": 5, "variable": 7})
    assert (made.fixed, made.variable) == (5, 7)


def test_without_a_forward_spot_grows_at_the_rate() -> None:
    made = term(rate=0.1, known=100, open=0.5)
    assert (made.fixed, made.variable) == pytest.approx((110.517091808, 1105.17091808), rel=1e-11)


def test_negative_rates_are_floored_where_the_rules_say_so() -> None:
    assert (term(rate=-0.1).rate, term(rate=-0.1).discount) == (0, 1)
    tims = book("tims", expiries={"e": expiry(rate=-0.1)}).markets[0].terms[0]
    assert tims.discount == pytest.approx(1.10517091808, rel=1e-11)


def test_time_may_be_told_by_the_clock() -> None:
    written = tree("pmrm2", options=[option("call", 2000, 1)], expiries={"e": {"at": 1_700_000_060, "vol": 0.5}})
    written["feeds"]["now"] = 1_700_000_000
    assert read(written)[1].markets[0].terms[0].left == 60


@pytest.mark.parametrize("said", [{"settlement": 1900}, {"forward": {"fixed": 1900, "variable": 0}}])
def test_an_expired_option_is_settled(said: dict[str, Any]) -> None:
    made = term(seconds=-5, **said)
    assert (made.left, made.forward, made.discount, made.series[0].sigma) == (0, 1900, 1, 0)


def test_expiries_are_in_order_of_time() -> None:
    expiries = {"e": expiry(200), "f": expiry(100)}
    options = [option("call", 2000, 1), option("call", 2000, 1, expiry="f")]
    assert [one.name for one in book(expiries=expiries, options=options).markets[0].terms] == ["f", "e"]


# ─── what is held ─────────────────────────────────────────────────────────────────────────────────


def test_a_series_that_is_held_twice_is_netted_and_noted() -> None:
    made = book(options=[option("call", 2000, 3), option("put", 2000, 1), option("call", 2000, -1)])
    assert [(one.title, one.size) for one in made.markets[0].terms[0].series] == [("2000 put", 1), ("2000 call", 2)]
    assert made.notes == ("e 2000 call is held more than once: netted",)


def test_a_series_that_is_flat_is_gone_with_its_confidence() -> None:
    flat = option("call", 2000, 0, vol_confidence=0.1)
    made = book(options=[flat, option("put", 2000, 1)]).markets[0].terms[0]
    assert ([one.title for one in made.series], min(made.confidence.values())) == (["2000 put"], 1)


def test_one_series_has_one_volatility() -> None:
    written = tree("pmrm2", options=[option("call", 2000, 3), option("call", 2000, 3, vol=0.4)])
    assert faults(written)[0].keys == ("portfolio", "options", 1)


def test_perps_are_added_up() -> None:
    perps = [{"size": 2, "entry": 1900}, {"size": -0.5, "pnl": 7, "funding": -1}]
    held = book(perps=perps, feed={"perp": {"price": 2010}}).markets[0].perp
    assert held and (held.size, held.value) == (1.5, 226)


def test_perps_that_add_up_to_nothing_are_nothing() -> None:
    perps = [{"size": 2, "pnl": 5}, {"size": -2}]
    assert book(perps=perps, feed={"perp": {"price": 2010}}).markets[0].perp is None


def test_collateral_without_a_price_is_the_underlying_and_moves_with_it() -> None:
    own, other = book(stable=0.5, collateral=[{"amount": 3}, {"amount": 3, "price": 100}]).markets[0].assets
    assert (own.value, own.notional, own.units) == (12_000, 6_000, 6)
    assert (other.value, other.notional, other.units) == (600, 300, 0)


def test_collateral_of_no_underlying_stands_apart() -> None:
    written = tree("pmrm2", collateral=[{"asset": "DAI", "amount": 3, "price": 1}])
    written["feeds"]["underlyings"]["BTC"] = {"spot": 1}
    assert [(one.name, len(one.assets)) for one in read(written)[1].markets] == [("", 1)]


def test_spot_is_held_within_the_band_around_its_mark() -> None:
    parameters = {"size": {"depth": {"ETH": 1}}}
    book = read(tree("reference", parameters, feed={"spot": 2500, "mark": 2000}, collateral=[{"amount": 1}]))[1]
    assert book.markets[0].spot == 2100


def test_a_comment_may_stand_anywhere() -> None:
    written = tree("pmrm2", {"note": "a", "vol": {"note": ["b", "c"]}}, options=[option("put", 1, 1, note="d")])
    assert read({**written, "note": "e"})[1].markets
