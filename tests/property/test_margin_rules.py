"""What must be true of any portfolio under any rule set, in order, size and direction."""

from __future__ import annotations

from copy import deepcopy
from math import fsum
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keeper.margin.rules.engine import assess
from keeper.margin.rules.presets import PRESETS
from keeper.margin.rules.reading import read
from keeper.margin.rules.result import Result

SPOTS: Final = {"ETH": 2_000.0, "BTC": 40_000.0}
LEFTS: Final = (1_000, 86_400, 20 * 86_400, 200 * 86_400)
NONE: Final[dict[str, Any]] = {"futures": [], "spot": []}

FEW: Final = settings(max_examples=15)

Tree = dict[str, Any]
names = st.sampled_from(sorted(SPOTS))
sizes = st.integers(-500, 500).filter(bool).map(lambda n: n / 100)
confidences = st.sampled_from([1.0, 0.9, 0.5, 0.1])


@st.composite
def options(draw: st.DrawFn, size: st.SearchStrategy[float] = sizes) -> Tree:
    name = draw(names)
    return {
        "underlying": name,
        "expiry": str(draw(st.sampled_from(LEFTS))),
        "type": draw(st.sampled_from(["call", "put"])),
        "strike": SPOTS[name] * draw(st.integers(4, 25)) / 10,
        "size": draw(size),
    }


def linear(**said: Any) -> st.SearchStrategy[list[Tree]]:
    return st.lists(st.fixed_dictionaries({"underlying": names, "size": sizes, **said}), max_size=2)


FUTURE: Final = {"expiry": st.sampled_from(LEFTS).map(str)}
COLLATERAL: Final = st.fixed_dictionaries(
    {"underlying": names, "amount": st.integers(0, 300).map(lambda n: n / 100), "confidence": confidences}
)


@st.composite
def trees(draw: st.DrawFn, *rules: str) -> Tree:
    """Under any of ``rules``; under any at all when none is named."""
    chosen = draw(st.sampled_from(rules or tuple(PRESETS)))
    linears = not PRESETS[chosen].standard
    held = {
        "cash": draw(st.integers(-5_000, 50_000)),
        "options": draw(st.lists(options(), max_size=6)),
        "perps": draw(linear()),
        "collateral": draw(st.lists(COLLATERAL, max_size=2)),
        **({"futures": draw(linear(**FUTURE)), "spot": draw(linear())} if linears else NONE),
    }
    feeds = {"stable": draw(st.sampled_from([1.0, 0.95])), "underlyings": {name: draw(feed(name)) for name in SPOTS}}
    parameters = {"size": {"depth": {"*": 20_000_000}}} if chosen == "reference" else {}
    return {"rules": chosen, "parameters": parameters, "feeds": feeds, "portfolio": held}


@st.composite
def feed(draw: st.DrawFn, name: str) -> Tree:
    spot = SPOTS[name]
    vol = st.integers(20, 150).map(lambda n: n / 100)
    said = {
        str(left): {"seconds": left, "rate": 0.04, "vol": draw(vol), "vol_confidence": draw(confidences)}
        for left in LEFTS
    }
    return {"spot": spot, "confidence": draw(confidences), "perp": {"price": spot * 1.001}, "expiries": said}


def margins(tree: Tree) -> Result:
    rules, book = read(tree)
    return assess(book, rules)


def both(tree: Tree) -> tuple[float, float]:
    found = margins(tree)
    return found.maintenance, found.initial


def gross(tree: Tree) -> float:
    """US dollars that anything about the portfolio is relative to."""
    held, total = tree["portfolio"], abs(tree["portfolio"]["cash"]) + 1.0
    for kind in ("options", "perps", "futures", "spot", "collateral"):
        total += sum(abs(one.get("size", one.get("amount"))) * SPOTS[one["underlying"]] for one in held[kind])
    return float(total)


def near(pair: tuple[float, float], tree: Tree, times: float = 1.0) -> Any:
    return pytest.approx(pair, rel=1e-12, abs=1e-12 * gross(tree) * times)


def held(tree: Tree, **changed: Any) -> Tree:
    return {**tree, "portfolio": {**tree["portfolio"], **changed}}


# ─── order, size, sums ────────────────────────────────────────────────────────────────────────────


@FEW
@given(trees(), st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_held_is_nothing(tree: Tree, random: Any) -> None:
    shuffled = deepcopy(tree)
    for kind in ("options", "perps", "futures", "spot", "collateral"):
        random.shuffle(shuffled["portfolio"][kind])
    feeds = list(shuffled["feeds"]["underlyings"].items())
    random.shuffle(feeds)
    shuffled["feeds"]["underlyings"] = dict(feeds)
    assert both(shuffled) == near(both(tree), tree)


@FEW
@given(trees())
def test_the_lines_are_the_margins(tree: Tree) -> None:
    found = margins(tree)
    lines = (*found.marks, *found.requirements)
    assert (found.maintenance, found.initial) == (fsum(one.mm for one in lines), fsum(one.im for one in lines))
    assert found.mark == fsum(one.mm for one in found.marks) == fsum(one.im for one in found.marks)
    need = found.requirement
    assert (found.mark - need[0], found.mark - need[1]) == near((found.maintenance, found.initial), tree)


@FEW
@given(trees(), st.sampled_from([0.25, 3.0, 128.0]))
def test_a_portfolio_twice_the_size_needs_twice_as_much(tree: Tree, times: float) -> None:
    """Where size itself costs nothing and no loss is let off."""
    tree["parameters"] = {"size": None}
    if tree["rules"] == "deribit":
        tree["parameters"]["scenarios"] = [{"spot": 0.8, "vol": "up"}, {"spot": 1.2, "vol": "down", "weight": 0.5}]
    larger = deepcopy(tree)
    larger["portfolio"]["cash"] *= times
    for kind in ("options", "perps", "futures", "spot", "collateral"):
        for one in larger["portfolio"][kind]:
            key = "amount" if kind == "collateral" else "size"
            one[key] *= times
    mm, im = both(tree)
    assert both(larger) == near((mm * times, im * times), tree, times)


@FEW
@given(trees(), st.integers(-(10**6), 10**6))
def test_cash_counts_for_itself(tree: Tree, more: int) -> None:
    mm, im = both(tree)
    cash = tree["portfolio"]["cash"] + more
    assert both(held(tree, cash=cash)) == near((mm + more, im + more), held(tree, cash=abs(cash) + abs(more)))


@FEW
@given(trees(), options(), st.integers(1, 99))
def test_a_position_in_two_parts_is_one_position(tree: Tree, one: Tree, share: int) -> None:
    rest = [other for other in tree["portfolio"]["options"] if {**other, "size": 0} != {**one, "size": 0}]
    parts = [{**one, "size": one["size"] * share / 100}, {**one, "size": one["size"] * (100 - share) / 100}]
    whole = held(tree, options=[*rest, one])
    assert both(held(tree, options=[*rest, *parts])) == near(both(whole), whole)


@FEW
@given(trees(), options())
def test_what_is_bought_and_sold_again_is_nothing(tree: Tree, one: Tree) -> None:
    turned = held(tree, options=[*tree["portfolio"]["options"], one, {**one, "size": -one["size"]}])
    assert both(turned) == near(both(tree), turned)


# ─── direction ────────────────────────────────────────────────────────────────────────────────────

CHARGES: Final = (  # paths that only take away, whatever is held
    *(("factor", "mm"), ("factor", "im"), ("perp", "mm"), ("perp", "extra"), ("naked", "mm"), ("naked", "extra")),
    *(("gross", "mm"), ("gross", "extra"), ("roll", "mm"), ("roll", "extra"), ("haircut", "mm"), ("haircut", "extra")),
    *(("peg", "factor"), ("peg", "threshold"), ("size", "factor"), ("minimum", "contract"), ("minimum", "short")),
    *(("basis", "add"), ("basis", "mult")),
    *(("confidence", one, key) for one in ("perp", "option", "collateral") for key in ("rate", "threshold")),
)
STRIKES: Final = (
    *("call", "call_mark", "put", "put_mark", "fee", "most", "least", "put_scale", "unpaired_mm", "unpaired_im"),
)


def default(rules: str, path: tuple[str, ...]) -> float | None:
    """What a rule set says at a path; None when it has no such part."""
    node: Any = PRESETS[rules]
    for key in path:
        node = getattr(node, key) if node is not None else None
    return None if node is None else float(node)


def with_parameter(tree: Tree, path: tuple[str, ...], value: float) -> Tree:
    parameters = deepcopy(tree["parameters"])
    node = parameters
    for key in path[:-1]:
        node = node.setdefault(key, {})
    node[path[-1]] = value
    return {**tree, "parameters": parameters}


def raised(tree: Tree, path: tuple[str, ...], more: float) -> None:
    before = default(tree["rules"], path)
    if before is None:
        return
    found, slack = both(with_parameter(tree, path, before + more)), 1e-12 * gross(tree)
    for after, margin in zip(found, both(tree), strict=True):
        assert after <= margin + slack, path


MORE: Final = st.sampled_from([0.001, 0.1, 1.0])


@settings(max_examples=80)
@given(trees(), st.sampled_from(CHARGES), MORE)
def test_a_higher_charge_leaves_no_more_margin(tree: Tree, path: tuple[str, ...], more: float) -> None:
    raised(tree, path, more)


@settings(max_examples=30)
@given(trees("srm", "bybit"), st.sampled_from(STRIKES), MORE)
def test_a_stricter_rule_by_strikes_leaves_no_more_margin(tree: Tree, key: str, more: float) -> None:
    raised(tree, ("standard", key), more)


@FEW
@given(trees(), st.integers(0, 30))
def test_another_scenario_leaves_no_more_margin(tree: Tree, spot: int) -> None:
    if tree["rules"] in ("srm", "bybit"):
        return
    scenarios = [
        {"spot": one.spot, "ranges": one.ranges, "vol": str(one.vol), "by": one.by, "weight": one.weight}
        | {"beyond": one.beyond}
        for one in PRESETS[tree["rules"]].scenarios
    ]
    same = {**tree, "parameters": {**tree["parameters"], "scenarios": scenarios}}
    assert both(same) == both(tree)
    one_more = {"spot": 0.1 + spot / 10, "vol": "relative", "by": 0.5}
    more = {**same, "parameters": {**same["parameters"], "scenarios": [*scenarios, one_more]}}
    for after, before in zip(both(more), both(tree), strict=True):
        assert after <= before + 1e-12 * gross(tree)


@FEW
@given(trees("reference", "pmrm2", "pmrm1", "srm", "span", "tims", "deribit"))
def test_the_initial_margin_is_never_the_easier_one(tree: Tree) -> None:
    mm, im = both(tree)
    assert im <= mm + 1e-12 * gross(tree)


@FEW
@given(trees("reference", "span", "tims", "deribit"))
def test_a_portfolio_needs_something_or_nothing(tree: Tree) -> None:
    need = margins(tree).requirement
    assert min(need) >= 0


LONG: Final = st.integers(1, 500).map(lambda n: n / 100)


@FEW
@given(trees("span", "tims"), options(LONG))
def test_a_bought_option_needs_no_more_than_its_premium(tree: Tree, one: Tree) -> None:
    """Nor, where there is a minimum per contract, than that."""
    least = PRESETS[tree["rules"]].minimum.contract * one["size"]
    more = held(tree, options=[*tree["portfolio"]["options"], one])
    before, after = margins(tree), margins(more)
    premium = after.mark - before.mark
    assert premium >= -1e-9
    assert after.requirement[0] <= before.requirement[0] + max(premium, least) + 1e-12 * gross(more)


@FEW
@given(trees("pmrm2", "pmrm1", "reference", "span", "deribit"))
def test_the_named_scenario_alone_gives_the_same_loss(tree: Tree) -> None:
    """One scenario is a proof: what a caller names need only be looked at by itself."""
    found = margins(tree)
    rules, book = read(tree)
    for scan in found.scans:
        if scan.worst not in (None, "basis"):
            alone = assess(book, rules.named(str(scan.worst)))
            losses = {one.of: one.loss for one in alone.scans}
            assert losses[scan.of] == pytest.approx(scan.loss, rel=1e-12, abs=1e-12 * gross(tree))
